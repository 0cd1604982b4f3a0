#!/usr/bin/env python3
"""Compares how many instructions each hot kernel takes with the table that is committed: a regression shows on a busy
machine too. Fails where one takes 2 % more, or 2 % less (then the table is to be brought up to date, so that a later
regression shows).

usage: instruction_counts.py PROGRAM TABLE [--update]
PROGRAM: build/release/tools/instruction_counts; TABLE: bench/instruction_counts.json
"""
import json
import subprocess
import sys
from pathlib import Path

TOLERANCE = 0.02
UPDATE = "make instruction-counts UPDATE=1"


def counted(program):
    """The compiler, and {target: {kernel and shape: instructions}} of this machine."""
    done = subprocess.run([program], stdout=subprocess.PIPE, text=True)
    if done.returncode == 3:  # it has said so itself
        print("instruction counts: NOT CHECKED on this system")
        sys.exit(0)
    if done.returncode != 0:
        sys.exit(f"{program} failed with {done.returncode}")
    compiler, *lines = done.stdout.splitlines()
    counts = {}
    for line in lines:
        target, kernel, shape, count = line.split()
        counts.setdefault(target, {})[f"{kernel} {shape}"] = int(count)
    return compiler, counts


def differences(table, counts):
    """One line for each kernel that is not as the table has it."""
    found = []
    for target, here in counts.items():
        there = table["counts"].get(target)
        if there is None:
            print(f"{target}: not in the table, not compared")
            continue
        for kernel in sorted(there.keys() | here.keys()):
            if kernel not in here:
                found.append(f"{target} {kernel}: in the table, but no longer counted")
            elif kernel not in there:
                found.append(f"{target} {kernel}: {here[kernel]} instructions, not in the table")
            elif abs(here[kernel] - there[kernel]) > TOLERANCE * there[kernel]:
                change = 100 * (here[kernel] / there[kernel] - 1)
                found.append(f"{target} {kernel}: {here[kernel]} instructions, were {there[kernel]} ({change:+.1f} %)")
    return found


def main():
    program, path = sys.argv[1], Path(sys.argv[2])
    compiler, counts = counted(program)
    table = json.loads(path.read_text()) if path.exists() else {"compiler": compiler, "counts": {}}
    if "--update" in sys.argv[3:]:
        same = table["compiler"] == compiler  # targets of other machines stay, if they are of the same compiler
        table = {"compiler": compiler, "counts": {**(table["counts"] if same else {}), **counts}}
        path.write_text(json.dumps(table, indent=1, sort_keys=True) + "\n")
        print(f"{path}: {sum(map(len, counts.values()))} counts of {', '.join(counts)}")
        return
    if table["compiler"] != compiler:
        sys.exit(f"{path} is of {table['compiler']}, this build of {compiler}, whose counts are others: {UPDATE}")
    for target in table["counts"].keys() - counts.keys():
        print(f"{target}: not on this machine, not compared")
    found = differences(table, counts)
    if found:
        print("\n".join(found))
        sys.exit(f"{len(found)} instruction counts differ from {path} by more than {TOLERANCE:.0%}. A kernel has become "
                 f"slower, or, where the change is meant, write the new counts and commit them: {UPDATE}")
    print(f"instruction counts: {sum(map(len, counts.values()))} of {', '.join(counts)} within {TOLERANCE:.0%}")


main()
