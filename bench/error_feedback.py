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
import time

from kld_vs_llama_quantize import LISSOM, Bench, output, write_scheme


class Table:
    def __init__(self, a):
        self.a = a
        self.bench = Bench(a)

    def made(self, kind, down, algorithm):
        """(path, seconds, mean of the tensors' ratio of validation error)"""
        stem = f"{algorithm}-{'down-' if down else ''}{kind}"
        out, scheme, record = (self.a.work / f"{stem}{end}" for end in (".gguf", ".yaml", ".json"))
        if not record.exists():
            write_scheme(scheme, kind, down)
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
            kld, error, _ = self.bench.judge(path)
            klds.append(kld)
            cells.append(f"{kld:.4f} ± {error:.4f} | {seconds:.0f} s")
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
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("error-feedback-work"))
    a = parser.parse_args()
    print("| type | search: mean KL | time | error feedback: mean KL | time | ratio | output error, held out |")
    print("|---|---|---|---|---|---|---|")
    table = Table(a)
    for down, kinds in ((False, a.types), (True, a.down)):
        for kind in filter(None, kinds.split(",")):
            table.row(kind, down)


if __name__ == "__main__":
    main()
