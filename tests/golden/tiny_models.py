"""Tiny seeded random models of every architecture, and what transformers computes for them."""

import json
import pathlib

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AlbertConfig,
    AlbertForSequenceClassification,
    AlbertModel,
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    DebertaV2Config,
    DebertaV2ForSequenceClassification,
    DebertaV2Model,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    DistilBertModel,
    Dots1Config,
    Dots1ForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    Olmo2Config,
    Olmo2ForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
    RobertaConfig,
    RobertaForSequenceClassification,
    RobertaModel,
    Starcoder2Config,
    Starcoder2ForCausalLM,
)

HERE = pathlib.Path(__file__).resolve().parent
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


def longrope(original):
    """Phi-3's scaling of a head's four pairs: other divisors past the original context than within it."""
    return dict(
        rope_parameters=rope(
            "longrope",
            short_factor=[1.0, 1.2, 1.5, 2.0],
            long_factor=[1.5, 3.0, 6.0, 10.0],
            original_max_position_embeddings=original,
        ),
        original_max_position_embeddings=original,
        pad_token_id=0,
    )


GEMMA = dict(num_key_value_heads=2, head_dim=16, query_pre_attn_scalar=16, sliding_window=8)
NEO = dict(hidden_size=32, num_layers=2, num_heads=4, vocab_size=VOCAB, attention_types=[[["global", "local"], 1]])


QWEN3_MOE = dict(num_key_value_heads=2, head_dim=16, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32)


ALBERT = SMALL | dict(num_hidden_layers=4, num_hidden_groups=2, embedding_size=16, max_position_embeddings=128)
DEBERTA = SMALL | dict(
    max_position_embeddings=64,
    relative_attention=True,
    position_buckets=8,
    pos_att_type="p2c|c2p",
    share_att_key=True,
    norm_rel_ebd="layer_norm",
    position_biased_input=False,
    type_vocab_size=0,
    pooler_hidden_size=32,
)
DISTIL = dict(dim=32, hidden_dim=64, n_layers=2, n_heads=4, vocab_size=VOCAB, max_position_embeddings=128)


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
    "gemma2": lambda: Gemma2ForCausalLM(
        Gemma2Config(**SMALL, **ROPE, **GEMMA, attn_logit_softcapping=1.0, final_logit_softcapping=2.0)
    ),
    "gemma2_scalar": lambda: Gemma2ForCausalLM(
        Gemma2Config(**SMALL, **ROPE, **(GEMMA | dict(query_pre_attn_scalar=5)), attn_logit_softcapping=1.0)
    ),
    "gemma3": lambda: Gemma3ForCausalLM(Gemma3TextConfig(**SMALL, **ROPE, **GEMMA)),
    "gemma3_scaled": lambda: Gemma3ForCausalLM(
        Gemma3TextConfig(
            **SMALL,
            **ROPE,
            **GEMMA,
            final_logit_softcapping=2.0,
            layer_types=["full_attention", "sliding_attention"],
            rope_parameters=dict(
                full_attention=dict(rope_theta=1e6, rope_type="linear", factor=4.0),
                sliding_attention=dict(rope_theta=1e3, rope_type="default"),
            ),
        )
    ),
    "phi3": lambda: Phi3ForCausalLM(
        Phi3Config(
            **SMALL,
            **ROPE,
            num_key_value_heads=2,
            pad_token_id=0,
            rope_parameters=rope("default", partial_rotary_factor=0.5),
        )
    ),
    "phi3_short": lambda: Phi3ForCausalLM(Phi3Config(**SMALL, **ROPE, num_key_value_heads=2, **longrope(64))),
    "phi3_long": lambda: Phi3ForCausalLM(Phi3Config(**SMALL, **ROPE, num_key_value_heads=2, **longrope(16))),
    "gpt_neo": lambda: GPTNeoForCausalLM(GPTNeoConfig(**NEO, window_size=64, max_position_embeddings=64)),
    "gpt_neo_local": lambda: GPTNeoForCausalLM(GPTNeoConfig(**NEO, window_size=8, max_position_embeddings=64)),
    "gpt_neox": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**SMALL, **ROPE)),
    "gpt_neox_serial": lambda: GPTNeoXForCausalLM(
        GPTNeoXConfig(
            **SMALL, **ROPE, use_parallel_residual=False, rope_parameters=rope("default", partial_rotary_factor=0.5)
        )
    ),
    "olmo2": lambda: Olmo2ForCausalLM(Olmo2Config(**SMALL, **ROPE, num_key_value_heads=2)),
    "starcoder2": lambda: Starcoder2ForCausalLM(
        Starcoder2Config(**SMALL, **ROPE, num_key_value_heads=2, sliding_window=8)
    ),
    "mixtral": lambda: MixtralForCausalLM(
        MixtralConfig(**SMALL, **ROPE, num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=2)
    ),
    "qwen3_moe": lambda: Qwen3MoeForCausalLM(Qwen3MoeConfig(**SMALL, **ROPE, **QWEN3_MOE, norm_topk_prob=True)),
    "qwen3_moe_raw": lambda: Qwen3MoeForCausalLM(Qwen3MoeConfig(**SMALL, **ROPE, **QWEN3_MOE, norm_topk_prob=False)),
    "dots1": lambda: Dots1ForCausalLM(
        Dots1Config(
            **SMALL,
            **ROPE,
            num_key_value_heads=4,
            n_routed_experts=8,
            n_shared_experts=2,
            num_experts_per_tok=2,
            moe_intermediate_size=16,
            n_group=4,
            topk_group=2,
            first_k_dense_replace=1,
            norm_topk_prob=True,
            routed_scaling_factor=1.5,
        )
    ),
    "bert": lambda: BertModel(BertConfig(**SMALL, max_position_embeddings=128)),
    "bert_classify": lambda: BertForSequenceClassification(
        BertConfig(**SMALL, max_position_embeddings=128, num_labels=3)
    ),
    "albert": lambda: AlbertModel(AlbertConfig(**ALBERT)),
    "albert_classify": lambda: AlbertForSequenceClassification(AlbertConfig(**ALBERT, num_labels=3)),
    "deberta": lambda: DebertaV2Model(DebertaV2Config(**DEBERTA)),
    "deberta_classify": lambda: DebertaV2ForSequenceClassification(DebertaV2Config(**DEBERTA, num_labels=3)),
    "distilbert": lambda: DistilBertModel(DistilBertConfig(**DISTIL)),
    "distilbert_classify": lambda: DistilBertForSequenceClassification(DistilBertConfig(**DISTIL, num_labels=3)),
    "roberta": lambda: RobertaModel(RobertaConfig(**SMALL, max_position_embeddings=130, type_vocab_size=1)),
    "roberta_classify": lambda: RobertaForSequenceClassification(
        RobertaConfig(**SMALL, max_position_embeddings=130, type_vocab_size=1, num_labels=3)
    ),
}


# Those that have no exact form in GGUF, and what the refusal names.
NO_GGUF = {
    "gemma2_scalar": "query_pre_attn_scalar",
    "gpt_neo_local": "GPT-Neo",
    "qwen3_moe_raw": "norm_topk_prob",
}


def family(name):
    return name.split("_")[0]


def is_encoder(name):
    return family(name) in ("bert", "distilbert", "roberta", "albert", "deberta")


def make_model(name, seed):
    torch.manual_seed(seed)
    model = MODELS[name]().eval()
    with torch.no_grad():
        # Default initialisation leaves norms at one and biases at zero, where a swapped tensor would not show.
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.08)
        for name, buffer in model.named_buffers():
            if name.endswith("e_score_correction_bias"):
                buffer.normal_(0.0, 0.08)
        for module in model.modules():
            # Gemma's norms add 1 themselves.
            if "Norm" in type(module).__name__ and not type(module).__name__.startswith("Gemma"):
                module.weight.add_(1.0)
    return model


def tokenizer_kind(name):
    return "word_piece" if is_encoder(name) and family(name) != "roberta" else "byte_level"


def train_tokenizer(kind):
    """How the two of tokenizers/ came to be. WordPiece's trainer gives other ids each time, so they are kept."""
    if kind == "word_piece":
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
        return tokenizer
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
    return tokenizer


def make_tokenizer(name):
    """The tokenizer and the names of its special tokens."""
    kind = tokenizer_kind(name)
    tokenizer = Tokenizer.from_file(str(HERE / "tokenizers" / f"{kind}.json"))
    if kind == "word_piece":
        special = dict(unk_token="[UNK]", pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", mask_token="[MASK]")
    else:
        special = dict(bos_token="<|endoftext|>", eos_token="<|endoftext|>")
    return tokenizer, special


def write_model(name, folder, seed=1):
    """A complete Hugging Face folder: config, weights in F32, tokenizer. Returns the model."""
    folder = pathlib.Path(folder)
    model = make_model(name, seed)
    tokenizer, special = make_tokenizer(name)
    if not is_encoder(name):
        model.config.bos_token_id = model.config.eos_token_id = tokenizer.token_to_id("<|endoftext|>")
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    kind = "BertTokenizerFast" if "cls_token" in special else "GPT2TokenizerFast"
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": kind, **special}, indent=1))
    return model


def make_inputs(name, seed, lengths):
    """Token ids (and types, for encoders) of sequences of these lengths."""
    rng = np.random.Generator(np.random.PCG64(seed))
    ids = [[int(i) for i in rng.integers(5, VOCAB - 8, n)] for n in lengths]
    types = [[int(i >= n // 2) for i in range(n)] for n in lengths] if family(name) == "bert" else []
    return ids, types


def expected(model, ids, types):
    """What transformers computes for the sequences as one right-padded batch: (what, rows of F32), in order."""
    model.set_attn_implementation("eager")  # the others leave out the cap on scores
    longest = max(len(s) for s in ids)
    padded = torch.tensor([s + [0] * (longest - len(s)) for s in ids])
    mask = torch.tensor([[1] * len(s) + [0] * (longest - len(s)) for s in ids])
    more = {}
    if types:
        more["token_type_ids"] = torch.tensor([t + [0] * (longest - len(t)) for t in types])
    with torch.no_grad():
        out = model(input_ids=padded, attention_mask=mask, **more)
    if "SequenceClassification" in type(model).__name__:
        return "logits", [row.numpy() for row in out.logits]
    what, rows = ("logits", out.logits) if "logits" in out else ("hidden", out.last_hidden_state)
    return what, [rows[i, : len(s)].numpy() for i, s in enumerate(ids)]
