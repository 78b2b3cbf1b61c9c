# Every tests/FOLDER/test_NAME.c is one cmocka program and one ctest FOLDER/NAME; so is every tests/FOLDER/test_NAME.py.
enable_testing()
pkg_check_modules(CMOCKA REQUIRED IMPORTED_TARGET cmocka)

list(JOIN sanitizers " " sanitizer_flags)

# The build's own settings of the sanitizers: a test may ask for more memory than there is, and may fork with threads.
set(test_environment
    CMOCKA_MESSAGE_OUTPUT=STDOUT
    PYTHONDONTWRITEBYTECODE=1
    STPN_SOURCE_DIR=${PROJECT_SOURCE_DIR}
    STPN_BUILD=${CMAKE_BINARY_DIR}
    STPN_COMMAND=${CMAKE_BINARY_DIR}/stpn
    STPN_GIF=$<BOOL:${GIF_FOUND}>
    STPN_MUJOCO=$<BOOL:${MUJOCO_FOUND}>
    "STPN_TEST_FLAGS=${sanitizer_flags}"
    ASAN_OPTIONS=allocator_may_return_null=1:detect_stack_use_after_return=1
    UBSAN_OPTIONS=print_stacktrace=1
    TSAN_OPTIONS=halt_on_error=1:die_after_fork=0:allocator_may_return_null=1)

function(stpn_test_labels name folder result)
    set(labels ${folder})
    if(name MATCHES "^(base/threads|tasks/env|net/same_bits)$" OR folder STREQUAL "train")
        list(APPEND labels threads) # the rest of net is tested on one thread
    endif()
    if(folder MATCHES "^(kernels|units|net)$")
        list(APPEND labels numerical)
    endif()
    set(${result} ${labels} PARENT_SCOPE)
endfunction()

function(stpn_test_properties name folder)
    stpn_test_labels(${name} ${folder} labels)
    set_tests_properties(${name} PROPERTIES TIMEOUT 600 LABELS "${labels}" WORKING_DIRECTORY ${CMAKE_BINARY_DIR}
        ENVIRONMENT "${test_environment}" ENVIRONMENT_MODIFICATION STPN_KERNEL=unset:)
    # The longest start first, so that no processor waits for them in the end.
    if(name MATCHES "^(net/same_bits|train/run_failures|train/resume|cli/runs)$")
        set_tests_properties(${name} PROPERTIES COST 1000)
    endif()
endfunction()

set(shared_out 0)
if(sanitizers OR CMAKE_CROSSCOMPILING)
    set(shared_out 1)
endif()

# What all test programs share, and what only the *_failures ones link: calls that fail on demand.
add_library(stpn_test_flags INTERFACE)
target_include_directories(stpn_test_flags INTERFACE ${PROJECT_SOURCE_DIR} ${PROJECT_SOURCE_DIR}/tests)
target_compile_definitions(stpn_test_flags INTERFACE STPN_SOURCE_DIR="${PROJECT_SOURCE_DIR}"
    STPN_TESTS_SHARED_OUT=${shared_out}) # tests/support/effort.h
target_link_libraries(stpn_test_flags INTERFACE stpn_static stpn_flags PkgConfig::CMOCKA)

file(GLOB support_sources CONFIGURE_DEPENDS tests/support/*.c)
set(failing_source ${PROJECT_SOURCE_DIR}/tests/support/failing.c)
set(failing_header ${PROJECT_SOURCE_DIR}/tests/support/failing.h)
list(REMOVE_ITEM support_sources ${failing_source})
set(support_objects "")
if(support_sources)
    add_library(stpn_test_support OBJECT ${support_sources})
    target_link_libraries(stpn_test_support PRIVATE stpn_test_flags)
    list(APPEND support_objects $<TARGET_OBJECTS:stpn_test_support>)
endif()
# The comment on top of failing.h names the wrapped calls; they are taken from there.
set(failing_wraps "")
if(EXISTS ${failing_header})
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${failing_header})
    file(READ ${failing_header} failing_text)
    string(REGEX MATCHALL "--wrap=[A-Za-z0-9_]+" failing_wraps "${failing_text}")
    list(REMOVE_DUPLICATES failing_wraps)
    list(TRANSFORM failing_wraps PREPEND "LINKER:")
endif()
# The parts of the command, without its main.
set(command_objects "")
if(command_sources)
    add_library(stpn_test_command OBJECT ${command_sources})
    # A second entry for the same source would make clang-tidy 14 see errors that are none.
    set_target_properties(stpn_test_command PROPERTIES EXPORT_COMPILE_COMMANDS OFF)
    target_include_directories(stpn_test_command PRIVATE ${PROJECT_SOURCE_DIR})
    target_link_libraries(stpn_test_command PRIVATE stpn_flags stpn_command_needs)
    list(APPEND command_objects $<TARGET_OBJECTS:stpn_test_command>)
endif()

file(GLOB test_sources CONFIGURE_DEPENDS tests/*/test_*.c)
foreach(source IN LISTS test_sources)
    cmake_path(GET source PARENT_PATH folder)
    cmake_path(GET folder FILENAME folder)
    cmake_path(GET source STEM program)
    string(REGEX REPLACE "^test_" "" name ${program})
    stpn_test_labels(${folder}/${name} ${folder} labels)
    if(STPN_TEST_LABEL AND NOT STPN_TEST_LABEL IN_LIST labels)
        continue()
    endif()
    set(target test_${folder}_${name})
    add_executable(${target} ${source} ${support_objects})
    set_target_properties(${target} PROPERTIES OUTPUT_NAME ${program}
        RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests/${folder})
    target_link_libraries(${target} PRIVATE stpn_test_flags)
    if(folder STREQUAL "cli")
        target_sources(${target} PRIVATE ${command_objects})
        target_link_libraries(${target} PRIVATE stpn_command_needs)
    endif()
    if(name MATCHES "_failures$")
        target_sources(${target} PRIVATE ${failing_source})
        target_link_options(${target} PRIVATE ${failing_wraps})
    endif()
    add_test(NAME ${folder}/${name} COMMAND ${target})
    stpn_test_properties(${folder}/${name} ${folder})
endforeach()

# What runs the host's own programs on the build is left out where that build is for another machine.
if(NOT CMAKE_CROSSCOMPILING AND NOT STPN_TEST_LABEL)
    find_package(Python3 REQUIRED COMPONENTS Interpreter)
    file(GLOB python_tests CONFIGURE_DEPENDS tests/*/test_*.py)
    foreach(source IN LISTS python_tests)
        cmake_path(GET source PARENT_PATH folder)
        cmake_path(GET folder FILENAME folder)
        cmake_path(GET source STEM program)
        string(REGEX REPLACE "^test_" "" name ${program})
        if(folder STREQUAL "python" AND NOT STPN_BUILD_PYTHON)
            continue() # other builds would only repeat them
        endif()
        add_test(NAME ${folder}/${name} COMMAND ${Python3_EXECUTABLE} ${source})
        stpn_test_properties(${folder}/${name} ${folder})
    endforeach()
    if(NOT sanitizers)
        add_test(NAME install/exports
            COMMAND ${PROJECT_SOURCE_DIR}/scripts/check-exports.sh $<TARGET_FILE:stpn>
                    ${PROJECT_SOURCE_DIR}/include/stpn/stpn.h)
        stpn_test_properties(install/exports install)
    endif()
endif()
