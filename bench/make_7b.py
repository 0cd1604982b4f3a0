"""Writes a Hugging Face folder with the shapes of Qwen2.5-7B: its config, BF16 safetensors in shards of 4 GB, seeded
random weights, a real tokenizer (SmolLM2's: its ids are the first of the 152,064). 15.2 GB; what it says is noise, but
memory, time and formats are those of a real model of that size.

usage: make_7b.py TOKENIZER_FOLDER OUT [--layers 28] [--seed 1] [--small]
TOKENIZER_FOLDER holds tokenizer.json and tokenizer_config.json. --small: 1024 wide, 16 layers, 0.5 GB, for timing the
types of 256 weights, which SmolLM2's rows of 576 do not fit.
"""

import argparse
import json
import math
import pathlib
import shutil
import sys

import torch
from safetensors.torch import save_file

SMALL = "--small" in sys.argv
WIDTH, FF, HEADS, KV_HEADS, VOCAB = (1024, 2816, 8, 2, 49152) if SMALL else (3584, 18944, 28, 4, 152064)
CONFIG = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "attention_dropout": 0.0,
    "hidden_act": "silu",
    "hidden_size": WIDTH,
    "initializer_range": 0.02,
    "intermediate_size": FF,
    "max_position_embeddings": 131072,
    "max_window_layers": 28,
    "num_attention_heads": HEADS,
    "num_key_value_heads": KV_HEADS,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "sliding_window": 131072,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "use_sliding_window": False,
    "vocab_size": VOCAB,
}
SHARD_BYTES = 4_000_000_000


def matrix(generator, rows, cols):
    """Normal, with rows and columns of different scale and a few columns of ten times the weight, as trained matrices
    have; scaled so that outputs are as large as inputs."""
    weights = torch.randn(rows, cols, generator=generator, dtype=torch.float32)
    weights *= torch.exp(0.3 * torch.randn(rows, 1, generator=generator))
    columns = torch.exp(0.3 * torch.randn(1, cols, generator=generator))
    columns[:, torch.randint(cols, (max(1, cols // 1000),), generator=generator)] *= 10
    weights *= columns
    return (weights * (1 / (math.sqrt(cols) * weights.std()))).to(torch.bfloat16)


def tensors(layers, seed):
    """Name and tensor, one after the other: nothing is held but what a shard needs."""
    generator = torch.Generator().manual_seed(seed)
    kv = WIDTH // HEADS * KV_HEADS

    def vector(size, mean, spread):
        return (mean + spread * torch.randn(size, generator=generator)).to(torch.bfloat16)

    yield "model.embed_tokens.weight", matrix(generator, VOCAB, WIDTH)
    for layer in range(layers):
        at = f"model.layers.{layer}."
        yield at + "input_layernorm.weight", vector(WIDTH, 1.0, 0.2)
        for name, rows in (("q", WIDTH), ("k", kv), ("v", kv)):
            yield at + f"self_attn.{name}_proj.weight", matrix(generator, rows, WIDTH)
            yield at + f"self_attn.{name}_proj.bias", vector(rows, 0.0, 0.1)
        yield at + "self_attn.o_proj.weight", matrix(generator, WIDTH, WIDTH)
        yield at + "post_attention_layernorm.weight", vector(WIDTH, 1.0, 0.2)
        yield at + "mlp.gate_proj.weight", matrix(generator, FF, WIDTH)
        yield at + "mlp.up_proj.weight", matrix(generator, FF, WIDTH)
        yield at + "mlp.down_proj.weight", matrix(generator, WIDTH, FF)
    yield "model.norm.weight", vector(WIDTH, 1.0, 0.2)
    yield "lm_head.weight", matrix(generator, VOCAB, WIDTH)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokenizer", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--layers", type=int, default=16 if SMALL else 28)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--small", action="store_true")
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(a.tokenizer / name, a.out / name)
    (a.out / "config.json").write_text(json.dumps({**CONFIG, "num_hidden_layers": a.layers}, indent=2))

    shards, shard, size, where = [], {}, 0, {}

    def write():
        path = a.out / f"part-{len(shards):05}.safetensors"
        save_file(shard, path, metadata={"format": "pt"})
        shards.append((path, list(shard)))
        print(path.name, f"{size / 1e9:.2f} GB", flush=True)

    for name, tensor in tensors(a.layers, a.seed):
        if shard and size + tensor.nbytes > SHARD_BYTES:
            write()
            shard, size = {}, 0
        shard[name] = tensor
        size += tensor.nbytes
    write()
    for index, (path, names) in enumerate(shards):
        final = f"model-{index + 1:05}-of-{len(shards):05}.safetensors"
        path.rename(a.out / final)
        where |= dict.fromkeys(names, final)
    total = sum((a.out / s).stat().st_size for s in set(where.values()))
    index = {"metadata": {"total_size": total}, "weight_map": where}
    (a.out / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))


if __name__ == "__main__":
    main()
