#!/usr/bin/env bash
# Usage: scripts/test-install.sh BUILD: installs a build into a temporary folder, moves it, and uses it from there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
build=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$PWD

say() {
    printf -- '-- %s\n' "$1"
}
fail() {
    printf '%s\n' "$1" >&2
    exit 1
}

say "install, and move what was installed"
DESTDIR='' scripts/cmake.sh --install "$build" --prefix "$work/first"
mv "$work/first" "$work/moved"
prefix=$work/moved
version=$(sed -n 's/^#define STPN_VERSION "\(.*\)"$/\1/p' include/stpn/stpn.h)
# Before 1.0 a minor version may break the interface, so the SONAME carries both numbers.
interface=${version%%.*}
[ "$interface" != 0 ] || interface=${version%.*}
pc=$(find "$prefix" -name stpn.pc)
lib=$(dirname "$(dirname "$pc")")

say "every file is there, and none knows a folder of this machine"
for file in "$lib/libstpn.a" "$lib/libstpn.so" "$lib/libstpn.so.$interface" "$lib/libstpn.so.$version" \
    "$lib/cmake/stpn/stpnConfig.cmake" "$prefix/include/stpn/stpn.h" "$prefix/bin/stpn" "$prefix/share/man/man1/stpn.1" \
    "$prefix/share/bash-completion/completions/stpn" "$prefix/share/zsh/site-functions/_stpn" \
    "$prefix/share/fish/vendor_completions.d/stpn.fish" "$prefix/share/doc/stpn/LICENSE" \
    "$prefix/share/stpn/experiments/retrieval/reproduce.json"; do
    [ -e "$file" ] || fail "not installed: $file"
done
for folder in "$work/first" "$root"; do
    if found=$(grep -rlF -- "$folder/" "$prefix"); then fail "the folder $folder stands in: $found"; fi
done
for file in share/man/stpn.1 CITATION.cff CHANGELOG.md; do
    grep -qF "$version" "$file" || fail "$file does not name version $version"
done
readelf -d "$lib/libstpn.so" | grep -qF "[libstpn.so.$interface]" || fail "libstpn.so has another SONAME"

say "the header by itself, as C11 and as C++17"
printf '#include <stpn/stpn.h>\nint main(void) { return stpn_version()[0] == 0; }\n' >"$work/header.c"
cp "$work/header.c" "$work/header.cpp"
gcc -std=c11 -Wall -Wextra -pedantic -Werror -I "$prefix/include" -fsyntax-only "$work/header.c"
g++ -std=c++17 -Wall -Wextra -pedantic -Werror -I "$prefix/include" "$work/header.cpp" -L "$lib" -lstpn -o "$work/header"
LD_LIBRARY_PATH=$lib "$work/header"

run() { # PROGRAM
    (cd "$(mktemp -d -p "$work")" && LD_LIBRARY_PATH=$lib timeout 120 "$1" >output.txt) || fail "$1 failed"
}

say "the examples by pkg-config, shared and static"
export PKG_CONFIG_PATH=$lib/pkgconfig
[ "$(pkg-config --modversion stpn)" = "$version" ] || fail "stpn.pc has another version"
read -ra cflags <<<"$(pkg-config --cflags stpn)"
read -ra libs <<<"$(pkg-config --libs stpn)"
read -ra private <<<"$(pkg-config --static --libs-only-l --libs-only-other stpn)"
mkdir "$work/shared" "$work/static"
for source in examples/*.c; do
    name=$(basename "$source" .c)
    gcc -O2 -Wall -Wextra -Werror "${cflags[@]}" "$source" "${libs[@]}" -lm -o "$work/shared/$name"
    gcc -O2 -Wall -Wextra -Werror "${cflags[@]}" "$source" "${private[@]/#-lstpn/$lib/libstpn.a}" -o "$work/static/$name"
    run "$work/shared/$name"
    run "$work/static/$name"
done

say "the examples by CMake, shared and static"
mkdir "$work/project"
cat >"$work/project/CMakeLists.txt" <<EOF
cmake_minimum_required(VERSION 3.25)
project(consumer C)
find_package(stpn ${version%.*} REQUIRED)
file(GLOB sources $root/examples/*.c)
foreach(source IN LISTS sources)
    cmake_path(GET source STEM name)
    add_executable(\${name} \${source})
    target_link_libraries(\${name} PRIVATE stpn::stpn m)
    add_executable(\${name}_static \${source})
    target_link_libraries(\${name}_static PRIVATE stpn::stpn_static m)
endforeach()
EOF
scripts/cmake.sh -S "$work/project" -B "$work/project/build" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_BUILD_TYPE=Release
scripts/cmake.sh --build "$work/project/build"
for source in examples/*.c; do
    name=$(basename "$source" .c)
    run "$work/project/build/$name"
    run "$work/project/build/${name}_static"
done

say "the command and its manual page"
(cd "$work" && "$prefix/bin/stpn" help >/dev/null)
# By the experiments that were installed with it.
(cd "$work" && "$prefix/bin/stpn" reproduce retrieval --seeds 0 --epochs 1 --set task.train=128 --set task.validation=16 \
    --set task.test=16 --quiet && [ -s runs/retrieval/table.md ]) || fail "stpn reproduce failed"
if command -v man >/dev/null && command -v groff >/dev/null; then
    warnings=$(MANWIDTH=100 man --warnings -E UTF-8 -l "$prefix/share/man/man1/stpn.1" 2>&1 >/dev/null)
    [ -z "$warnings" ] || fail "$warnings"
fi
