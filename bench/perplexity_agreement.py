"""Does `lissom eval` give llama-perplexity's numbers? Both read the same files; prints a Markdown table.

    python bench/perplexity_agreement.py --llama DIR --base base.gguf --text wiki.valid.raw Q8_0.gguf Q4_0.gguf
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import llama_perplexity

ROOT = pathlib.Path(__file__).resolve().parents[1]


def ours(program, model, base, text, ctx, chunks, threads):
    command = [program, "eval", model, "--against", base, "--text", text, "--ctx", ctx, "--chunks", chunks, "--threads",
               threads, "--json", "--quiet"]
    return json.loads(subprocess.run([str(c) for c in command], check=True, capture_output=True).stdout)


def change(ours_value, theirs):
    return f"{100 * (ours_value / theirs - 1):+.3f}%" if theirs else "–"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="GGUF files")
    parser.add_argument("--base", required=True, help="GGUF that the KL divergence is measured from")
    parser.add_argument("--text", required=True)
    parser.add_argument("--llama", required=True, help="folder of llama-perplexity")
    parser.add_argument("--lissom", default=ROOT / "build/release/lissom")
    parser.add_argument("--ctx", type=int, default=512)
    parser.add_argument("--chunks", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    a = parser.parse_args()
    program = pathlib.Path(a.llama) / "llama-perplexity"
    print(f"{pathlib.Path(a.text).name}, windows of {a.ctx} tokens, {a.chunks} of them, base {pathlib.Path(a.base).name}.\n")
    print("| model | figure | lissom | llama.cpp | difference |")
    print("|---|---|---:|---:|---:|")
    worst = 0.0
    with tempfile.TemporaryDirectory() as folder:
        saved = pathlib.Path(folder) / "logits"
        llama_perplexity.perplexity(program, a.base, a.text, a.ctx, a.chunks, a.threads, save=saved)
        for model in a.models:
            alone = llama_perplexity.perplexity(program, model, a.text, a.ctx, a.chunks, a.threads)
            theirs = llama_perplexity.kl_divergence(program, model, a.text, a.ctx, saved, a.threads)
            mine = ours(a.lissom, model, a.base, a.text, a.ctx, a.chunks, a.threads)
            theirs["ppl"] = alone["ppl"]
            worst = max(worst, abs(mine["ppl"] / theirs["ppl"] - 1))
            for figure in ["ppl", "ppl_base", "ln_ppl_ratio", "kld_mean", "kld_median", "kld_p90", "kld_p99", "kld_max",
                           "same_top"]:
                print(f"| {pathlib.Path(model).stem} | {figure} | {mine[figure]:.6g} | {theirs[figure]:.6g} | "
                      f"{change(mine[figure], theirs[figure])} |", flush=True)
    print(f"\nLargest difference of a perplexity: {100 * worst:.3f}%.")
    return 0 if worst < 0.005 else 1


if __name__ == "__main__":
    sys.exit(main())
