#!/usr/bin/env python3
"""Quality at the same size: lissom's files beside llama-quantize's, of the same type for every tensor, with statistics of
the same text, judged by llama.cpp's own `llama-perplexity --kl-divergence` on a text that neither saw. A markdown table.

usage: kld_vs_llama_quantize.py MODEL-FOLDER CALIB.txt EVAL.txt [--types Q4_0,Q4_1,IQ4_NL,Q5_0] [--down Q4_K,Q3_K]
           [--chunks 40] [--effort default] [--algorithm error-feedback] [--fold awq] [--calib-chunks 0]
           [--threads 2] [--quantize NAME=PATH ...] [--work FOLDER]

--types: the whole model. --down: ffn_down of that type, the rest Q8_0. --quantize names further llama-quantize programs
(ik_llama.cpp's) to run beside llama.cpp's. llama.cpp's programs are looked for in LISSOM_LLAMA_CPP_BIN, lissom in
LISSOM_BIN. What lies in the work folder already is taken over.
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
LISSOM = pathlib.Path(os.environ.get("LISSOM_BIN", ROOT / "build/release/lissom"))
LLAMA = pathlib.Path(os.environ.get("LISSOM_LLAMA_CPP_BIN", ROOT / ".setup/llama.cpp/bin"))


def output(*command, **options):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True, errors="replace", **options)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout + done.stderr


def beside(program):
    return {**os.environ, "LD_LIBRARY_PATH": str(pathlib.Path(program).parent)}


def write_scheme(path, kind, down):
    """A scheme of this type for every tensor, or for ffn_down alone and Q8_0 for the rest."""
    rules = f"default: Q8_0\ntensors:\n  - {{match: ffn_down, codec: {kind}}}\n" if down else f"default: {kind}\n"
    path.write_text(f"name: {path.stem}\n{rules}")


class Bench:
    def __init__(self, a):
        self.a = a
        self.work = a.work
        self.work.mkdir(parents=True, exist_ok=True)
        self.base, self.logits = self.work / "base.gguf", self.work / "base.kld"
        if not self.base.exists():
            output(LISSOM, "convert", a.model, self.base, "--type", "F32")
        if not self.logits.exists():
            self.judge(self.base, save=True)

    def imatrix(self):
        path = self.work / "imatrix.dat"
        if not path.exists():
            output(LLAMA / "llama-imatrix", "-m", self.base, "-f", self.a.calib, "-o", path, "--output-format", "dat", "-t",
                   2)  # ik_llama.cpp reads no other form
        return path

    def judge(self, path, save=False):
        """(mean KL, its error, same top in percent) against the base, by llama.cpp."""
        text = output(
            LLAMA / "llama-perplexity", "-m", path, "-f", self.a.eval, "-c", 512, "--chunks", self.a.chunks, "-t", self.a.threads,
            "--kl-divergence-base", self.logits, *([] if save else ["--kl-divergence"]),
        )  # fmt: skip
        if save:
            return None
        mean = re.search(r"Mean\s+KLD:\s+([\d.-]+)\s+±\s+([\d.]+)", text)
        top = re.search(r"Same top p:\s+([\d.]+)", text)
        return float(mean[1]), float(mean[2]), float(top[1])

    def theirs(self, name, program, kind, down):
        out = self.work / f"{name}-{'down-' if down else ''}{kind}.gguf"
        if not out.exists():
            rule = ["--tensor-type", f"ffn_down={kind.lower()}"]
            if name != "llama.cpp":
                rule = ["--ffn-down-type", re.sub("_k$", "_K", kind.lower())]  # its names are exact
            types = [*rule, self.base, out, "Q8_0"] if down else []
            types = types or ["--pure", self.base, out, kind]
            output(program, "--imatrix", self.imatrix(), *types, 2, env=beside(program))
        return out

    def ours(self, kind, down):
        said = {"--algorithm": self.a.algorithm, "--fold": self.a.fold}
        flags = [word for flag, value in said.items() if value for word in (flag, value)]
        stem = "-".join(["lissom", self.a.effort, *filter(None, said.values()), *(["down"] if down else []), kind])
        out, scheme = self.work / f"{stem}.gguf", self.work / f"{stem}.yaml"
        seconds = None
        if not out.exists():
            write_scheme(scheme, kind, down)
            begin = time.perf_counter()
            output(LISSOM, "compress", self.base if self.a.from_gguf else self.a.model, "-o", out, "--scheme", scheme,
                   "--calib", self.a.calib, "--no-verify", "--effort", self.a.effort, "--calib-chunks", self.a.calib_chunks,
                   *flags, "--threads", self.a.threads)  # fmt: skip
            seconds = time.perf_counter() - begin
        return out, seconds

    def row(self, kind, down):
        peers = {"llama.cpp": LLAMA / "llama-quantize"} | dict(q.split("=", 1) for q in self.a.quantize)
        figures = {}
        for name, program in peers.items():
            path = self.theirs(name, program, kind, down)
            figures[name] = (*self.judge(path), path.stat().st_size)
        path, seconds = self.ours(kind, down)
        kld, error, top = self.judge(path)
        best = min(v[0] for v in figures.values())
        cells = [f"{v[0]:.4f} ± {v[1]:.4f} ({v[3] / 1e6:.1f} MB, {v[2]:.1f}%)" for v in figures.values()]
        took = "" if seconds is None else f"{seconds:.0f} s"
        mine = f"{kld:.4f} ± {error:.4f} ({path.stat().st_size / 1e6:.1f} MB, {top:.1f}%)"
        print(f"| {'ffn_down ' if down else ''}{kind} | " + " | ".join(cells) + f" | {mine} | {kld / best:.2f} | {took} |",
              flush=True)  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("calib")
    parser.add_argument("eval")
    parser.add_argument("--types", default="Q4_0,Q4_1,IQ4_NL,Q5_0")
    parser.add_argument("--down", default="Q4_K,Q3_K,IQ3_S,Q2_K,IQ2_S,IQ2_XXS")
    parser.add_argument("--chunks", type=int, default=40)
    parser.add_argument("--effort", default="default")
    parser.add_argument("--algorithm", help="as lissom compress has it; else what the effort brings")
    parser.add_argument("--fold", help="as lissom compress has it")
    parser.add_argument("--calib-chunks", default=0, help="of the text, for lissom; 0: all")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--quantize", action="append", default=[])
    parser.add_argument("--from-gguf", action="store_true", help="lissom reads the F32 GGUF that the others read")
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("kld-work"))
    a = parser.parse_args()
    names = ["llama.cpp"] + [q.split("=", 1)[0] for q in a.quantize]
    print("| type | " + " | ".join(names) + " | lissom | ratio to the best | lissom's time |")
    print("|---|" + "---|" * (len(names) + 3))
    bench = Bench(a)
    for down, kinds in ((False, a.types), (True, a.down)):
        for kind in filter(None, kinds.split(",")):
            bench.row(kind, down)


if __name__ == "__main__":
    main()
