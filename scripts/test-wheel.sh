#!/usr/bin/env bash
# Usage: scripts/test-wheel.sh: makes the Python package's sdist, a wheel of it, and uses that from an environment of its own,
# which sees the packages of .venv (scripts/python-env.sh) but not this tree.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD
python=$root/.venv/bin/python
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

say() {
    printf -- '-- %s\n' "$1"
}
fail() {
    printf '%s\n' "$1" >&2
    exit 1
}
# What pyproject.toml says builds it, without a network.
backend() { # FOLDER HOOK
    (cd "$1" && "$python" -c "import sys, scikit_build_core.build as build; build.$2(sys.argv[1])" "$work/dist")
}

[ -e .venv/complete ] || fail "scripts/test-wheel.sh: there is no .venv: run scripts/python-env.sh"
say "sdist, and a wheel of what is in it"
mkdir "$work/dist" "$work/source"
backend "$root" build_sdist
tar -xzf "$work"/dist/stpn-*.tar.gz -C "$work/source"
cp -r "$work/source" "$work/packed" # the build leaves files of its own in the other
CMAKE_BUILD_PARALLEL_LEVEL=2 backend "$work"/source/stpn-* build_wheel

say "an environment of its own"
python3 -m venv "$work/env"
"$work/env/bin/python" -m pip --disable-pip-version-check install -q --no-deps --no-index "$work"/dist/stpn-*.whl
site=$("$work/env/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
"$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' >"$site/packages.pth"
installed=$("$work/env/bin/python" -c 'import stpn, os; print(os.path.dirname(stpn.__file__))')
case $installed in "$work"/*) ;; *) fail "stpn is imported from $installed" ;; esac

say "no folder of this machine stands in any file of them"
"$python" -m zipfile -e "$work"/dist/stpn-*.whl "$work/packed/wheel"
[ "$(find "$work/packed" -type f | wc -l)" -gt 400 ] || fail "sdist and wheel have too few files"
if grep -rlF -e "$root/" -e "$work/" "$work/packed"; then fail "these files know a folder of this machine"; fi

say "it needs the C library alone, of glibc 2.34 or newer (manylinux_2_34)"
for file in "$installed/_native.abi3.so" "$work/env/bin/stpn"; do
    if readelf -d "$file" | grep NEEDED | grep -vE '\[(libc|libm|libpthread|ld-linux[a-z0-9-]*|libgif)\.so'; then
        fail "$file needs another library"
    fi
done
policy=$("$python" -m auditwheel show "$work"/dist/stpn-*.whl 2>&1 | grep -oE '"manylinux_[0-9]+_[0-9]+_[a-z0-9_]+"' | head -n 1 || :)
printf '%s\n' "${policy:=none}"
minor=$(expr "$policy" : '"manylinux_2_\([0-9]*\)_' || :)
# A newer C library than Debian 12's may have put newer symbols in.
libc=$(getconf GNU_LIBC_VERSION | sed 's/.*\.//')
[ "${minor:-99}" -le "$((libc > 36 ? libc : 34))" ] || fail "auditwheel does not find it to be a manylinux_2_34 wheel"

say "the tests and the command"
for test in net torch gym; do
    STPN_TEST_PACKAGE="" STPN_SOURCE_DIR=$root STPN_COMMAND=$work/env/bin/stpn STPN_MUJOCO=0 PYTHONDONTWRITEBYTECODE=1 \
        "$work/env/bin/python" "tests/python/test_$test.py"
done
(cd "$work" && env/bin/stpn reproduce retrieval --seeds 0 --epochs 1 --set task.train=128 --set task.validation=16 \
    --set task.test=16 --quiet && [ -s runs/retrieval/table.md ]) || fail "stpn reproduce failed"
