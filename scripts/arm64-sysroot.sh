#!/bin/sh
# Usage: scripts/arm64-sysroot.sh FOLDER: unpacks the 64-bit ARM libraries that the tests need into FOLDER. apt-get works
# in a folder of its own with an empty package state: nothing changes on this machine but FOLDER.
set -eu
packages="libjansson-dev libjansson4 zlib1g-dev zlib1g libcmocka-dev libcmocka0 librandom123-dev"
folder=$1
if [ -e "$folder/complete" ]; then exit 0; fi
if ! command -v apt-get >/dev/null 2>&1; then
    echo "no apt-get here: the libraries for 64-bit ARM can only be had from Debian" >&2
    exit 3
fi
rm -rf "$folder"
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
apt=$folder/apt
mkdir -p "$apt/state/lists/partial" "$apt/cache/archives/partial" "$apt/packages"
: >"$apt/state/status"

arm64_apt_get() {
    apt-get -q -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User="$(id -un)" \
        -o Acquire::Languages=none -o Acquire::Retries=2 -o Debug::NoLocking=true \
        -o Dir::State="$apt/state" -o Dir::State::lists="$apt/state/lists" -o Dir::State::status="$apt/state/status" \
        -o Dir::Cache="$apt/cache" "$@"
}

fetch() {
    # Other sources than Debian's may not know the architecture; what counts is that the packages come.
    arm64_apt_get update || true
    # shellcheck disable=SC2086
    (cd "$apt/packages" && arm64_apt_get download $packages)
}

fetch || {
    echo "the download failed; once more" >&2
    sleep 5
    fetch
}
for package in "$apt/packages"/*.deb; do dpkg -x "$package" "$folder"; done
rm -rf "$apt"
: >"$folder/complete"
