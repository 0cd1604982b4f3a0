#!/usr/bin/env python3
"""Error and speed of every block codec beside ggml's quantizer, alternating in one run.

  .venv/bin/python bench/codec_vs_ggml.py [--types Q4_0,Q4_K] [--checkpoint model.safetensors] [--rounds 5]

Error is the importance-weighted squared error, summed over each tensor; the table shows ours / ggml's. CPU is user time
in nanoseconds a weight, on one thread, best of the rounds. ggml's library is found in the package llama_cpp, or in the
folder that LLAMA_CPP_LIB_PATH names.
"""

import argparse
import ctypes
import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

ROOT = pathlib.Path(__file__).resolve().parents[1]
TOOL = pathlib.Path(os.environ.get("LISSOM_BIN", ROOT / "build/release/lissom")).parent / "tools/codec_tool"
TYPES = (
    "Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS IQ3_S IQ3_XXS IQ2_S IQ2_XS IQ2_XXS IQ1_M IQ1_S TQ2_0 "
    "TQ1_0 MXFP4 NVFP4"
).split()
# ggml's quantizers of these stop the process without importance.
NEED_IMPORTANCE = {"IQ2_XXS", "IQ2_XS", "IQ1_S"}


def load_ggml():
    """ggml's base library, or None where there is none."""
    folder = os.environ.get("LLAMA_CPP_LIB_PATH")
    if not folder:
        package = importlib.util.find_spec("llama_cpp")
        folder = pathlib.Path(package.origin).parent / "lib" if package else None
    path = next(iter(pathlib.Path(folder).glob("libggml-base.so*")), None) if folder else None
    if path is None:
        return None
    library = ctypes.CDLL(str(path))
    library.ggml_quantize_chunk.restype = ctypes.c_size_t
    library.ggml_quantize_chunk.argtypes = [
        ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p,
    ]  # fmt: skip
    return library


def ggml_encode(ggml, name, weights, importance):
    """(bytes, user-CPU seconds)"""
    kind = GGMLQuantizationType[name]
    block, size = GGML_QUANT_SIZES[kind]
    out = np.empty((weights.shape[0], weights.shape[1] // block * size), np.uint8)
    weights = np.ascontiguousarray(weights, np.float32)
    pointer = None if importance is None else importance.ctypes.data
    start = time.process_time()
    ggml.ggml_quantize_chunk(kind, weights.ctypes.data, out.ctypes.data, 0, *weights.shape, pointer)
    return out, time.process_time() - start


class Ours:
    """Our codecs, through tests/tools/codec_tool."""

    def __init__(self, tool=TOOL, environment=None):
        self.tool = tool
        self.environment = environment
        self.folder = tempfile.TemporaryDirectory()
        self.at = pathlib.Path(self.folder.name)

    def call(self, *command):
        done = subprocess.run([str(c) for c in (self.tool, *command)], capture_output=True, text=True,
                              env=self.environment)  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def encode(self, name, weights, importance):
        """(bytes, user-CPU seconds)"""
        np.ascontiguousarray(weights, np.float32).tofile(self.at / "w")
        if importance is not None:
            importance.astype(np.float32).tofile(self.at / "v")
        seconds = self.call("encode", name, weights.shape[1], self.at / "w",
                            "-" if importance is None else self.at / "v", self.at / "q")  # fmt: skip
        return np.fromfile(self.at / "q", np.uint8), float(seconds)

    def decode(self, name, data, shape):
        data.tofile(self.at / "q")
        self.call("decode", name, shape[1], self.at / "q", self.at / "out")
        return np.fromfile(self.at / "out", np.float32).reshape(shape)


def weighted_error(weights, decoded, importance):
    squared = (weights.astype(np.float64) - decoded) ** 2
    return float((squared * importance).sum() if importance is not None else squared.sum())


def random_tensors(rows=128, cols=1536, seed=3):
    random = np.random.default_rng(seed)
    shape = (rows, cols)
    tensors = {
        "gaussian": random.normal(0, 0.02, shape),
        "student-3": random.standard_t(3, shape) * 0.02,
        "laplace": random.laplace(0, 0.02, shape),
        "uniform": random.uniform(-0.05, 0.05, shape),
        "outliers": random.normal(0, 0.02, shape) * np.where(random.random(shape) < 0.01, 15, 1),
        "shifted": random.normal(0.03, 0.02, shape),
    }
    return {name: w.astype(np.float32) for name, w in tensors.items()}


def random_importance(cols, seed=5):
    """Mean squares of activations: log-normal, with a few columns far above the others."""
    random = np.random.default_rng(seed)
    v = np.exp(random.normal(0, 1.2, cols))
    v[random.random(cols) < 0.01] *= 100
    return v.astype(np.float32)


def real_tensors(path, limit=6):
    """A few matrices of a checkpoint, of different kinds."""
    from safetensors import safe_open

    picked = {}
    with safe_open(path, "np") as file:
        for name in file.keys():
            shape = file.get_slice(name).get_shape()
            kind = name.rsplit(".", 2)[-2]
            if len(shape) == 2 and shape[1] % 32 == 0 and shape[0] >= 64 and kind not in picked:
                picked[kind] = file.get_tensor(name)[:256].astype(np.float32)
    return dict(list(picked.items())[:limit])


def gguf_tensors(path, limit=6):
    """The same of a GGUF file."""
    import gguf

    picked = {}
    for tensor in gguf.GGUFReader(path).tensors:
        kind = tensor.name.split(".")[-2]
        if len(tensor.shape) == 2 and tensor.shape[1] >= 64 and kind not in picked:
            rows = gguf.quants.dequantize(tensor.data[:256], tensor.tensor_type)
            picked[kind] = np.ascontiguousarray(rows, np.float32)
    return dict(list(picked.items())[:limit])


def compare(ggml, ours, name, tensors, rounds):
    """Rows of (tensor, importance?, our error, ggml's error, our CPU ns a weight, ggml's)."""
    block, _ = GGML_QUANT_SIZES[GGMLQuantizationType[name]]
    ggml_encode(ggml, name, np.ones((1, block), np.float32), np.ones(block, np.float32))  # it builds its tables once
    for label, weights in tensors.items():
        if weights.shape[1] % block:
            continue
        for importance in (None, random_importance(weights.shape[1])):
            if importance is None and name in NEED_IMPORTANCE:
                continue
            our_time, their_time = [], []
            for _ in range(rounds):
                mine, seconds = ours.encode(name, weights, importance)
                our_time.append(seconds)
                theirs, seconds = ggml_encode(ggml, name, weights, importance)
                their_time.append(seconds)
            errors = [weighted_error(weights, ours.decode(name, data, weights.shape), importance)
                      for data in (mine, theirs)]  # fmt: skip
            yield (label, importance is not None, *errors, min(our_time) * 1e9 / weights.size,
                   min(their_time) * 1e9 / weights.size)  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--types", default=",".join(TYPES))
    parser.add_argument("--checkpoint", action="append", default=[], help="a safetensors or GGUF file with real weights")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--verbose", action="store_true", help="a line for each tensor")
    arguments = parser.parse_args()
    ggml = load_ggml()
    if ggml is None:
        sys.exit("no libggml-base.so: install llama-cpp-python or set LLAMA_CPP_LIB_PATH")
    tensors = random_tensors()
    for path in arguments.checkpoint:
        read = gguf_tensors if path.endswith(".gguf") else real_tensors
        tensors |= {f"{pathlib.Path(path).name}/{k}": w for k, w in read(path).items()}
    ours = Ours()
    print("| type | importance | error ours / ggml (worst tensor) | CPU ns/weight, ours | ggml | ratio |")
    print("|---|---|---|---|---|---|")
    for name in arguments.types.split(","):
        rows = list(compare(ggml, ours, name, tensors, arguments.rounds))
        for weighted in (False, True):
            part = [r for r in rows if r[1] == weighted]
            if not part:
                continue
            if arguments.verbose:
                for label, _, mine, theirs, our_ns, their_ns in part:
                    print(f"  {name} {label:40} {mine:.4e} {theirs:.4e} {mine / max(theirs, 1e-300):.4f} "
                          f"{our_ns:.2f} {their_ns:.2f}")  # fmt: skip
            ratios = [(m + 1e-30) / (t + 1e-30) for _, _, m, t, _, _ in part]
            our_ns, their_ns = (float(np.mean([r[i] for r in part])) for i in (4, 5))
            mean = float(np.exp(np.mean(np.log(ratios))))
            print(f"| {name} | {'yes' if weighted else 'no'} | {mean:.3f} ({max(ratios):.3f}) | {our_ns:.2f} | "
                  f"{their_ns:.2f} | {our_ns / their_ns:.2f} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
