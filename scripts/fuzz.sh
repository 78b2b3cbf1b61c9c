#!/bin/sh
# Usage: scripts/fuzz.sh FOLDER SECONDS: runs every fuzzer of a build folder for so long, two at a time. What is in
# tests/fuzz/corpus_NAME starts fuzz_NAME off; what it finds lies in FOLDER/corpus/NAME, what breaks it in FOLDER.
set -eu
cd "$(dirname "$0")/.."
folder=$1
seconds=$2
set -- "$folder"/fuzz/fuzz_*
if [ ! -x "$1" ]; then
    echo "$folder/fuzz: no fuzzers there" >&2
    exit 1
fi
for program in "$@"; do
    name=${program##*/fuzz_}
    mkdir -p "$folder/corpus/$name"
    seeds=tests/fuzz/corpus_$name
    [ ! -d "$seeds" ] || cp -R "$seeds/." "$folder/corpus/$name"
    printf '%s\0%s\0' "$program" "$folder/corpus/$name"
done | ASAN_OPTIONS=allocator_may_return_null=1 xargs -0 -n 2 -P 2 sh -c '
    "$3" -max_total_time="$1" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 -verbosity=0 \
        -artifact_prefix="$2/${3##*/}-" "$4" || { echo "$3 failed" >&2; exit 1; }' sh "$seconds" "$folder"
