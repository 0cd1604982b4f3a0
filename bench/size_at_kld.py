#!/usr/bin/env python3
"""Size at the same quality: files that `lissom compress --size` searches for, beside llama-quantize's mixtures with an
imatrix of the same text, all judged by llama.cpp's own `llama-perplexity --kl-divergence` on a text that neither saw.
Prints both as markdown tables, and how much smaller ours are at each of the peer's divergences (ln KLD is interpolated
between our sizes).

usage: size_at_kld.py MODEL-FOLDER CALIB.txt EVAL.txt [--sizes 80MB,88MB,96MB,105MB] [--types Q8_0,Q6_K,…,Q2_K]
           [--chunks 20] [--effort fast] [--algorithm search|error-feedback] [--threads 2] [--work FOLDER]

llama.cpp's programs are looked for in LISSOM_LLAMA_CPP_BIN, lissom in LISSOM_BIN. What lies in the work folder already is
taken over.
"""

import argparse
import json
import math
import pathlib
import time

from kld_vs_llama_quantize import LISSOM, LLAMA, Bench, beside, output

TYPES = "Q8_0,Q6_K,Q5_K_M,Q5_K_S,Q4_K_M,Q4_K_S,IQ4_XS,Q3_K_L,Q3_K_M,IQ3_M,IQ3_XXS,Q2_K"


class Table:
    def __init__(self, bench):
        self.bench = bench
        self.work = bench.work
        self.scores = self.work / "scores.json"
        self.known = json.loads(self.scores.read_text()) if self.scores.exists() else {}

    def judged(self, path):
        """(bytes, mean KLD, its error), remembered by name and size."""
        key = f"{path.name} {path.stat().st_size} {self.bench.a.chunks}"
        if key not in self.known:
            self.known[key] = self.bench.judge(path)[:2]
            self.scores.write_text(json.dumps(self.known, indent=1))
        return (path.stat().st_size, *self.known[key])

    def theirs(self, kind):
        out = self.work / f"llama.cpp-{kind}.gguf"
        if not out.exists():
            program = LLAMA / "llama-quantize"
            output(program, "--imatrix", self.bench.imatrix(), self.bench.base, out, kind, 2, env=beside(program))
        return self.judged(out)

    def statistics(self):
        path = self.work / "lissom.imatrix"
        if not path.exists():
            scratch = self.work / "scratch.gguf"
            output(LISSOM, "compress", self.bench.base, "-o", scratch, "--scheme", "Q8_0", "--calib", self.bench.a.calib,
                   "--calib-chunks", 0, "--save-imatrix", path, "--no-verify", "--effort", "fast")  # fmt: skip
            scratch.unlink()
        return path

    def ours(self, size):
        effort, algorithm = self.bench.a.effort, self.bench.a.algorithm
        out = self.work / f"lissom-{effort}-{'' if algorithm == 'search' else 'fed-'}{size}.gguf"
        seconds = None
        if not out.exists():
            statistics = ["--imatrix", self.statistics()] if algorithm == "search" else ["--calib-chunks", 128]
            begin = time.perf_counter()
            output(LISSOM, "compress", self.bench.base, "-o", out, "--size", size, "--calib", self.bench.a.calib, *statistics,
                   "--algorithm", algorithm, "--no-verify", "--effort", effort)  # fmt: skip
            seconds = time.perf_counter() - begin
        return (*self.judged(out), seconds)


def size_at(kld, points):
    """Our size with that divergence, or None outside of our sizes."""
    points = sorted(points)
    for (small, worse), (large, better) in zip(points, points[1:]):
        if better <= kld <= worse:
            part = (math.log(worse) - math.log(kld)) / max(math.log(worse) - math.log(better), 1e-9)
            return small + part * (large - small)
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("calib")
    parser.add_argument("eval")
    parser.add_argument("--sizes", default="80MB,84MB,88MB,92MB,97MB,105MB,125MB")
    parser.add_argument("--types", default=TYPES)
    parser.add_argument("--chunks", type=int, default=20)
    parser.add_argument("--effort", default="fast")
    parser.add_argument("--algorithm", default="search")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("size-work"))
    table = Table(Bench(parser.parse_args()))
    print("| lissom --size | MB | KLD | search and encoding |\n|---|---|---|---|")
    points = []
    for size in table.bench.a.sizes.split(","):
        have, kld, error, seconds = table.ours(size)
        points.append((have, kld))
        took = "" if seconds is None else f"{seconds:.0f} s"
        print(f"| {size} | {have / 1e6:.1f} | {kld:.4f} ± {error:.4f} | {took} |", flush=True)
    print("\n| llama-quantize | MB | KLD | ours at that KLD, MB | smaller by |\n|---|---|---|---|---|")
    front = []
    for kind in table.bench.a.types.split(","):
        have, kld, error = table.theirs(kind)
        mine = size_at(kld, points)
        cells = "outside of our sizes | " if mine is None else f"{mine / 1e6:.1f} | {100 * (1 - mine / have):.1f}%"
        front.append((have, kld, kind, mine))
        print(f"| {kind} | {have / 1e6:.1f} | {kld:.4f} ± {error:.4f} | {cells} |", flush=True)
    # Its best: no other of its files is both smaller and nearer to the source.
    best = [f for f in front if not any(g[0] <= f[0] and g[1] < f[1] for g in front)]
    saved = [(1 - mine / have, kind) for have, kld, kind, mine in best if mine is not None]
    if saved:
        least = min(saved)
        print(f"\nOf its best mixtures ({', '.join(f[2] for f in best)}): smaller by {100 * least[0]:.1f}% ({least[1]}) "
              f"to {100 * max(saved)[0]:.1f}%, on average {100 * sum(s for s, _ in saved) / len(saved):.1f}%.")  # fmt: skip


if __name__ == "__main__":
    main()
