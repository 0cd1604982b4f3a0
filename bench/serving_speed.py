#!/usr/bin/env python3
"""Many sequences at once, and the time from the start of a program to its first token: lissom and llama.cpp (and its
relatives) on the same GGUF files, alternating, as two markdown tables.

    bench/serving_speed.py FILE.gguf … [--sequences 8,32] [--threads 2] [--rounds 3] [--batched NAME=LLAMA-BATCHED-BENCH]
                           [--bench NAME=LLAMA-BENCH]

Generation: 64 tokens of each sequence after prompts of 128, all of them counted (`lissom bench --sequences`,
llama-batched-bench). First token: the whole process, a prompt of 16 tokens and what follows it, files in the page
cache (`lissom run -n 1`, `llama-bench -p 16 -n 0 --no-warmup`). llama.cpp's programs are looked for in
LISSOM_LLAMA_CPP_BIN (default .setup/llama.cpp/bin), lissom in LISSOM_BIN. Each figure is the median of the rounds.
"""

import argparse
import json
import pathlib
import re
import statistics
import time

from llama_cpp_speed import LISSOM, LLAMA, output

PROMPT, GENERATE = 128, 64
TEXT = "one two three four five six seven eight nine ten eleven twelve thirteen"


def our_batch(path, sequences, threads):
    r = json.loads(output(LISSOM, "bench", path, "--threads", threads, "--prompt", PROMPT, "--generate", GENERATE,
                          "--sequences", sequences, "--repeats", 1, "--no-probe", "--json"))  # fmt: skip
    return r["generate_tokens_per_second"]


def their_batch(program, path, sequences, threads):
    text = output(program, "-m", path, "-c", sequences * (PROMPT + GENERATE) + 64, "-npp", PROMPT, "-ntg", GENERATE,
                  "-npl", sequences, "-t", threads, "-tb", threads)  # fmt: skip
    # | PP | TG | B | N_KV | T_PP s | S_PP t/s | T_TG s | S_TG t/s | …
    row = re.search(rf"^\|\s*{PROMPT} \|\s*{GENERATE} \|\s*{sequences} \|(.*)$", text, re.M)
    return float(row[1].split("|")[4])


def seconds(*command):
    begin = time.perf_counter()
    output(*command)
    return time.perf_counter() - begin


def table(title, names, rows, better):
    columns = [*names, "ratio"]
    print(f"| {' | '.join([*title, *columns])} |\n|{'---|' * (len(title) + len(columns))}")
    for head, samples, form in rows:
        mine, *others = (statistics.median(column) for column in zip(*samples, strict=True))
        best = better(others)
        ratio = mine / best if better is max else best / mine
        print(f"| {' | '.join([*head, *(form.format(v) for v in (mine, *others)), f'{ratio:.2f}'])} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=pathlib.Path)
    parser.add_argument("--sequences", default="8,32")
    parser.add_argument("--threads", default="2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batched", action="append", default=[], metavar="NAME=PATH", help="a further llama-batched-bench")
    parser.add_argument("--bench", action="append", default=[], metavar="NAME=PATH", help="a further llama-bench")
    args = parser.parse_args()
    batched = {"llama.cpp": LLAMA / "llama-batched-bench"} | dict(b.split("=", 1) for b in args.batched)
    single = {"llama.cpp": LLAMA / "llama-bench"} | dict(b.split("=", 1) for b in args.bench)

    rows = []
    for path in args.files:
        for n in filter(None, args.sequences.split(",")):
            samples = [(our_batch(path, int(n), args.threads),
                        *(their_batch(p, path, int(n), args.threads) for p in batched.values()))
                       for _ in range(args.rounds)]  # fmt: skip
            rows.append(((path.name, n), samples, "{:.0f}"))
    table(("file", "sequences, tokens/s"), ["lissom", *batched], rows, max)

    rows = []
    for path in args.files:
        samples = [(seconds(LISSOM, "run", path, "-p", TEXT, "-n", 1, "-t", args.threads, "-q"),
                    *(seconds(p, "-m", path, "-t", args.threads, "-p", 16, "-n", 0, "-r", 1, "--no-warmup")
                      for p in single.values()))
                   for _ in range(args.rounds + 1)]  # fmt: skip
        rows.append(((path.name,), samples[1:], "{:.2f} s"))  # the first brings the file into the cache
    print()
    table(("file, to the first token",), ["lissom", *single], rows, min)


if __name__ == "__main__":
    main()
