#!/bin/sh
# Runs what `make aarch64` built, under qemu: the targets that each CPU is given, the unit tests, and the encoder of every
# codec, which must give the bytes of the native build.
# usage: test_aarch64.sh BUILD_DIR NATIVE_CODEC_TOOL
set -eu
build=$1 native=$2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export QEMU_LD_PREFIX=/usr/aarch64-linux-gnu

# One CPU without dot products, one with sdot, and one with all that qemu knows.
expect_targets() {
  found=$(QEMU_CPU=$1 qemu-aarch64 "$build/tools/codec_tool" targets | tr '\n' ' ')
  [ "$found" = "$2 " ] || { echo "$1 has the targets $found, not $2" >&2; exit 1; }
  echo "$1: $found"
}
expect_targets cortex-a53 "neon scalar"
expect_targets neoverse-n1 "neon_dotprod neon scalar"
expect_targets max "neon_i8mm neon_dotprod neon scalar"

# The same weights for both machines: whole numbers, a few large.
python3 -c '
import array, random, sys
random.seed(1)
values = [random.randint(-4096, 4096) * (16 if random.random() < 0.01 else 1) / 65536 for _ in range(64 * 512)]
sys.stdout.buffer.write(array.array("f", values).tobytes())' >"$scratch/weights"
cat >"$scratch/encode" <<'END'
# usage: encode CODEC. Codecs of several components, or with whole rows in a block, are not the tool's.
"$native" encode "$1" 512 "$scratch/weights" - "$scratch/$1.native" >/dev/null 2>&1 || exit 0
QEMU_CPU=max qemu-aarch64 "$build/tools/codec_tool" encode "$1" 512 "$scratch/weights" - "$scratch/$1.arm" >/dev/null
cmp "$scratch/$1.native" "$scratch/$1.arm"
END
# usage: test CPU ROOM [FILTER]
cat >"$scratch/test" <<'END'
begin=$(date +%s)
if QEMU_CPU=$1 qemu-aarch64 "$build/test_$2" --gtest_brief=1 --gtest_filter="${3:-*}" >"$scratch/$1-$2" 2>&1; then
  echo "test_$2 on $1: $(grep -o '[0-9]* tests' "$scratch/$1-$2" | tail -1), $(($(date +%s) - begin)) s"
else
  tail -60 "$scratch/$1-$2"
  exit 1
fi
END
export build native scratch
# Four tests encode large matrices with the trellis: three minutes under qemu, of a search whose kernels others compare.
cat >"$scratch/jobs" <<'END'
test max codec -OwnCodecs.ShapesOf*:OwnCodecs.ImportanceLowers*:Trellis.ErrorIs*:Trellis.RatesPer*
test max kernels
test cortex-a53 kernels
test max base
test neoverse-n1 base
test cortex-a53 base
END
"$native" list | sed 's/^/encode /' >>"$scratch/jobs"
xargs -P "$(nproc)" -L 1 sh -c 'job=$1; shift; . "$scratch/$job"' sh <"$scratch/jobs"
echo "$(find "$scratch" -name '*.arm' | wc -l) codecs give the native build's bytes"
