#!/usr/bin/env python3
"""Codecs of lissom's own beside GGUF's types: bits per weight, KL divergence of the whole model on text that calibration
never saw, seconds. A markdown table.

usage: own_codecs.py MODEL CALIB.txt EVAL.txt [--codecs A,B] [--down A,B] [--chunks 12] [--work FOLDER]
                     [--algorithm error-feedback]

--codecs: every matrix. --down: ffn_down alone, the rest BF16, since GGUF's 256-wide types fit nothing else in models of
odd width. Everything is a pack that `lissom compress` writes with the same importance statistics (with error feedback: from
64 chunks of the calibration text), and that `lissom eval` runs. What lies in the work folder already is taken over.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
LISSOM = pathlib.Path(os.environ.get("LISSOM_BIN", ROOT / "build/release/lissom"))
OWN = (
    "lissom_4_v1,lissom_3_v1,lissom_2_5_v1,lissom_2_v1,int4_awq_v1,int4_opt_llama_v1,int4_hybrid_v2,int4_ultimate_v1,"
    "int4_g8_fp16_v1,int4_residual_v1,calibrated_vq_v1,calibrated_vq_v1:s1,tenpak_x_v1"
)


def lissom(*arguments):
    done = subprocess.run([str(a) for a in (LISSOM, *arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"lissom {' '.join(map(str, arguments))}: exit {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("calib")
    p.add_argument("eval")
    p.add_argument("--codecs", default=OWN + ",Q4_0,IQ4_NL,Q4_1")
    p.add_argument("--down", default="lissom_4_v1,Q4_K,lissom_3_v1,IQ3_S,Q3_K,lissom_2_5_v1,IQ2_S,Q2_K,lissom_2_v1,IQ2_XXS")
    p.add_argument("--chunks", default=12)
    p.add_argument("--algorithm", default="search", choices=["search", "error-feedback"])
    p.add_argument("--work", type=pathlib.Path, default=ROOT / "build/own_codecs")
    a = p.parse_args()
    a.work.mkdir(parents=True, exist_ok=True)
    imatrix = a.work / "imatrix.gguf"
    fed = a.algorithm != "search"
    statistics = ["--calib", a.calib, "--effort", "fast"] if fed else ["--imatrix", imatrix]
    if not fed and not imatrix.exists():
        lissom("compress", a.model, "-s", "Q8_0", "--effort", "fast", "--calib", a.calib, "--save-imatrix", imatrix,
               "--no-verify", "-q", "-o", a.work / "q8_0.gguf")  # fmt: skip
    print("| tensors | codec | file | mean KL | ± | same top token | compress |\n|---|---|---|---|---|---|---|", flush=True)
    for tensors, codecs in (("all", a.codecs), ("ffn_down", a.down)):
        for codec in filter(None, codecs.split(",")):
            out = a.work / f"{'fed-' if fed else ''}{tensors}-{codec.replace(':', '-')}.safetensors"
            scheme = out.with_suffix(".yaml")
            rest = f"default: {codec}\n" if tensors == "all" else "default: BF16\n"
            rule = "" if tensors == "all" else f"tensors:\n  - {{match: ffn_down, codec: '{codec}'}}\n"
            scheme.write_text(f"name: bench\n{rest}{rule}")
            seconds = "–"
            if not out.exists():
                start = time.monotonic()
                lissom("compress", a.model, "--format", "pack", "-s", scheme, *statistics, "--algorithm", a.algorithm,
                       "--no-verify", "-q", "-o", out)  # fmt: skip
                seconds = f"{time.monotonic() - start:.0f} s"
            r = json.loads(lissom("eval", out, "--against", a.model, "--text", a.eval, "--chunks", a.chunks, "--json", "-q"))
            print(f"| {tensors} | {codec} | {out.stat().st_size / 1e6:.1f} MB | {r['kld_mean']:.4f} | "
                  f"{r['kld_mean_error']:.4f} | {100 * r['same_top']:.1f}% | {seconds} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
