#!/usr/bin/env python3
"""What error feedback gains over each codec's own search, at the same types and size, judged by llama.cpp's
`llama-perplexity --kl-divergence` on a text that neither saw. A markdown table.

usage: error_feedback.py MODEL-FOLDER CALIB.txt EVAL.txt [--types Q4_0,IQ4_NL,Q5_0] [--down Q4_K,Q3_K,IQ3_S,Q2_K,IQ2_S]
           [--calib-chunks 64] [--chunks 20] [--work FOLDER]

--types: the whole model. --down: ffn_down of that type, the rest Q8_0. llama.cpp's programs are looked for in
LISSOM_LLAMA_CPP_BIN, lissom in LISSOM_BIN. What lies in the work folder already is taken over.
"""

import argparse
import json
import pathlib
import re
import time

from kld_vs_llama_quantize import LISSOM, LLAMA, output


class Bench:
    def __init__(self, a):
        self.a = a
        a.work.mkdir(parents=True, exist_ok=True)
        self.base, self.logits = a.work / "base.gguf", a.work / "base.kld"
        if not self.base.exists():
            output(LISSOM, "convert", a.model, self.base, "--type", "F32")
        if not self.logits.exists():
            self.perplexity(self.base)

    def perplexity(self, path, *more):
        return output(LLAMA / "llama-perplexity", "-m", path, "-f", self.a.eval, "-c", 512, "--chunks", self.a.chunks, "-t", 2,
                      "--kl-divergence-base", self.logits, *more)  # fmt: skip

    def made(self, kind, down, algorithm):
        """(path, seconds, mean of the tensors' ratio of validation error)"""
        stem = f"{algorithm}-{'down-' if down else ''}{kind}"
        out, scheme, record = (self.a.work / f"{stem}{end}" for end in (".gguf", ".yaml", ".json"))
        if not record.exists():
            rules = f"default: Q8_0\ntensors:\n  - {{match: ffn_down, codec: {kind}}}\n" if down else f"default: {kind}\n"
            scheme.write_text(f"name: {stem}\n{rules}")
            begin = time.perf_counter()
            output(LISSOM, "compress", self.a.model, "-o", out, "--scheme", scheme, "--calib", self.a.calib, "--no-verify",
                   "--effort", "fast", "--algorithm", algorithm, "--calib-chunks", self.a.calib_chunks, "--report",
                   self.a.work / stem)  # fmt: skip
            seconds = time.perf_counter() - begin
            tensors = json.loads((self.a.work / stem / "report.json").read_text())["results"][0]["tensors"]
            ratios = [t["validation_ratio"] for t in tensors if t["codec"] == kind and "validation_ratio" in t]
            record.write_text(json.dumps([seconds, sum(ratios) / max(len(ratios), 1)]))
        return out, *json.loads(record.read_text())

    def row(self, kind, down):
        cells, klds = [], []
        for algorithm in ("search", "error-feedback"):
            path, seconds, ratio = self.made(kind, down, algorithm)
            found = re.search(r"Mean\s+KLD:\s+([\d.-]+)\s+±\s+([\d.]+)", self.perplexity(path, "--kl-divergence"))
            klds.append(float(found[1]))
            cells.append(f"{klds[-1]:.4f} ± {float(found[2]):.4f} | {seconds:.0f} s")
        size = path.stat().st_size / 1e6
        print(f"| {'ffn_down ' if down else ''}{kind}, {size:.1f} MB | {cells[0]} | {cells[1]} | {klds[1] / klds[0]:.2f} "
              f"| {ratio:.2f} |", flush=True)  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("calib")
    parser.add_argument("eval")
    parser.add_argument("--types", default="Q4_0,IQ4_NL,Q5_0")
    parser.add_argument("--down", default="Q4_K,Q3_K,IQ3_S,Q2_K,IQ2_S")
    parser.add_argument("--calib-chunks", type=int, default=64)
    parser.add_argument("--chunks", type=int, default=20)
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("error-feedback-work"))
    a = parser.parse_args()
    print("| type | search: mean KL | time | error feedback: mean KL | time | ratio | output error, held out |")
    print("|---|---|---|---|---|---|---|")
    bench = Bench(a)
    for down, kinds in ((False, a.types), (True, a.down)):
        for kind in filter(None, kinds.split(",")):
            bench.row(kind, down)


if __name__ == "__main__":
    main()
