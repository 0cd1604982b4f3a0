#!/usr/bin/env python3
"""Quality beside Python's tools, calibrated on the same text: KL divergence by llama.cpp's own
`llama-perplexity --kl-divergence` on a text that neither saw. A markdown table.

usage: kld_vs_python_tools.py MODEL-FOLDER CALIB.txt EVAL.txt [--tool llm-compressor|auto-round]
           [--cases w4g64:lissom_4_v1,w3g64:lissom_3_v1,...] [--samples 128] [--iters 200] [--batch 4] [--chunks 20]
           [--threads 2] [--work FOLDER]

Needs `pip install llmcompressor` (its GPTQ, with its default order by activation) or `auto-round` (its tuned rounding,
--iters steps of --batch windows for each block). A case is wBITSgGROUP:CODEC: the tool's symmetric integers of so many bits,
a 16-bit scale for each group, of the blocks' matrices (it leaves embeddings and head as they are), against a lissom codec of
the same matrices, fed back. Both read the same first --samples windows. Both are decoded into F16 GGUF for the judge, so that
weights alone differ. llama.cpp's programs are looked for in LISSOM_LLAMA_CPP_BIN, lissom in LISSOM_BIN. What lies in the work
folder already is taken over.
"""

import argparse
import pathlib
import re
import time

from kld_vs_llama_quantize import LISSOM, ROOT, Bench, output

LENGTH = 512  # tokens of a window, for both
CASES = "w4g64:lissom_4_v1,w4g64:int4_opt_llama_v1,w3g64:lissom_3_v1,w2g64:lissom_2_v1"


def auto_round(model, tokenizer, windows, bits, group, a, out):
    from auto_round import AutoRound

    scheme = {"bits": bits, "group_size": group, "sym": True, "data_type": "int"}
    rounder = AutoRound(model, tokenizer=tokenizer, scheme=scheme, dataset=windows, iters=a.iters, seqlen=LENGTH,
                        nsamples=len(windows), batch_size=a.batch, device_map="cpu", enable_torch_compile=False,
                        enable_alg_ext=True)  # fmt: skip
    rounder.quantize_and_save(str(out), format="fake")


def llm_compressor(model, windows, bits, group):
    """Leaves the rounded values in the model's weights."""
    import torch
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from llmcompressor import oneshot
    from llmcompressor.modifiers.quantization import GPTQModifier

    weights = QuantizationArgs(num_bits=bits, type="int", symmetric=True, strategy="group", group_size=group)
    scheme = QuantizationScheme(targets=["Linear"], weights=weights)
    data = torch.utils.data.DataLoader([{"input_ids": w, "attention_mask": torch.ones_like(w)} for w in windows], batch_size=None)
    oneshot(model=model, dataset=data, recipe=GPTQModifier(config_groups={"group_0": scheme}, ignore=["lm_head"]),
            max_seq_length=LENGTH, num_calibration_samples=len(windows))  # fmt: skip


class Table:
    def __init__(self, a):
        self.a, self.work = a, a.work
        self.bench = Bench(a)

    def judge(self, decoded):
        """Mean KL and its error, of a model whose weights are as the codec leaves them."""
        gguf = self.work / "judged.gguf"
        output(LISSOM, "convert", decoded, gguf, "--type", "F16")
        kld, error, _ = self.bench.judge(gguf)
        gguf.unlink()
        return f"{kld:.4f} ± {error:.4f}"

    def theirs(self, bits, group):
        """A folder of the weights that the tool leaves, and the seconds that it took."""
        out, took = self.work / f"{self.a.tool}-w{bits}g{group}", ""
        if not out.exists():
            took = f"{self.run_tool(bits, group, out):.0f} s"
        return next(out.rglob("config.json")).parent, took  # auto-round adds a folder of its own

    def run_tool(self, bits, group, out):
        from transformers import AutoModelForCausalLM, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(self.a.model)
        model = AutoModelForCausalLM.from_pretrained(self.a.model, dtype="float32")
        ids = tokenizer(pathlib.Path(self.a.calib).read_text(), return_tensors="pt", add_special_tokens=False).input_ids[0]
        windows = [ids[i : i + LENGTH].unsqueeze(0) for i in range(0, len(ids) - LENGTH, LENGTH)][: self.a.samples]
        begin = time.perf_counter()
        if self.a.tool == "auto-round":
            auto_round(model, tokenizer, windows, bits, group, self.a, out)
        else:
            llm_compressor(model, windows, bits, group)
        seconds = time.perf_counter() - begin
        if self.a.tool == "llm-compressor":
            whole = AutoModelForCausalLM.from_pretrained(self.a.model, dtype="float32")
            rounded = model.state_dict()
            whole.load_state_dict({name: rounded[name] for name in whole.state_dict()})
            whole.save_pretrained(out)
            tokenizer.save_pretrained(out)
        return seconds

    def ours(self, codec):
        out, scheme = self.work / f"{codec}.safetensors", self.work / f"{codec}.yaml"
        begin, took = time.perf_counter(), ""
        if not out.exists():
            scheme.write_text(f"name: {codec}\ndefault: F16\ntensors:\n  - {{match: '^blk', codec: '{codec}'}}\n")
            output(LISSOM, "compress", self.a.model, "-o", out, "--format", "pack", "--scheme", scheme, "--calib", self.a.calib,
                   "--calib-chunks", self.a.samples, "--algorithm", "error-feedback", "--no-verify", "--threads", self.a.threads)  # fmt: skip
            took = f"{time.perf_counter() - begin:.0f} s"
        return out, took

    def row(self, case):
        kind, codec = case.split(":", 1)
        bits, group = map(int, re.fullmatch(r"w(\d+)g(\d+)", kind).groups())
        theirs, their_time = self.theirs(bits, group)
        mine, my_time = self.ours(codec)
        print(f"| {kind}, {bits + 16 / group:.2f} bits | {self.judge(theirs)} | {their_time} | {codec} | {self.judge(mine)} | "
              f"{my_time} |", flush=True)  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("calib")
    parser.add_argument("eval")
    parser.add_argument("--tool", default="llm-compressor", choices=["llm-compressor", "auto-round"])
    parser.add_argument("--cases", default=CASES)
    parser.add_argument("--iters", type=int, default=200)
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--chunks", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "build/python_tools")
    a = parser.parse_args()
    table = Table(a)
    print(f"| {a.tool} | mean KL | time | lissom | mean KL | time |\n|---|---|---|---|---|---|", flush=True)
    for case in a.cases.split(","):
        table.row(case)


if __name__ == "__main__":
    main()
