"""What an engine's own arithmetic costs: how far its logits are from exact ones of the same file.

Exact means: weights decoded to F32, F32 products, sums in double. KL(exact‖engine) in nats over the second half of each
window, for lissom's fast kernels and for llama.cpp (through its Python package). Prints a Markdown table.

    python bench/engine_error.py --text wiki.valid.raw Q8_0.gguf Q4_0.gguf Q4_K_M.gguf
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[1]


def windows(tool, model, text, ctx, chunks, threads, mode, vocab, folder):
    """Yields (input tokens, logits) of each window."""
    out = pathlib.Path(folder) / mode
    subprocess.run([str(x) for x in (tool, model, text, ctx, chunks, threads, mode, out)], check=True)
    rows = ctx - 1 - ctx // 2
    with out.open("rb") as file:
        while tokens := file.read(4 * ctx):
            logits = np.frombuffer(file.read(4 * rows * vocab), np.float32).reshape(rows, vocab)
            yield np.frombuffer(tokens, np.int32), logits


def log_softmax(x):
    x = x.astype(np.float64)
    x -= x.max(axis=1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=1, keepdims=True))


def divergence(exact, engine):
    """(KL per row, rows with the same top token), in blocks to bound memory."""
    klds, same = [], 0
    for first in range(0, len(exact), 32):
        p, q = log_softmax(exact[first:first + 32]), log_softmax(engine[first:first + 32])
        klds.append((np.exp(p) * (p - q)).sum(axis=1))
        same += int((p.argmax(axis=1) == q.argmax(axis=1)).sum())
    return np.concatenate(klds), same


def error(values):
    """Standard error of the mean."""
    return values.std(ddof=1) / len(values) ** 0.5


class Llama:
    """llama.cpp's logits of the scored half of a window."""

    def __init__(self, model, ctx, threads):
        import llama_cpp

        self.engine = llama_cpp.Llama(str(model), n_ctx=ctx, n_batch=ctx, n_ubatch=ctx, n_threads=threads,
                                      n_threads_batch=threads, logits_all=True, verbose=False)
        self.ctx = ctx

    def __call__(self, tokens):
        self.engine.reset()
        self.engine.eval(tokens.tolist())
        return np.array(self.engine.scores[self.ctx // 2:self.ctx - 1], np.float32)

    @property
    def vocab(self):
        return self.engine.n_vocab()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="GGUF files")
    parser.add_argument("--text", required=True)
    parser.add_argument("--tool", default=ROOT / "build/release/tools/window_logits")
    parser.add_argument("--ctx", type=int, default=512)
    parser.add_argument("--chunks", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    a = parser.parse_args()
    print("| file | engine | KL from exact, mean | median | p99 | same top |")
    print("|---|---|---:|---:|---:|---:|")
    larger = []
    for model in a.models:
        name = pathlib.Path(model).stem
        llama = Llama(model, a.ctx, a.threads)
        with tempfile.TemporaryDirectory() as folder:
            common = (a.tool, model, a.text, a.ctx, a.chunks, a.threads)
            found = {"lissom": ([], []), "llama.cpp": ([], [])}
            pairs = zip(windows(*common, "exact", llama.vocab, folder), windows(*common, "fast", llama.vocab, folder))
            for (tokens, exact), (_, fast) in pairs:
                for engine, logits in (("lissom", fast), ("llama.cpp", llama(tokens))):
                    klds, same = divergence(exact, logits)
                    found[engine][0].append(klds)
                    found[engine][1].append(same)
        scores = {engine: np.concatenate(klds) for engine, (klds, _) in found.items()}
        for engine, klds in scores.items():
            print(f"| {name} | {engine} | {klds.mean():.3e} ± {error(klds):.1e} | {np.median(klds):.3e} | "
                  f"{np.quantile(klds, 0.99):.3e} | {100 * sum(found[engine][1]) / len(klds):.2f}% |", flush=True)
        # The same positions, so the difference is paired; noise of one or two errors is no verdict.
        difference = scores["lissom"] - scores["llama.cpp"]
        if difference.mean() > 2 * error(difference):
            larger.append(f"{name} by {difference.mean():.1e} ± {error(difference):.1e}")
    if larger:
        print("\nLarger than llama.cpp's: " + ", ".join(larger))
    return 1 if larger else 0


if __name__ == "__main__":
    sys.exit(main())
