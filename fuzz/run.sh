#!/bin/sh
# Runs every fuzz target for some seconds from its kept corpus; a crash, a leak or a hang fails.
# usage: run.sh BUILD_DIR SECONDS
set -eu
build=$1 seconds=$2
here=$(cd "$(dirname "$0")" && pwd)
found=0
for target in "$build"/fuzz/fuzz_*; do
  [ -x "$target" ] && [ -f "$target" ] || continue
  found=$((found + 1))
  name=$(basename "$target")
  corpus="$here/corpus/${name#fuzz_}"
  [ -d "$corpus" ] || { echo "$name has no corpus in $corpus" >&2; exit 1; }
  scratch=$(mktemp -d)
  echo "$name: $seconds s from $(ls "$corpus" | wc -l) files"
  if ! "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
      -artifact_prefix="$scratch/" "$scratch" "$corpus" >"$scratch.log" 2>&1; then
    tail -40 "$scratch.log" >&2
    echo "$name failed; the input is in $scratch" >&2
    exit 1
  fi
  grep -E 'stat::number_of_executed_units' "$scratch.log"
  rm -rf "$scratch" "$scratch.log"
done
[ "$found" -ge 5 ] || { echo "only $found fuzz targets were built" >&2; exit 1; }
