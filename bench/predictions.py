"""What `lissom check` foretells against what happens: for each model and scheme, time and peak memory of compress,
evaluate and run. Prints a markdown table; the machine must be quiet.

usage: predictions.py LISSOM MODEL... [--scheme Q4_K_M] [--calib FILE|none] [--text FILE --chunks 12] [--no-verify]
With --text the evaluation is measured too; memory and speed of generation always are. Files go to a folder made beside
the current one, and are removed.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time


def measured(command, stdout=None):
    """(seconds, peak resident bytes) of a command, by the kernel's count."""
    begin = time.perf_counter()
    # A process between: a child's count begins with its parent's memory.
    probe = (
        "import os, sys; pid = os.spawnvp(os.P_NOWAIT, sys.argv[1], sys.argv[1:]); _, status, usage = os.wait4(pid, 0);"
        "print(usage.ru_maxrss * 1024, file=sys.stderr); sys.exit(os.waitstatus_to_exitcode(status))"
    )
    words = [sys.executable, "-c", probe, *map(str, command)]
    done = subprocess.run(words, stdout=stdout or subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    if done.returncode not in (0, 1):
        sys.exit(f"{command}: {done.stderr}")
    return time.perf_counter() - begin, int(done.stderr.split()[-1])


def row(model, what, foretold, happened, unit):
    print(f"| {model} | {what} | {foretold:.4g} {unit} | {happened:.4g} {unit} | {foretold / happened:.2f} |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lissom")
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    parser.add_argument("--scheme", default="Q4_K_M")
    parser.add_argument("--calib")
    parser.add_argument("--text")
    parser.add_argument("--chunks", type=int, default=12)
    parser.add_argument("--no-verify", action="store_true")
    a = parser.parse_args()
    print("| model | what | foretold | happened | ratio |\n|---|---|---|---|---|")
    more = ["--calib", a.calib] if a.calib else []
    more += ["--no-verify"] if a.no_verify else []
    for model in a.models:
        with tempfile.TemporaryDirectory(dir=".") as folder:
            out, name = pathlib.Path(folder) / "out.gguf", f"{model.stem} {a.scheme}"
            command = [a.lissom, "check", model, "--scheme", a.scheme, "--json", "-q", *more]
            foretold = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["schemes"][0]
            seconds, peak = measured([a.lissom, "compress", model, "-o", out, "--scheme", a.scheme, "-q", *more])
            row(name, "compress, time", foretold["compress_seconds"], seconds, "s")
            row(name, "compress, memory", foretold["compress_memory_bytes"] / 1e6, peak / 1e6, "MB")
            _, peak = measured([a.lissom, "run", out, "-p", "a " * 4000, "-n", 16, "--ctx", 4096, "--ignore-eos", "-q"])
            row(name, "run at 4096, memory", foretold["run_memory_bytes"] / 1e6, peak / 1e6, "MB")
            speed = json.loads(subprocess.run([a.lissom, "bench", out, "--no-probe", "--json", "-q"], capture_output=True, check=True).stdout)
            row(name, "generation", foretold["generate_tokens_per_second"], speed["generate_tokens_per_second"], "t/s")
            row(name, "prompt", foretold["prompt_tokens_per_second"], speed["prompt_tokens_per_second"], "t/s")
            if a.text:
                command = [a.lissom, "eval", out, "--against", model, "--text", a.text, "--chunks", a.chunks, "-q"]
                seconds, peak = measured(command)
                row(name, "evaluate, memory", foretold["evaluate_memory_bytes"] / 1e6, peak / 1e6, "MB")
                if foretold["stages"]["evaluate"] > 0:
                    row(name, "evaluate, time", foretold["stages"]["evaluate"], seconds, "s")


if __name__ == "__main__":
    main()
