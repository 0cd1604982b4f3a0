"""Tiny seeded random models of every architecture, and what transformers computes for them."""

import json
import pathlib

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

VOCAB = 288
TEXT = [
    "The quick brown fox jumps over the lazy dog, then it rests for 12345 minutes.",
    "A checkpoint goes in, a smaller model comes out, and the report says what was lost.",
    "She said: 'it isn't easy' — naïve façade, 北京, ελληνικά, 🙂🙂 1,000.50!",
]
SMALL = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, vocab_size=VOCAB)
ROPE = dict(max_position_embeddings=128)


def rope(kind, **more):
    return dict(rope_theta=10000.0, rope_type=kind, **more)


# name → a function that makes the model. A new architecture is one line here.
MODELS = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(**SMALL, **ROPE, num_key_value_heads=2, tie_word_embeddings=True)),
    "llama_bias": lambda: LlamaForCausalLM(
        LlamaConfig(**SMALL, **ROPE, num_key_value_heads=2, attention_bias=True, mlp_bias=True, head_dim=12)
    ),
    "llama_llama3": lambda: LlamaForCausalLM(
        LlamaConfig(
            **SMALL,
            **ROPE,
            num_key_value_heads=1,
            rope_parameters=rope(
                "llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=32
            ),
        )
    ),
    "llama_linear": lambda: LlamaForCausalLM(
        LlamaConfig(**SMALL, **ROPE, num_key_value_heads=4, rope_parameters=rope("linear", factor=4.0))
    ),
    "llama_yarn": lambda: LlamaForCausalLM(
        LlamaConfig(
            **SMALL,
            **ROPE,
            num_key_value_heads=2,
            rope_parameters=rope("yarn", factor=4.0, original_max_position_embeddings=32),
        )
    ),
    "mistral": lambda: MistralForCausalLM(MistralConfig(**SMALL, **ROPE, num_key_value_heads=2, sliding_window=8)),
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SMALL, **ROPE, num_key_value_heads=2, tie_word_embeddings=True)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**SMALL, **ROPE, num_key_value_heads=2, head_dim=16)),
    "gpt2": lambda: GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=128, vocab_size=VOCAB, bos_token_id=0, eos_token_id=0)),
    "bert": lambda: BertModel(BertConfig(**SMALL, max_position_embeddings=128)),
    "bert_classify": lambda: BertForSequenceClassification(
        BertConfig(**SMALL, max_position_embeddings=128, num_labels=3)
    ),
}


def make_model(name, seed):
    torch.manual_seed(seed)
    model = MODELS[name]().eval()
    with torch.no_grad():
        # Default initialisation leaves norms at one and biases at zero, where a swapped tensor would not show.
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.08)
        for module in model.modules():
            if "Norm" in type(module).__name__:
                module.weight.add_(1.0)
    return model


def make_tokenizer(name):
    if name.startswith("bert"):
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
        special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        trainer = trainers.WordPieceTrainer(vocab_size=VOCAB, special_tokens=special, show_progress=False)
        tokenizer.train_from_iterator(TEXT, trainer)
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]",
            pair="[CLS] $A [SEP] $B:1 [SEP]:1",
            special_tokens=[("[CLS]", tokenizer.token_to_id("[CLS]")), ("[SEP]", tokenizer.token_to_id("[SEP]"))],
        )
        return tokenizer, dict(unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(TEXT, trainer)
    return tokenizer, dict(bos_token="<|endoftext|>", eos_token="<|endoftext|>")


def write_model(name, folder, seed=1):
    """A complete Hugging Face folder: config, weights in F32, tokenizer. Returns the model."""
    folder = pathlib.Path(folder)
    model = make_model(name, seed)
    tokenizer, special = make_tokenizer(name)
    if not name.startswith("bert"):
        model.config.bos_token_id = model.config.eos_token_id = tokenizer.token_to_id("<|endoftext|>")
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    kind = "BertTokenizerFast" if name.startswith("bert") else "GPT2TokenizerFast"
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": kind, **special}, indent=1))
    return model


def make_inputs(name, seed, lengths):
    """Token ids (and types, for encoders) of sequences of these lengths."""
    rng = np.random.Generator(np.random.PCG64(seed))
    ids = [[int(i) for i in rng.integers(5, VOCAB - 8, n)] for n in lengths]
    types = [[int(i >= n // 2) for i in range(n)] for n in lengths] if name.startswith("bert") else []
    return ids, types


def expected(model, ids, types):
    """What transformers computes for the sequences as one right-padded batch: (what, rows of F32), in order."""
    longest = max(len(s) for s in ids)
    padded = torch.tensor([s + [0] * (longest - len(s)) for s in ids])
    mask = torch.tensor([[1] * len(s) + [0] * (longest - len(s)) for s in ids])
    more = {}
    if types:
        more["token_type_ids"] = torch.tensor([t + [0] * (longest - len(t)) for t in types])
    with torch.no_grad():
        out = model(input_ids=padded, attention_mask=mask, **more)
    if isinstance(model, BertForSequenceClassification):
        return "logits", [row.numpy() for row in out.logits]
    what, rows = ("hidden", out.last_hidden_state) if isinstance(model, BertModel) else ("logits", out.logits)
    return what, [rows[i, : len(s)].numpy() for i, s in enumerate(ids)]
