#!/usr/bin/env python3
"""Quality beside Python's tools, calibrated on the same text: KL divergence by llama.cpp's own
`llama-perplexity --kl-divergence` on a text that neither saw. A markdown table.

usage: kld_vs_python_tools.py MODEL-FOLDER CALIB.txt EVAL.txt [--tool llm-compressor|auto-round]
           [--cases w4g64:lissom_4_v1,w3g64:lissom_3_v1,Q4_0,...] [--samples 128] [--iters 200] [--batch 4] [--chunks 20]
           [--effort default] [--threads 2] [--work FOLDER]

Needs `pip install llmcompressor` (its GPTQ, with its default order by activation) or `auto-round` (its tuned rounding,
--iters steps of --batch windows for each block). A case is wBITSgGROUP:CODEC: the tool's symmetric integers of so many bits,
a 16-bit scale for each group, of the blocks' matrices (it leaves embeddings and head as they are), against a lissom codec of
the same matrices, fed back. Both read the same first --samples windows. Both are decoded into F16 GGUF for the judge, so that
weights alone differ. A case that is a GGUF type is auto-round's GGUF export of that type beside lissom's file of the same types,
tensor by tensor, both judged as they are. llama.cpp's programs are looked for in LISSOM_LLAMA_CPP_BIN, lissom in LISSOM_BIN.
What lies in the work folder already is taken over.
"""

import argparse
import pathlib
import re
import sys
import time

from kld_vs_llama_quantize import LISSOM, ROOT, Bench, output

LENGTH = 512  # tokens of a window, for both
CASES = "w4g64:lissom_4_v1,w4g64:int4_opt_llama_v1,w3g64:lissom_3_v1,w2g64:lissom_2_v1"


def auto_round(model, tokenizer, windows, scheme, a):
    from auto_round import AutoRound

    return AutoRound(model, tokenizer=tokenizer, scheme=scheme, dataset=windows, iters=a.iters, seqlen=LENGTH,
                     nsamples=len(windows), batch_size=a.batch, device_map="cpu", enable_torch_compile=False,
                     enable_alg_ext=True)  # fmt: skip


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


def bits_of(kind):
    """Of w4g64: 4 and 64."""
    return map(int, re.fullmatch(r"w(\d+)g(\d+)", kind).groups())


class Table:
    def __init__(self, a):
        self.a, self.work = a, a.work
        self.bench = Bench(a)

    def judge(self, gguf):
        kld, error, _ = self.bench.judge(gguf)
        return f"{kld:.4f} ± {error:.4f}"

    def judge_decoded(self, decoded):
        """Of a model whose weights are as the codec leaves them."""
        gguf = self.work / "judged.gguf"
        output(LISSOM, "convert", decoded, gguf, "--type", "F16")
        judged = self.judge(gguf)
        gguf.unlink()
        if float(judged.split()[0]) == 0:
            sys.exit(f"{decoded}: the tool has left the weights as they were")
        return judged

    def theirs(self, kind, left):
        """What the tool leaves, a file of that name, and the seconds that it took."""
        out, took = self.work / f"{self.a.tool}-{kind}", ""
        if not out.exists():
            took = f"{self.run_tool(kind, out):.0f} s"
        return next(out.rglob(left)), took  # auto-round adds a folder of its own

    def run_tool(self, kind, out):
        from transformers import AutoModelForCausalLM, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(self.a.model)
        model = AutoModelForCausalLM.from_pretrained(self.a.model, dtype="float32")
        ids = tokenizer(pathlib.Path(self.a.calib).read_text(), return_tensors="pt", add_special_tokens=False).input_ids[0]
        windows = [ids[i : i + LENGTH].unsqueeze(0) for i in range(0, len(ids) - LENGTH, LENGTH)][: self.a.samples]
        begin = time.perf_counter()
        if not kind.startswith("w"):
            rounder = auto_round(model, tokenizer, windows, f"GGUF:{kind}", self.a)
            rounder.quantize_and_save(str(out), format=f"gguf:{kind.lower()}")
        elif self.a.tool == "auto-round":
            bits, group = bits_of(kind)
            scheme = {"bits": bits, "group_size": group, "sym": True, "data_type": "int"}
            # Not by its `fake` export, which in 0.16.1 holds the source's weights.
            model, _ = auto_round(model, tokenizer, windows, scheme, self.a).quantize()
        else:
            llm_compressor(model, windows, *bits_of(kind))
        seconds = time.perf_counter() - begin
        if kind.startswith("w"):
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

    def ours_like(self, gguf_file):
        """lissom's file of the types that the other has."""
        import gguf

        out, scheme = self.work / f"like-{gguf_file.stem}.gguf", self.work / f"like-{gguf_file.stem}.yaml"
        begin, took = time.perf_counter(), ""
        if not out.exists():
            types = {t.name: t.tensor_type.name for t in gguf.GGUFReader(gguf_file).tensors if len(t.shape) > 1}
            rules = "".join(f"  - {{match: '^{re.escape(name)}$', codec: {kind}}}\n" for name, kind in types.items())
            scheme.write_text(f"name: {scheme.stem}\ndefault: F16\ntensors:\n{rules}")
            output(LISSOM, "compress", self.a.model, "-o", out, "--scheme", scheme, "--calib", self.a.calib, "--calib-chunks",
                   self.a.samples, "--effort", self.a.effort, "--no-verify", "--threads", self.a.threads)  # fmt: skip
            took = f"{time.perf_counter() - begin:.0f} s"
        return out, took

    def row(self, case):
        if not case.startswith("w"):
            theirs, their_time = self.theirs(case, "*.gguf")
            mine, my_time = self.ours_like(theirs)
            size, my_size = (f"{path.stat().st_size / 1e6:.1f} MB" for path in (theirs, mine))
            print(f"| {case}, {size} | {self.judge(theirs)} | {their_time} | {my_size} | {self.judge(mine)} | {my_time} |",
                  flush=True)  # fmt: skip
            return
        kind, codec = case.split(":", 1)
        bits, group = bits_of(kind)
        config, their_time = self.theirs(kind, "config.json")
        mine, my_time = self.ours(codec)
        print(f"| {kind}, {bits + 16 / group:.2f} bits | {self.judge_decoded(config.parent)} | {their_time} | {codec} | "
              f"{self.judge_decoded(mine)} | {my_time} |", flush=True)  # fmt: skip


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
    parser.add_argument("--effort", default="default")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "build/python_tools")
    a = parser.parse_args()
    table = Table(a)
    print(f"| {a.tool} | mean KL | time | lissom | mean KL | time |\n|---|---|---|---|---|---|", flush=True)
    for case in a.cases.split(","):
        table.row(case)


if __name__ == "__main__":
    main()
