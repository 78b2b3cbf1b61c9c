#!/bin/sh
# Usage: scripts/format.sh [--check]: clang-format over all sources, in place or only looking.
set -eu
cd "$(dirname "$0")/.."
# Another version would lay some lines out differently.
format=clang-format-14
command -v "$format" >/dev/null 2>&1 || format=clang-format
case ${1:-} in
    --check) set -- --dry-run -Werror ;;
    '') set -- -i ;;
    *)
        echo "usage: scripts/format.sh [--check]" >&2
        exit 2
        ;;
esac
for folder in include src cli tests examples bench; do
    [ ! -d "$folder" ] || find "$folder" -type f \( -name '*.c' -o -name '*.h' \) -print0
done | xargs -0 -r "$format" --style=file "$@"
