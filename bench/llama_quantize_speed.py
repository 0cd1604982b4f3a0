"""Time of a whole compression, lissom against llama-quantize: the same source, types, statistics and threads, the two
alternating in one run. Prints a markdown table of medians.

usage: llama_quantize_speed.py LISSOM LLAMA_QUANTIZE SOURCE.gguf [--imatrix FILE] [--types Q4_0,Q4_K_M] [--runs 3]
SOURCE should be F32 or F16: a quantized one measures decoding too.
"""

import argparse
import os
import pathlib
import resource
import statistics
import subprocess
import tempfile
import time


def timed(command, environment):
    """(wall seconds, user seconds) of a command."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    begin = time.perf_counter()
    subprocess.run([str(c) for c in command], check=True, capture_output=True, env=environment)
    wall = time.perf_counter() - begin
    return wall, resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lissom")
    parser.add_argument("llama_quantize", type=pathlib.Path)
    parser.add_argument("source")
    parser.add_argument("--imatrix")
    parser.add_argument("--types", default="Q8_0,Q4_0,Q5_0,IQ4_NL,Q4_K_M,Q3_K_M,Q6_K,Q2_K")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    a = parser.parse_args()
    peer_environment = {**os.environ, "LD_LIBRARY_PATH": str(a.llama_quantize.parent)}
    print("| type | lissom, s | llama-quantize, s | ratio | user s, lissom | user s, llama-quantize |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / "out.gguf"
        for kind in a.types.split(","):
            ours_command = [a.lissom, "compress", a.source, "-o", out, "--scheme", kind, "--no-verify", "--threads", a.threads]
            ours_command += ["--imatrix", a.imatrix] if a.imatrix else ["--calib", "none"]
            peer_command = [a.llama_quantize, "--allow-requantize"]
            peer_command += ["--imatrix", a.imatrix] if a.imatrix else []
            peer_command += [a.source, out, kind, a.threads]
            ours, peer = [], []
            for _ in range(a.runs):
                ours.append(timed(ours_command, None))
                peer.append(timed(peer_command, peer_environment))
            (w, u), (pw, pu) = ([statistics.median(column) for column in zip(*runs)] for runs in (ours, peer))
            print(f"| {kind} | {w:.2f} | {pw:.2f} | {pw / w:.2f}× | {u:.2f} | {pu:.2f} |", flush=True)


if __name__ == "__main__":
    main()
