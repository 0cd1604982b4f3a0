#!/bin/sh
# Runs every fuzz target for some seconds from its kept corpus, one on each core; a crash, a leak or a hang fails.
# usage: run.sh BUILD_DIR SECONDS
set -eu
build=$1 seconds=$2
here=$(cd "$(dirname "$0")" && pwd)
found=$(find "$build/fuzz" -maxdepth 1 -type f -perm -u+x -name 'fuzz_*' | wc -l)
[ "$found" -ge 5 ] || { echo "only $found fuzz targets were built" >&2; exit 1; }
# shellcheck disable=SC2016  # expanded by the shell that xargs starts
find "$build/fuzz" -maxdepth 1 -type f -perm -u+x -name 'fuzz_*' | sort | xargs -P "$(nproc)" -I TARGET sh -c '
  name=$(basename TARGET) corpus="$1/corpus/$(basename TARGET | cut -d_ -f2-)" scratch=$(mktemp -d)
  [ -d "$corpus" ] || { echo "$name has no corpus in $corpus" >&2; exit 1; }
  echo "$name: $2 s from $(ls "$corpus" | wc -l) files"
  if ! TARGET -max_total_time="$2" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
      -artifact_prefix="$scratch/" "$scratch" "$corpus" >"$scratch.log" 2>&1; then
    tail -40 "$scratch.log" >&2
    echo "$name failed; the input is in $scratch" >&2
    exit 1
  fi
  echo "$name: $(sed -n "s/stat::number_of_executed_units: *//p" "$scratch.log") inputs"
  rm -rf "$scratch" "$scratch.log"' sh "$here" "$seconds"
