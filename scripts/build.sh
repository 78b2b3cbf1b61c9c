#!/bin/sh
# Usage: scripts/build.sh FOLDER JOBS [CMAKE OPTION...]: configures and builds into FOLDER.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
folder=$1
jobs=$2
shift 2
# A make above this one would hand its own flags down.
unset MAKEFLAGS MFLAGS MAKELEVEL
"$root/scripts/cmake.sh" -S "$root" -B "$folder" "$@"
"$root/scripts/cmake.sh" --build "$folder" -j "$jobs"
