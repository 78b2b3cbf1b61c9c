# The Python package: python/stpn and stpn._native, the binding, with the library inside. A wheel (pyproject.toml) is what is
# installed here; in a build folder the package lies in python/, for the tests.
if(SKBUILD)
    find_package(Python REQUIRED COMPONENTS Interpreter Development.Module)
else()
    # An environment with cffi: -DPython_EXECUTABLE=.venv/bin/python.
    set(Python_FIND_VIRTUALENV FIRST)
    find_package(Python REQUIRED COMPONENTS Interpreter Development.Module)
endif()

set(native_source ${CMAKE_BINARY_DIR}/native.c)
set(native_generator ${PROJECT_SOURCE_DIR}/python/native/generate.py)
add_custom_command(OUTPUT ${native_source}
    COMMAND ${Python_EXECUTABLE} ${native_generator} ${PROJECT_SOURCE_DIR}/include/stpn/stpn.h ${native_source}
    DEPENDS ${native_generator} include/stpn/stpn.h
    VERBATIM)
# The generated source would not pass the warnings of our own.
add_library(stpn_native MODULE ${native_source})
target_include_directories(stpn_native PRIVATE ${PROJECT_SOURCE_DIR}/include ${Python_INCLUDE_DIRS})
target_link_libraries(stpn_native PRIVATE stpn_static)
set_target_properties(stpn_native PROPERTIES PREFIX "" OUTPUT_NAME _native SUFFIX .abi3.so C_EXTENSIONS ON
    EXPORT_COMPILE_COMMANDS OFF LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/python/stpn)
if(NOT APPLE)
    # Nothing but the module's own entry is exported: another libstpn in the process does not mix with this one.
    target_link_options(stpn_native PRIVATE -Wl,--exclude-libs,ALL)
endif()

if(SKBUILD)
    install(TARGETS stpn_native LIBRARY DESTINATION stpn COMPONENT python)
    install(TARGETS stpn_command RUNTIME DESTINATION ${SKBUILD_SCRIPTS_DIR} COMPONENT python)
    install(DIRECTORY experiments DESTINATION ${SKBUILD_DATA_DIR}/share/stpn COMPONENT python
        FILES_MATCHING PATTERN "*.json" PATTERN "*.csv")
    install(FILES share/man/stpn.1 DESTINATION ${SKBUILD_DATA_DIR}/share/man/man1 COMPONENT python)
else()
    file(GLOB package_entries CONFIGURE_DEPENDS python/stpn/*)
    foreach(entry IN LISTS package_entries)
        cmake_path(GET entry FILENAME name)
        if(NOT name MATCHES "^(__pycache__|.*\\.so)$")
            file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/python/stpn)
            file(CREATE_LINK ${entry} ${CMAKE_BINARY_DIR}/python/stpn/${name} SYMBOLIC)
        endif()
    endforeach()
endif()
