# bench/ceilings.c: what the machine can do at most, by loops that are compiled for each instruction set as the kernels are.
add_executable(bench_ceilings bench/ceilings.c)
function(add_ceiling_loops name)
    target_sources(bench_ceilings PRIVATE $<TARGET_OBJECTS:ceiling_loops_${name}>)
    add_library(ceiling_loops_${name} OBJECT bench/ceilings_loops.c)
    target_include_directories(ceiling_loops_${name} PRIVATE ${PROJECT_SOURCE_DIR})
    target_link_libraries(ceiling_loops_${name} PRIVATE stpn_flags)
    get_target_property(definitions kernel_${name}_float COMPILE_DEFINITIONS)
    get_target_property(options kernel_${name}_float COMPILE_OPTIONS)
    list(FILTER definitions EXCLUDE REGEX "^KERNEL_TABLE=")
    target_compile_definitions(ceiling_loops_${name} PRIVATE ${definitions} CEILING_TABLE=ceiling_loops_${name})
    target_compile_options(ceiling_loops_${name} PRIVATE ${options})
endfunction()
foreach(name portable avx2 avx512 neon)
    if(TARGET kernel_${name}_float)
        add_ceiling_loops(${name})
    endif()
endforeach()
target_compile_definitions(bench_ceilings PRIVATE ${kernel_choices})
target_include_directories(bench_ceilings PRIVATE ${PROJECT_SOURCE_DIR})
target_link_libraries(bench_ceilings PRIVATE stpn_static stpn_flags m)

# bench/products.c: the products of the kernels beside those of OpenBLAS, which nothing else needs.
pkg_check_modules(OPENBLAS IMPORTED_TARGET openblas)
if(OPENBLAS_FOUND)
    add_executable(bench_products bench/products.c)
    target_include_directories(bench_products PRIVATE ${PROJECT_SOURCE_DIR})
    target_link_libraries(bench_products PRIVATE stpn_static stpn_flags PkgConfig::OPENBLAS m)
endif()

# bench/delay_switch.c: a network with a delay between network namespaces, which Linux alone has.
if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
    add_executable(bench_delay_switch bench/delay_switch.c)
    target_compile_definitions(bench_delay_switch PRIVATE _GNU_SOURCE) # setns, ppoll
    target_link_libraries(bench_delay_switch PRIVATE stpn_flags)
endif()

# bench/ping.c: latency and bandwidth between two ranks.
if(MPI_C_FOUND)
    add_executable(bench_ping bench/ping.c)
    target_link_libraries(bench_ping PRIVATE MPI::MPI_C stpn_flags)
endif()
