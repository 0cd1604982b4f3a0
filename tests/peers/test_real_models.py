"""Real models: SmolLM2, stories260K, and the encoder all-MiniLM-L6-v2, against transformers."""

import struct
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT, run
from engine import relative_error, run_model
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer

sys.path.insert(0, str(ROOT / "bench"))

TEXT = "The capital of France is Paris. In 1789 the people of that city stormed a prison, and what followed changed"


@pytest.fixture(scope="module")
def reference(smollm2):
    return AutoModelForCausalLM.from_pretrained(smollm2, dtype=torch.float32).eval()


def test_smollm2_logits(tool, smollm2, reference, tmp_path):
    ids = AutoTokenizer.from_pretrained(smollm2)(TEXT)["input_ids"]
    with torch.no_grad():
        want = reference(torch.tensor([ids])).logits[0].numpy()
    got = run_model(tool, smollm2, [ids], tmp_path, want.shape[1], exact=True, threads=2)
    assert relative_error(got, want) <= 1e-4
    fast = run_model(tool, smollm2, [ids], tmp_path, want.shape[1], threads=2)
    assert relative_error(fast, want) <= 1e-3


def test_smollm2_continues_greedily_as_transformers(lissom, smollm2, reference):
    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    ids = tokenizer("Once upon a time", return_tensors="pt")
    with torch.no_grad():
        out = reference.generate(**ids, max_new_tokens=24, do_sample=False)
    want = tokenizer.decode(out[0][ids["input_ids"].shape[1] :])
    got = run(lissom, "run", smollm2, "-p", "Once upon a time", "-n", "24", "--temperature", "0").stdout.decode()
    assert want.strip() in got


def test_the_source_gguf_and_its_folder_agree(tool, smollm2, smollm2_gguf, tmp_path):
    ids = [list(range(100, 130))]
    a = run_model(tool, smollm2_gguf, ids, tmp_path, 49152, exact=True, threads=2)
    b = run_model(tool, smollm2, ids, tmp_path, 49152, exact=True, threads=2)
    assert relative_error(a, b) <= 1e-5


def test_stories260k(tool, shared, tmp_path):
    import stories260k_to_hf

    source = shared / "data/stories260K"
    model = stories260k_to_hf.load(source / "stories260K.bin")
    model.save_pretrained(tmp_path / "stories")
    ids = [1, 403, 407, 261, 378, 432, 383, 285, 393]
    with torch.no_grad():
        want = model(torch.tensor([ids])).logits[0].numpy()
    got = run_model(tool, tmp_path / "stories", [ids], tmp_path, 512, exact=True)
    assert relative_error(got, want) <= 1e-4
    # A model that tells stories: greedy continuation of BOS spells one.
    raw = (source / "tok512.bin").read_bytes()
    pieces, at = [], 4
    while at < len(raw):
        _, n = struct.unpack_from("<fi", raw, at)
        pieces.append(raw[at + 8 : at + 8 + n].decode(errors="replace"))
        at += 8 + n
    story = [1]
    for _ in range(40):
        rows = run_model(tool, tmp_path / "stories", [story], tmp_path, 512, exact=True)
        story.append(int(rows[-1].argmax()))
    text = "".join(pieces[i] for i in story[1:])
    assert "Once upon a time" in text and "there was" in text, text


def test_minilm_embeddings(tool, minilm, tmp_path):
    texts = ["A dog runs over the field.", "The weather is fine today, isn't it?", "Quantization"]
    tokenizer, model = AutoTokenizer.from_pretrained(minilm), AutoModel.from_pretrained(minilm).eval()
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        hidden = model(**batch).last_hidden_state
    mask = batch["attention_mask"][..., None]
    want = ((hidden * mask).sum(1) / mask.sum(1)).numpy()
    ids = [tokenizer(t)["input_ids"] for t in texts]
    got = run_model(tool, minilm, ids, tmp_path, 384, what="pooled", exact=True)
    assert relative_error(got, want) <= 1e-4
    got /= np.linalg.norm(got, axis=1, keepdims=True)
    want /= np.linalg.norm(want, axis=1, keepdims=True)
    assert (got * want).sum(1).min() > 0.99999


def test_minilm_as_gguf(lissom, tool, minilm, tmp_path):
    run(lissom, "convert", minilm, tmp_path / "m.gguf", "--type", "F16")
    ids = [[101, 1037, 3899, 3216, 102]]
    a = run_model(tool, minilm, ids, tmp_path, 384, what="pooled", exact=True)
    b = run_model(tool, tmp_path / "m.gguf", ids, tmp_path, 384, what="pooled", exact=True)
    assert relative_error(b, a) <= 2e-3
