#!/usr/bin/env python3
"""Speed of lissom, of llama.cpp and of its relatives on the same GGUF files, alternating, as a markdown table.

    bench/llama_cpp_speed.py SmolLM2-F16.gguf [--types Q8_0,Q4_K] [--threads 1,2] [--rounds 3] [--bench NAME=LLAMA-BENCH]

MODEL is a full-precision GGUF (F32, F16 or BF16); llama-quantize --pure makes the others from it, kept beside it.
llama.cpp's programs are looked for in LISSOM_LLAMA_CPP_BIN (default .setup/llama.cpp/bin), lissom in LISSOM_BIN
(default build/release/lissom). Each figure is the median of the rounds; each round runs one after the other.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
LISSOM = pathlib.Path(os.environ.get("LISSOM_BIN", ROOT / "build/release/lissom"))
LLAMA = pathlib.Path(os.environ.get("LISSOM_LLAMA_CPP_BIN", ROOT / ".setup/llama.cpp/bin"))
TYPES = "Q8_0,Q4_0,Q4_1,Q4_K,Q6_K,BF16,F16"


def output(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{command[0]}: exit {done.returncode}\n{done.stderr[-2000:]}")
    return done.stdout


def quantized(model, kind, imatrix):
    path = model.with_name(f"{model.stem}-pure-{kind}.gguf")
    if path.exists():
        return path
    partial = path.with_suffix(".partial.gguf")
    if imatrix:
        # llama-quantize takes minutes for these, and refuses them for an output without statistics.
        scheme = path.with_suffix(".yaml")
        scheme.write_text(f"name: pure\ndefault: {kind}\ntensors: [{{match: '^(output|token_embd)', codec: Q4_K}}]\n")
        output(LISSOM, "compress", model, "-o", partial, "--scheme", scheme, "--imatrix", imatrix, "--no-verify", "--effort",
               "fast")  # fmt: skip
    else:
        output(LLAMA / "llama-quantize", "--pure", model, partial, kind)
    partial.rename(path)
    return path


def ours(path, threads, args):
    r = json.loads(output(LISSOM, "bench", path, "--threads", threads, "--prompt", args.prompt, "--generate",
                          args.generate, "--repeats", args.repeats, "--no-probe", "--json"))
    return r["prompt_tokens_per_second"], r["generate_tokens_per_second"]


def theirs(program, path, threads, args):
    rows = json.loads(output(program, "-m", path, "-t", threads, "-p", args.prompt, "-n", args.generate,
                             "-r", args.repeats, "-o", "json"))
    return tuple(statistics.median(row["samples_ts"]) for row in sorted(rows, key=lambda r: -r["n_prompt"]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--types", default=TYPES)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--imatrix", help="lissom writes the files, with these statistics: for types below 3 bits")
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--generate", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=3, help="timed runs of one start of a program")
    parser.add_argument("--rounds", type=int, default=3, help="starts of each program")
    parser.add_argument("--bench", action="append", default=[], metavar="NAME=PATH", help="a further llama-bench")
    args = parser.parse_args()
    peers = {"llama.cpp": LLAMA / "llama-bench"} | dict(b.split("=", 1) for b in args.bench)
    columns = " | ".join(["lissom", *peers, "ratio"])
    print(f"| type | threads | prompt: {columns} | generation: {columns} |")
    print("|---|---:|" + "---:|" * (2 * len(peers) + 4))
    for kind in args.types.split(","):
        path = quantized(args.model, kind, args.imatrix)
        for threads in args.threads.split(","):
            rounds = [(ours(path, threads, args), *(theirs(p, path, threads, args) for p in peers.values()))
                      for _ in range(args.rounds)]  # fmt: skip
            cells = []
            for which in (0, 1):
                mine, *others = (statistics.median(r[side][which] for r in rounds) for side in range(len(peers) + 1))
                cells += [f"{v:.0f}" for v in (mine, *others)] + [f"{mine / max(others):.2f}"]
            print(f"| {kind} | {threads} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
