# bench/products.c: the products of the kernels beside those of OpenBLAS, which nothing else needs.
pkg_check_modules(OPENBLAS REQUIRED IMPORTED_TARGET openblas)
add_executable(bench_products bench/products.c)
target_include_directories(bench_products PRIVATE ${PROJECT_SOURCE_DIR})
target_link_libraries(bench_products PRIVATE stpn_static stpn_flags PkgConfig::OPENBLAS m)
