#!/bin/sh
# Usage: scripts/check-exports.sh LIBSTPN.SO STPN.H: the library exports what the header declares, and nothing else.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
nm -D --defined-only "$1" | awk '{ print $NF }' | sed 's/@.*//' | sort -u >"$work/exported"
sed -n 's/^STPN_API.*[ *]\(stpn_[a-z0-9_]*\)(.*/\1/p' "$2" | sort -u >"$work/declared"
if [ ! -s "$work/declared" ]; then
    echo "$2: declares no function" >&2
    exit 2
fi
if ! diff "$work/declared" "$work/exported" >"$work/difference"; then
    sed -n 's/^< /declared but not exported: /p; s/^> /exported but not declared: /p' "$work/difference"
    exit 1
fi
echo "$(wc -l <"$work/declared") functions, each declared and exported"
