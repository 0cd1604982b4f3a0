#!/bin/sh
# Runs the native build on x86-64 CPUs that have less than this machine, under qemu: one with AVX2 but no AVX-512, and one
# with neither. Where code for more is reached there, the program stops at an illegal instruction.
# usage: test_older_cpus.sh BUILD_DIR
set -eu
build=$1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
compress() { # compress OUT [EMULATOR...]
  out=$1
  shift
  "$@" "$build/lissom" compress tests/golden/llama -o "$out" --scheme Q4_K_M --calib none --effort fast --no-verify \
    >/dev/null 2>"$scratch/messages" || { cat "$scratch/messages"; exit 1; }
}
compress "$scratch/native.gguf"
for cpu in Haswell qemu64; do
  compress "$scratch/$cpu.gguf" qemu-x86_64 -cpu "$cpu"
  cmp "$scratch/native.gguf" "$scratch/$cpu.gguf"
  qemu-x86_64 -cpu "$cpu" "$build/lissom" eval "$scratch/$cpu.gguf" --text README.md --ctx 64 --chunks 4 >"$scratch/eval" \
    2>"$scratch/messages" || { cat "$scratch/messages"; exit 1; }
  echo "$cpu: the native build's bytes; $(grep -c . "$scratch/eval") lines of evaluation"
done
qemu-x86_64 -cpu Haswell "$build/test_kernels" --gtest_brief=1 >"$scratch/kernels" 2>&1 || { cat "$scratch/kernels"; exit 1; }
tail -1 "$scratch/kernels"
