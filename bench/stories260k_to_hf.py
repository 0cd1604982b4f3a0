"""Makes a Hugging Face folder of stories260K, a real Llama of 264 thousand parameters, from llama2.c's v0 checkpoint.

usage: stories260k_to_hf.py STORIES260K_BIN OUT_DIR     needs torch, transformers
The file: seven int32 (dim, hidden, layers, heads, KV heads, vocabulary, context), then F32 tensors, layer by layer
within each kind. llama2.c rotates adjacent pairs, transformers halves, so q and k rows are reordered. Its vocabulary is
SentencePiece's and is left out: the folder holds the model alone.
"""

import struct
import sys

import numpy as np
import torch
from transformers import LlamaConfig, LlamaForCausalLM


def load(path):
    raw = open(path, "rb").read()
    dim, hidden, layers, heads, kv_heads, vocab, context = struct.unpack("<7i", raw[:28])
    values, at = np.frombuffer(raw, "<f4", offset=28), 0

    def take(*shape):
        nonlocal at
        n = int(np.prod(shape))
        at += n
        return torch.from_numpy(values[at - n : at].reshape(shape).copy())

    d = dim // heads
    embed = take(vocab, dim)
    kinds = [
        ("input_layernorm", (dim,)),
        ("self_attn.q_proj", (dim, dim)),
        ("self_attn.k_proj", (kv_heads * d, dim)),
        ("self_attn.v_proj", (kv_heads * d, dim)),
        ("self_attn.o_proj", (dim, dim)),
        ("post_attention_layernorm", (dim,)),
        ("mlp.gate_proj", (hidden, dim)),
        ("mlp.down_proj", (dim, hidden)),
        ("mlp.up_proj", (hidden, dim)),
    ]
    state = {"model.embed_tokens.weight": embed, "lm_head.weight": embed}
    for kind, shape in kinds:
        for layer, tensor in enumerate(take(layers, *shape)):
            n = {"self_attn.q_proj": heads, "self_attn.k_proj": kv_heads}.get(kind)
            if n:
                tensor = tensor.reshape(n, d // 2, 2, dim).transpose(1, 2).reshape(shape).contiguous()
            state[f"model.layers.{layer}.{kind}.weight"] = tensor
    state["model.norm.weight"] = take(dim)
    config = LlamaConfig(
        hidden_size=dim,
        intermediate_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        vocab_size=vocab,
        max_position_embeddings=context,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
    )
    model = LlamaForCausalLM(config)
    model.load_state_dict(state)
    return model.eval()


if __name__ == "__main__":
    load(sys.argv[1]).save_pretrained(sys.argv[2])
