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
CMAKE_BUILD_PARALLEL_LEVEL=2 backend "$work"/source/stpn-* build_wheel

say "an environment of its own"
python3 -m venv "$work/env"
"$work/env/bin/python" -m pip --disable-pip-version-check install -q --no-deps --no-index "$work"/dist/stpn-*.whl
site=$("$work/env/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
"$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' >"$site/packages.pth"
installed=$("$work/env/bin/python" -c 'import stpn, os; print(os.path.dirname(stpn.__file__))')
case $installed in "$work"/*) ;; *) fail "stpn is imported from $installed" ;; esac

say "no folder of this machine stands in it, and it needs the C library alone"
for file in "$installed/_native.abi3.so" "$work/env/bin/stpn"; do
    if grep -qF -e "$root/" -e "$work/source" "$file"; then fail "$file knows a folder of this machine"; fi
    if readelf -d "$file" | grep NEEDED | grep -vE '\[(libc|libm|libpthread|ld-linux[a-z0-9-]*|libgif)\.so'; then
        fail "$file needs another library"
    fi
done

say "the tests and the command"
for test in net torch; do
    STPN_TEST_PACKAGE="" STPN_SOURCE_DIR=$root STPN_COMMAND=$work/env/bin/stpn PYTHONDONTWRITEBYTECODE=1 \
        "$work/env/bin/python" "tests/python/test_$test.py"
done
(cd "$work" && env/bin/stpn reproduce retrieval --seeds 0 --epochs 1 --set task.train=128 --set task.validation=16 \
    --set task.test=16 --quiet && [ -s runs/retrieval/table.md ]) || fail "stpn reproduce failed"
