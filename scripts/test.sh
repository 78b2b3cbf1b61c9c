#!/usr/bin/env bash
# Usage: scripts/test.sh [STEP...]: installs what the tests need, then runs the steps named, or all of them, in this order:
#   format      clang-format
#   release     release build with the Python package, and every test
#   asan        every test but the command's long ones under AddressSanitizer and UndefinedBehaviorSanitizer
#   tsan        the tests with threads under ThreadSanitizer
#   portable    the numerical tests on a build with the portable kernels only
#   lint        clang-tidy, cppcheck and a look at the shell scripts
#   arm64       the numerical tests but the longest, which looks above the kernels, compiled for 64-bit ARM, under qemu
#   install     the installed files, used by pkg-config and by CMake from C and C++; the Python wheel, in an environment of its own
#   fuzz        each fuzzer for 10 seconds
# Stops at the first failure. The output of every step lies in build-logs/.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 3

all_steps=(format release asan tsan portable lint arm64 install fuzz)
jobs=2
test_jobs=3 # many tests wait, for a signal or a process
passed=0
failed=0
release_summary=""

build() { # FOLDER CMAKE-OPTION...
    scripts/build.sh "$1" "$jobs" "${@:2}"
}

# Runs a build's tests and adds them to the totals.
run_tests() { # FOLDER CTEST-OPTION...
    local output="build-logs/ctest-$1.txt" status=0 summary
    # ThreadSanitizer of this age does not know the addresses that newer Linux kernels hand out at random.
    local fixed=()
    if setarch "$(uname -m)" -R true 2>/dev/null; then fixed=(setarch "$(uname -m)" -R); fi
    TMPDIR=$scratch "${fixed[@]}" scripts/cmake.sh --ctest --test-dir "$1" -j "$test_jobs" --no-tests=error \
        --output-on-failure "${@:2}" 2>&1 |
        tee "$output" || status=$?
    # "100% tests passed, 0 tests failed out of 7"; newer versions leave out what is 0.
    summary=$(grep -E '^[0-9]+% tests passed.* out of [0-9]+$' "$output")
    if [[ $summary =~ passed(,\ ([0-9]+)\ tests?\ failed)?\ out\ of\ ([0-9]+)$ ]]; then
        failed=$((failed + ${BASH_REMATCH[2]:-0}))
        passed=$((passed + BASH_REMATCH[3] - ${BASH_REMATCH[2]:-0}))
    fi
    ctest_summary=$summary
    return "$status"
}

step_format() {
    scripts/format.sh --check
}

step_release() {
    local package=(-DSTPN_BUILD_PYTHON=OFF)
    if [ -e .venv/complete ]; then package=(-DSTPN_BUILD_PYTHON=ON "-DPython_EXECUTABLE=$PWD/.venv/bin/python"); fi
    build build -DCMAKE_BUILD_TYPE=Release -DSTPN_WERROR=ON -DSTPN_BUILD_TESTS=ON -DSTPN_BUILD_BENCH=ON "${package[@]}" || return
    run_tests build
    local status=$?
    release_summary=$ctest_summary
    if [ ! -e .venv/complete ]; then
        echo "the Python package was not built and not tested: scripts/python-env.sh failed"
        status=1
    fi
    return "$status"
}

step_asan() {
    build build-asan -DCMAKE_BUILD_TYPE=RelWithDebInfo -DSTPN_BUILD_TESTS=ON -DSTPN_SANITIZE=address &&
        run_tests build-asan -E "^(cli/(readme|runs|maze|own_data|reproduce|profile)|bench/)"
}

step_tsan() {
    build build-tsan -DCMAKE_BUILD_TYPE=RelWithDebInfo -DSTPN_BUILD_TESTS=ON -DSTPN_SANITIZE=thread \
        -DSTPN_TEST_LABEL=threads && run_tests build-tsan
}

step_portable() {
    build build-portable -DCMAKE_BUILD_TYPE=Release -DSTPN_WERROR=ON -DSTPN_BUILD_TESTS=ON -DSTPN_PORTABLE_ONLY=ON \
        -DSTPN_TEST_LABEL=numerical && run_tests build-portable
}

step_lint() {
    local tidy=clang-tidy-14
    command -v "$tidy" >/dev/null || tidy=clang-tidy
    build build -DCMAKE_BUILD_TYPE=Release -DSTPN_WERROR=ON -DSTPN_BUILD_TESTS=ON || return
    for script in scripts/*.sh .ci/run share/completions/stpn.bash; do bash -n "$script" || return; done
    cppcheck --project=build/compile_commands.json -itests --enable=warning,performance,portability \
        --inline-suppr --suppress=missingIncludeSystem --error-exitcode=1 --quiet -j "$jobs" || return
    find src cli -name '*.c' -print0 | xargs -0 -r -P "$jobs" -n 1 "$tidy" -p build --quiet
}

step_arm64() {
    if [ "$(uname -m)" = aarch64 ]; then
        echo "this machine is one: the release step ran these tests"
        return 0
    fi
    scripts/arm64-sysroot.sh build-arm64/sysroot || return
    build build-arm64 -DCMAKE_TOOLCHAIN_FILE="$PWD/cmake/aarch64-linux-gnu.cmake" \
        -DSTPN_SYSROOT="$PWD/build-arm64/sysroot" -DCMAKE_BUILD_TYPE=Release -DSTPN_WERROR=ON -DSTPN_BUILD_TESTS=ON \
        -DSTPN_TEST_LABEL=numerical && run_tests build-arm64 -E "^net/same_bits$"
}

step_install() {
    build build -DCMAKE_BUILD_TYPE=Release -DSTPN_WERROR=ON && scripts/test-install.sh build && scripts/test-wheel.sh
}

step_fuzz() {
    local compiler=clang-14
    command -v "$compiler" >/dev/null || compiler=clang
    build build-fuzz -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_C_COMPILER="$compiler" -DSTPN_BUILD_FUZZERS=ON \
        -DSTPN_PORTABLE_ONLY=ON && # no parser reaches a kernel
        scripts/fuzz.sh build-fuzz 10
}

# However it ends, the last line says how many tests passed and failed.
finish() { # STATUS
    [ -z "$release_summary" ] || printf '\nrelease build:\n%s\n' "$release_summary"
    if [ "$1" -ne 0 ] && [ "$failed" -eq 0 ]; then failed=1; fi
    printf '\n%d passed, %d failed\n' "$passed" "$failed"
    exit "$1"
}

steps=("$@")
if [ "${#steps[@]}" -eq 0 ]; then steps=("${all_steps[@]}"); fi
for step in "${steps[@]}"; do
    if [[ " ${all_steps[*]} " != *" $step "* ]]; then
        echo "scripts/test.sh: no step \"$step\"; there are: ${all_steps[*]}" >&2
        exit 2
    fi
done

# What the caller's shell says must not change what is tested.
unset STPN_KERNEL CFLAGS LDFLAGS CPPFLAGS CC CMAKE_GENERATOR MAKEFLAGS MFLAGS MAKELEVEL DESTDIR

# Tests sync thousands of small files: in memory, where there is room, that takes no time.
scratch=${TMPDIR:-/tmp}
if [ "$(df --output=avail -k /dev/shm 2>/dev/null | tail -n 1)" -gt 2000000 ] 2>/dev/null; then
    memory=$(mktemp -d /dev/shm/stpn-test-XXXXXX) && trap 'rm -rf "$memory"' EXIT
    # Tests run programs that they write there.
    printf '#!/bin/sh\n' >"$memory/program" && chmod +x "$memory/program" && "$memory/program" 2>/dev/null && scratch=$memory
fi

mkdir -p build-logs
scripts/install-packages.sh test || finish 3
scripts/python-env.sh || echo "without .venv the tests that need it will fail" >&2
number=0
for step in "${steps[@]}"; do
    number=$((number + 1))
    log=build-logs/$step.txt
    printf '[%d/%d] %-9s' "$number" "${#steps[@]}" "$step"
    begin=$SECONDS
    "step_$step" >"$log" 2>&1 </dev/null
    status=$?
    seconds=$((SECONDS - begin))
    if [ "$status" -ne 0 ]; then
        printf 'FAILED after %d s; the end of %s:\n\n' "$seconds" "$log"
        tail -n 150 "$log"
        printf '\nThe step "%s" failed. To run it again: scripts/test.sh %s\n' "$step" "$step"
        finish 1
    fi
    note=""
    case $step in
        release | asan | tsan | portable | arm64) note=$ctest_summary ;;
    esac
    printf 'ok  %4d s  %s\n' "$seconds" "$note"
done
finish 0
