#!/bin/sh
# Usage: scripts/cmake.sh ARGUMENT... | --ctest ARGUMENT... | --check: runs a cmake (or its ctest) that is new enough, the
# first one in PATH or else the system's; --check only says by its exit code whether there is one.
set -u
for candidate in cmake /usr/bin/cmake; do
    version=$("$candidate" --version 2>/dev/null | sed -n '1s/^cmake version \([0-9.]*\).*/\1/p')
    [ -n "$version" ] || continue
    major=${version%%.*}
    minor=${version#*.}
    minor=${minor%%.*}
    if [ "$major" -gt 3 ] || { [ "$major" -eq 3 ] && [ "$minor" -ge 25 ]; }; then
        case ${1:-} in
            --check) exit 0 ;;
            --ctest)
                shift
                exec "${candidate%cmake}ctest" "$@"
                ;;
            *) exec "$candidate" "$@" ;;
        esac
    fi
done
echo "cmake 3.25 or newer was not found" >&2
exit 3
