#!/usr/bin/env python3
"""Encoding speed against the `tokenizers` package: one thread each, the same text, alternating, medians.

usage: tokenizer_speed.py TEXT TOKENIZER [TOKENIZER…] [--rounds 9]
TOKENIZER is a tokenizer.json. Needs the built helper tokenizer_bench (build/release/tools) and the package tokenizers.
Each round encodes all of TEXT line by line, and as one string. Times are of the process's own CPU, so that a busy
machine disturbs less. The package is called from Python, one call per line, as it is used.
"""
import argparse
import os
import pathlib
import statistics
import subprocess
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
from tokenizers import Tokenizer  # noqa: E402


def main():
    root = pathlib.Path(__file__).resolve().parents[1]
    parser = argparse.ArgumentParser()
    parser.add_argument("text")
    parser.add_argument("tokenizers", nargs="+")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--tool", default=str(root / "build/release/tools/tokenizer_bench"))
    args = parser.parse_args()
    text = pathlib.Path(args.text).read_text()
    size = len(text.encode()) / 1e6
    print("| tokenizer | input | lissom MB/s | tokenizers MB/s | ratio |\n|---|---|---|---|---|")
    for path in args.tokenizers:
        peer = Tokenizer.from_file(path)
        peer.no_padding()
        peer.no_truncation()
        for mode, inputs in (("lines", text.split("\n")), ("whole", [text])):
            ours, theirs = [], []
            for _ in range(args.rounds):
                done = subprocess.run([args.tool, path, args.text, mode], capture_output=True, text=True, check=True)
                seconds, count = done.stdout.split()
                ours.append(float(seconds))
                begin = time.process_time()
                encoded = [peer.encode(line, add_special_tokens=False) for line in inputs]
                theirs.append(time.process_time() - begin)
                assert sum(len(e.ids) for e in encoded) == int(count), "ids differ"
            a, b = (size / statistics.median(t) for t in (ours, theirs))
            name = pathlib.Path(path)
            print(f"| {name.parent.name}/{name.name} | {mode} | {a:.1f} | {b:.2f} | {a / b:.1f}× |")


if __name__ == "__main__":
    main()
