#!/usr/bin/env python3
"""Runs clang-tidy over the compile units of src and apps, each once, slowest first; prints progress, findings and time.
Unit tests are spared the path-sensitive analysis: the sanitizers run them.

usage: lint.py BUILD_DIR [PART/PARTS]      BUILD_DIR holds a compile_commands.json made for clang
PART/PARTS (1/4) takes every fourth unit: for machines that stop long commands.
"""
import concurrent.futures
import json
import os
import subprocess
import sys
import time
from pathlib import Path

# The path-sensitive analysis gives up a function after 50,000 states instead of clang's 225,000: half of the whole
# time, and what lies deeper the sanitizers run.
STATES = [f"-extra-arg={word}" for word in ("-Xclang", "-analyzer-config", "-Xclang", "max-nodes=50000")]
ROOT = Path(__file__).resolve().parent.parent


def units(build):
    database = json.loads((build / "compile_commands.json").read_text())
    files = {Path(entry["directory"], entry["file"]).resolve() for entry in database}
    wanted = [f for f in files if f.is_relative_to(ROOT / "src") or f.is_relative_to(ROOT / "apps")]
    return sorted(wanted, key=lambda f: (not f.is_relative_to(ROOT / "apps"), -f.stat().st_size, f))


def lint(build, unit):
    started = time.monotonic()
    command = ["clang-tidy-14", "-quiet", "-p", str(build), *STATES, str(unit)]
    if unit.name.endswith("_test.cpp"):
        command.append("--checks=-clang-analyzer-*")
    done = subprocess.run(command, capture_output=True, text=True)
    findings = done.stdout.strip()
    if done.returncode != 0 and not findings:  # clang-tidy itself failed: its first words say where
        findings = "\n".join(done.stderr.strip().splitlines()[:12])
    return unit.relative_to(ROOT), done.returncode, findings, time.monotonic() - started


def main():
    build = Path(sys.argv[1]).resolve()
    todo = units(build)
    if len(sys.argv) > 2:
        part, parts = map(int, sys.argv[2].split("/"))
        todo = todo[part - 1 :: parts]
    if not todo:
        sys.exit(f"lint: no compile units of src or apps in {build}")
    started, failed = time.monotonic(), []
    with concurrent.futures.ThreadPoolExecutor(int(os.environ.get("JOBS", os.cpu_count()))) as pool:
        for number, done in enumerate(concurrent.futures.as_completed([pool.submit(lint, build, u) for u in todo]), 1):
            unit, code, findings, seconds = done.result()
            print(f"lint [{number}/{len(todo)}] {unit} {seconds:.1f} s", flush=True)
            if code != 0 or findings:
                failed.append((unit, findings))
                print(findings, flush=True)
    for unit, findings in failed:  # again, where the end of a long log shows them
        print(f"\n{unit}\n{findings}")
    print(f"lint: {len(todo)} units, {len(failed)} with findings, {time.monotonic() - started:.0f} s", flush=True)
    sys.exit(1 if failed else 0)


main()
