#!/bin/sh
# Usage: scripts/install-packages.sh build|test|bench|products: sees to it that the Debian packages of a group are there.
# Where all are, it needs neither a network nor a right.
set -u
here=$(dirname "$0")

build="gcc libc6-dev make cmake pkg-config libjansson-dev zlib1g-dev librandom123-dev"
# What the build uses where it is there, installed only along with something that it needs.
optional="libgif-dev libmujoco-dev libopenmpi-dev"
test="$optional openmpi-bin g++ binutils python3 python3-dev python3-venv libcmocka-dev clang libclang-rt-14-dev clang-format clang-tidy cppcheck"
# The tests of stpn export: a Cortex-M4.
test="$test gcc-arm-none-eabi libnewlib-arm-none-eabi qemu-system-arm"
[ "$(uname -m)" = aarch64 ] || test="$test gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user"

case ${1:-} in
    build) packages=$build ;;
    test) packages="$build $test" ;;
    bench) packages="$build g++ python3 python3-dev python3-venv" ;; # torch.compile needs a compiler and Python.h
    products) packages="$build libopenblas-dev" ;;
    *)
        echo "usage: scripts/install-packages.sh build|test|bench|products" >&2
        exit 2
        ;;
esac

has_header() {
    echo "#include <$1>" | cc -E -x c - >/dev/null 2>&1
}

# There as a package, or there in another way.
have() {
    if command -v dpkg-query >/dev/null 2>&1; then
        case $(dpkg-query -W -f ' ${db:Status-Status} ' "$1" 2>/dev/null) in
            *" installed "*) if [ "$1" != cmake ]; then return 0; fi ;;
        esac
    fi
    case $1 in
        gcc) command -v cc >/dev/null 2>&1 ;;
        libc6-dev) has_header stdio.h ;;
        cmake) "$here/cmake.sh" --check 2>/dev/null ;;
        python3-venv) python3 -c 'import ensurepip, venv' 2>/dev/null ;;
        python3-dev)
            python3 -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' 2>/dev/null
            ;;
        libjansson-dev) pkg-config --exists jansson 2>/dev/null ;;
        zlib1g-dev) pkg-config --exists zlib 2>/dev/null ;;
        libcmocka-dev) pkg-config --exists cmocka 2>/dev/null ;;
        libopenblas-dev) pkg-config --exists openblas 2>/dev/null ;;
        libgif-dev) has_header gif_lib.h ;;
        libmujoco-dev) has_header mujoco/mujoco.h ;;
        libopenmpi-dev) command -v mpicc >/dev/null 2>&1 ;;
        openmpi-bin) command -v mpirun >/dev/null 2>&1 ;;
        librandom123-dev) has_header Random123/philox.h ;;
        binutils) command -v nm >/dev/null 2>&1 ;;
        gcc-aarch64-linux-gnu) command -v aarch64-linux-gnu-gcc >/dev/null 2>&1 ;;
        libc6-dev-arm64-cross) [ -e /usr/aarch64-linux-gnu/include/stdio.h ] ;;
        gcc-arm-none-eabi) command -v arm-none-eabi-gcc >/dev/null 2>&1 ;;
        libnewlib-arm-none-eabi) echo "#include <math.h>" | arm-none-eabi-gcc -E -x c - >/dev/null 2>&1 ;;
        qemu-user) command -v qemu-aarch64 >/dev/null 2>&1 || command -v qemu-aarch64-static >/dev/null 2>&1 ;;
        lib*) return 1 ;;
        *) command -v "$1" >/dev/null 2>&1 ;;
    esac
}

missing_packages() {
    missing=""
    for package in $packages; do
        have "$package" || missing="$missing $package"
    done
}

missing_packages
[ -n "$missing" ] || exit 0

refuse() {
    echo "$1 Install these Debian packages, or what they are called elsewhere, and try again:" >&2
    echo "   $missing" >&2
    exit 3
}

command -v apt-get >/dev/null 2>&1 || refuse "Something is missing, and there is no apt-get to install it."
if [ "$(id -u)" -eq 0 ]; then
    as_root=""
elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
    as_root="sudo -n"
else
    refuse "Something is missing, and installing it takes root."
fi

# The packages given.
install() {
    # A source that does not answer matters only where a package is then not to be had.
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 update </dev/null >&2
    # shellcheck disable=SC2086
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 install -y \
        --no-install-recommends $1 </dev/null >&2
}

wanted=$missing
for package in $optional; do
    have "$package" || wanted="$wanted $package"
done
echo "installing:$wanted" >&2
install "$wanted" || {
    echo "the installation failed; once more" >&2
    sleep 5
    install "$missing" || refuse "apt-get could not install what is missing."
}
missing_packages
[ -z "$missing" ] || refuse "apt-get left something out."
