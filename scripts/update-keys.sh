#!/bin/sh
# Usage: scripts/update-keys.sh [BUILD]: puts the output of `stpn help keys` between the marks of docs/experiments.md.
set -eu
cd "$(dirname "$0")/.."
build=${1:-build}
page=docs/experiments.md
{
    sed '/^<!-- keys: begin/q' "$page"
    "$build/stpn" help keys
    sed -n '/^<!-- keys: end/,$p' "$page"
} >"$page.new"
mv "$page.new" "$page"
