#!/bin/sh
# Installs the build into a prefix, builds this example against it as a stranger would, and runs it on a model.
# usage: check.sh BUILD_DIR PREFIX MODEL
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=$1 prefix=$2 model=$3
rm -rf "$prefix"
cmake --install "$build" --prefix "$prefix" >/dev/null
prefix=$(cd "$prefix" && pwd)
cmake -S "$here" -B "$prefix/example" -G Ninja -DCMAKE_BUILD_TYPE=Release -DCMAKE_PREFIX_PATH="$prefix" >/dev/null
cmake --build "$prefix/example" >/dev/null
"$prefix/bin/lissom" --version
printed=$("$prefix/example/next_token" "$model" "The capital of France is")
echo "$printed"
[ "$(echo "$printed" | wc -l)" -ge 5 ]
if "$prefix/example/next_token" /nowhere/at/all x 2>/dev/null; then
  echo "a missing model was not refused" >&2
  exit 1
fi
