#!/bin/sh
# Runs the unit tests of some rooms, as many at once as there are cores; prints each one's time, and what fails.
# For sanitized builds, where starting a process for every single test costs more than the tests.
# usage: run_tests.sh BUILD_DIR ROOM...
set -eu
build=$1
shift
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
# shellcheck disable=SC2016  # expanded by the shell that xargs starts
printf '%s\n' "$@" | xargs -P "$(nproc)" -I ROOM sh -c '
  begin=$(date +%s)
  if "$1/test_ROOM" --gtest_brief=1 >"$2/ROOM" 2>&1; then
    echo "test_ROOM: $(sed -n "s/^\[=*\] \([0-9]* tests*\) from .* ran.*/\1/p" "$2/ROOM"), $(($(date +%s) - begin)) s"
  else
    tail -60 "$2/ROOM"
    echo "test_ROOM failed"
    exit 1
  fi' sh "$build" "$logs"
