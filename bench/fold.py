#!/usr/bin/env python3
"""What transforms that fold into the weights gain at the same types and size, by lissom's own evaluation on a text that
neither saw. A markdown table.

usage: fold.py MODEL-FOLDER CALIB.txt EVAL.txt [--types Q4_0,IQ4_NL,Q5_0] [--down Q3_K,Q2_K] [--folds awq,heads,awq+heads]
           [--chunks 8] [--work FOLDER] [-- MORE OF COMPRESS]

--types: the whole model. --down: ffn_down of that type, the rest Q8_0. --folds: with commas between, + within. lissom is
looked for in LISSOM_BIN. What lies in the work folder already is taken over.
"""

import argparse
import json
import pathlib
import time

from kld_vs_llama_quantize import LISSOM, output, write_scheme


def result(a, kind, down, fold):
    """(mean KL, its error, seconds without the evaluation's, bytes)"""
    stem = f"{'down-' if down else ''}{kind}-{fold or 'plain'}"
    out, scheme, record = (a.work / f"{stem}{end}" for end in (".gguf", ".yaml", ".json"))
    if not record.exists():
        write_scheme(scheme, kind, down)
        begin = time.perf_counter()
        said = output(LISSOM, "compress", a.model, "-o", out, "--scheme", scheme, "--calib", a.calib, "--eval-text", a.eval,
                      "--eval-chunks", a.chunks, "--effort", "fast", "--json", "-q",
                      *(["--fold", fold.replace("+", ",")] if fold else []), *a.more)  # fmt: skip
        found = json.JSONDecoder().raw_decode(said, said.index("{"))[0]["results"][0]
        found["wall"] = time.perf_counter() - begin
        record.write_text(json.dumps(found))
        out.unlink()
    found = json.loads(record.read_text())
    return found["eval"]["kld_mean"], found["eval"]["kld_mean_error"], found["wall"], found["file_bytes"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("calib")
    parser.add_argument("eval")
    parser.add_argument("--types", default="Q4_0,IQ4_NL,Q5_0")
    parser.add_argument("--down", default="Q3_K,Q2_K")
    parser.add_argument("--folds", default="awq,heads,awq+heads")
    parser.add_argument("--chunks", type=int, default=8)
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("fold-work"))
    parser.add_argument("more", nargs="*")
    a = parser.parse_args()
    a.work.mkdir(parents=True, exist_ok=True)
    folds = a.folds.split(",")
    print("| type | plain | " + " | ".join(f"{fold} | ratio" for fold in folds) + " |")
    print("|---" * (2 + 2 * len(folds)) + "|")
    for down, kinds in ((False, a.types), (True, a.down)):
        for kind in filter(None, kinds.split(",")):
            plain, error, _, size = result(a, kind, down, "")
            cells = [f"{'ffn_down ' if down else ''}{kind}, {size / 1e6:.1f} MB", f"{plain:.4f} ± {error:.4f}"]
            for fold in folds:
                kld, error, _, _ = result(a, kind, down, fold)
                cells += [f"{kld:.4f} ± {error:.4f}", f"{kld / plain:.2f}"]
            print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
