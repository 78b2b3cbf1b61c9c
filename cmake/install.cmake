# Everything is found relative to where it lies: the installed tree may be moved.
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/stpn)
set(pkgconfig_dir ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

install(TARGETS stpn stpn_static EXPORT stpnTargets
    LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
    ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS stpn_command RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY include/stpn DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")

install(EXPORT stpnTargets NAMESPACE stpn:: DESTINATION ${package_dir})
configure_package_config_file(cmake/stpnConfig.cmake.in ${CMAKE_BINARY_DIR}/cmake/stpnConfig.cmake
    INSTALL_DESTINATION ${package_dir})
# Before 1.0 a minor version may break the interface.
write_basic_package_version_file(${CMAKE_BINARY_DIR}/cmake/stpnConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/cmake/stpnConfig.cmake ${CMAKE_BINARY_DIR}/cmake/stpnConfigVersion.cmake
    DESTINATION ${package_dir})

cmake_path(RELATIVE_PATH CMAKE_INSTALL_PREFIX BASE_DIRECTORY ${CMAKE_INSTALL_PREFIX}/${pkgconfig_dir}
    OUTPUT_VARIABLE pkgconfig_to_prefix)
set(pkgconfig_libdir "\${prefix}")
cmake_path(APPEND pkgconfig_libdir ${CMAKE_INSTALL_LIBDIR})
set(pkgconfig_includedir "\${prefix}")
cmake_path(APPEND pkgconfig_includedir ${CMAKE_INSTALL_INCLUDEDIR})
# A library of the system is found by its name, another one is where it is.
set(mujoco_libs "")
if(MUJOCO_FOUND AND STPN_MUJOCO)
    set(mujoco_libs " ${MUJOCO_LIBRARY}")
elseif(MUJOCO_FOUND)
    set(mujoco_libs " -lmujoco")
endif()
configure_file(stpn.pc.in ${CMAKE_BINARY_DIR}/stpn.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/stpn.pc DESTINATION ${pkgconfig_dir})

install(DIRECTORY experiments DESTINATION ${CMAKE_INSTALL_DATADIR}/stpn FILES_MATCHING PATTERN "*.json" PATTERN "*.csv")
install(DIRECTORY python/stpn DESTINATION ${CMAKE_INSTALL_DATADIR}/stpn/python FILES_MATCHING PATTERN "*.py")
install(FILES share/man/stpn.1 DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES share/completions/stpn.bash DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME stpn)
install(FILES share/completions/_stpn DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
install(FILES share/completions/stpn.fish DESTINATION ${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d)
install(FILES LICENSE CHANGELOG.md CITATION.cff DESTINATION ${CMAKE_INSTALL_DOCDIR})
