"""What llama.cpp's llama-perplexity prints, as numbers."""

import os
import pathlib
import re
import subprocess

NUMBER = r"(-?[0-9.]+)"
FIGURES = {
    "ppl": r"Mean PPL\(Q\)\s*:\s*",
    "ppl_base": r"Mean PPL\(base\)\s*:\s*",
    "ln_ppl_ratio": r"Mean ln\(PPL\(Q\)/PPL\(base\)\)\s*:\s*",
    "kld_mean": r"Mean\s+KLD:\s*",
    "kld_median": r"Median\s+KLD:\s*",
    "kld_p90": r"90\.0%\s+KLD:\s*",
    "kld_p99": r"99\.0%\s+KLD:\s*",
    "kld_max": r"Maximum KLD:\s*",
}


def run(program, *arguments):
    program = pathlib.Path(program)
    environment = dict(os.environ, LD_LIBRARY_PATH=f"{program.parent}:{os.environ.get('LD_LIBRARY_PATH', '')}")
    # --no-escape: the text is read as it is, backslashes too.
    command = [str(program), "--no-escape", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=environment)
    if done.returncode != 0:
        raise RuntimeError(f"{command}: exit {done.returncode}\n{done.stderr[-3000:]}")
    return done.stdout + done.stderr


def perplexity(program, model, text, ctx, chunks, threads=2, save=None):
    """{"ppl", "ppl_error"}; `save` keeps the logits for kl_divergence()."""
    keep = [] if save is None else ["--kl-divergence-base", save]
    printed = run(program, "-m", model, "-f", text, "-c", ctx, "--chunks", chunks, "-t", threads, *keep)
    found = re.search(rf"Final estimate: PPL = {NUMBER} \+/- {NUMBER}", printed)
    if found is None:
        raise RuntimeError(f"no perplexity in what {program} printed:\n{printed[-2000:]}")
    return {"ppl": float(found[1]), "ppl_error": float(found[2])}


def kl_divergence(program, model, text, ctx, saved, threads=2):
    """Every figure of FIGURES, and "same_top" as a share."""
    printed = run(program, "-m", model, "-f", text, "-c", ctx, "-t", threads, "--kl-divergence-base", saved,
                  "--kl-divergence")
    result = {}
    for name, pattern in FIGURES.items():
        found = re.search(pattern + NUMBER, printed)
        if found is None:
            raise RuntimeError(f"no {name} in what {program} printed:\n{printed[-3000:]}")
        result[name] = float(found[1])
    result["same_top"] = float(re.search(rf"Same top p:\s*{NUMBER}", printed)[1]) / 100
    return result
