"""The real llama.cpp loads what lissom writes: same logits, same tokens, sensible text."""

import ctypes
import json
import pathlib
import pydoc_data.topics
import shutil
import sys

import gguf
import numpy as np
import pytest
from conftest import ROOT, json_of, run
from engine import kl, relative_error, run_model
from test_compress import make_model, ones_imatrix

llama_cpp = pytest.importorskip("llama_cpp")

sys.path.insert(0, str(ROOT / "tests/golden"))
from tiny_models import MODELS, NO_GGUF, is_encoder  # noqa: E402

DECODERS = [name for name in MODELS if name not in NO_GGUF and not is_encoder(name)]
ENCODERS = [name for name in MODELS if name not in NO_GGUF and is_encoder(name)]
VOCAB = 288
IDS = [7, 12, 250, 33, 101, 99, 64]  # within Mistral's tiny window, which llama.cpp does not have


def llama_logits(path, ids, cache=llama_cpp.GGML_TYPE_F16):
    """llama.cpp's logits for every position, as F32 rows."""
    model = llama_cpp.Llama(
        model_path=str(path), n_ctx=max(64, len(ids)), logits_all=True, verbose=False, n_threads=2, seed=0,
        type_k=cache, type_v=cache,
    )  # fmt: skip
    model.eval(ids)
    rows = np.array(model.scores[: len(ids)], np.float32)
    model.close()
    return rows


def llama_embeddings(path, ids):
    """llama.cpp's pooled embedding of one sequence of tokens."""
    c = llama_cpp
    params = c.llama_model_default_params()
    model = c.llama_model_load_from_file(str(path).encode(), params)
    assert model
    settings = c.llama_context_default_params()
    settings.n_ctx, settings.embeddings, settings.n_threads = 64, True, 2
    context = c.llama_init_from_model(model, settings)
    tokens = (ctypes.c_int32 * len(ids))(*ids)
    assert c.llama_encode(context, c.llama_batch_get_one(tokens, len(ids))) == 0
    width = c.llama_model_n_embd(model)
    row = np.array(c.llama_get_embeddings_seq(context, 0)[:width], np.float32)
    c.llama_free(context)
    c.llama_model_free(model)
    return row


def tiny_gguf(lissom, tmp_path, name, *options):
    """A golden model under a name of no meaning: llama.cpp looks for certain tokens where the name has "phi3" in it."""
    folder = shutil.copytree(ROOT / "tests/golden" / name, tmp_path / "tiny")
    run(lissom, "convert", folder, tmp_path / "m.gguf", *options)
    return tmp_path / "m.gguf"


# For F16 weights llama.cpp rounds activations to F16, which Gemma 2's norms after attention and MLP make larger.
F16_TOLERANCE = {"gemma2": 2.5e-3}


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize("kind", ["F32", "F16"])
def test_tiny_logits(lissom, tool, tmp_path, name, kind):
    path = tiny_gguf(lissom, tmp_path, name, "--type", kind)
    # llama.cpp makes any context at least 256 long, by which longrope chooses.
    ours = run_model(tool, path, [IDS], tmp_path, VOCAB, context=256, exact=True)
    error = relative_error(ours, llama_logits(path, IDS, llama_cpp.GGML_TYPE_F32))
    assert error <= (F16_TOLERANCE.get(name, 1e-3) if kind == "F16" else 1e-3)


@pytest.mark.parametrize("name", ["gemma2", "gemma3", "gemma3_scaled"])
def test_tiny_logits_past_the_window(lissom, tool, tmp_path, name):
    path = tiny_gguf(lissom, tmp_path, name, "--type", "F32")
    ids = IDS * 5
    ours = run_model(tool, path, [ids], tmp_path, VOCAB, context=64, exact=True)
    assert relative_error(ours, llama_logits(path, ids, llama_cpp.GGML_TYPE_F32)) <= 1e-3


@pytest.mark.parametrize("name", [*ENCODERS, *DECODERS])
def test_gguf_py_parses(lissom, tmp_path, name):
    path = tmp_path / "m.gguf"
    run(lissom, "convert", ROOT / "tests/golden" / name, path)
    reader = gguf.GGUFReader(path)
    arch = reader.fields["general.architecture"].contents()
    assert reader.fields[f"{arch}.block_count"].contents() == (4 if arch == "albert" else 2)
    names = {t.name for t in reader.tensors}
    assert "token_embd.weight" in names and names & {"blk.1.ffn_down.weight", "blk.1.ffn_down_exps.weight"}


@pytest.fixture(scope="module")
def smollm2_files(lissom, smollm2, tmp_path_factory):
    """SmolLM2 as F16, and compressed."""
    folder = tmp_path_factory.mktemp("gguf")
    run(lissom, "convert", smollm2, folder / "F16.gguf", "--type", "F16")
    for scheme in ("Q8_0", "Q4_0", "Q4_K_M"):
        run(lissom, "compress", smollm2, "-o", folder / f"{scheme}.gguf", "--scheme", scheme, "--calib", "none", "--no-verify")
    return folder


TEXT = """The history of bread begins before farming. People gathered wild grain, ground it between stones, and baked
a paste of flour and water on hot rocks. When yeast from the air settled in a forgotten dough, the first loaves rose."""


def ids_of(lissom, model, text):
    return json_of(lissom, "tokenize", model, text, "--json")["ids"]


def test_real_f32_logits(lissom, tool, smollm2, tmp_path):
    path = tmp_path / "F32.gguf"
    run(lissom, "convert", smollm2, path, "--type", "F32")
    ids = ids_of(lissom, path, TEXT)
    ours = run_model(tool, path, [ids], tmp_path, 49152, threads=2)
    assert relative_error(ours, llama_logits(path, ids)) <= 1e-3


def test_real_f16_logits(lissom, tool, smollm2_files, tmp_path):
    """llama.cpp rounds activations to F16 before it multiplies F16 weights, which alone costs about 1e-3 here; ours
    stay F32. So each is held to exact arithmetic: ours within 1e-3, and closer than llama.cpp."""
    path = smollm2_files / "F16.gguf"
    ids = ids_of(lissom, path, TEXT)
    exact = run_model(tool, path, [ids], tmp_path, 49152, exact=True, threads=2)
    ours = relative_error(run_model(tool, path, [ids], tmp_path, 49152, threads=2), exact)
    theirs = relative_error(llama_logits(path, ids), exact)
    print(f"F16: relative error to exact arithmetic: lissom {ours:.6f}, llama.cpp {theirs:.6f}")
    assert ours <= 1e-3
    assert ours <= theirs <= 2e-3


@pytest.mark.parametrize("scheme", ["Q8_0", "Q4_0", "Q4_K_M"])
def test_our_engine_is_no_further_from_exact_than_llama_cpp(lissom, tool, smollm2_files, tmp_path, scheme):
    path = smollm2_files / f"{scheme}.gguf"
    prose = "\n\n".join(pydoc_data.topics.topics[name] for name in ("bitwise", "exceptions", "naming"))
    ids = ids_of(lissom, path, prose)[:400]
    exact = run_model(tool, path, [ids], tmp_path, 49152, exact=True, threads=2)
    ours = kl(exact, run_model(tool, path, [ids], tmp_path, 49152, threads=2))
    theirs = kl(exact, llama_logits(path, ids))
    print(f"{scheme}: KL to exact arithmetic: lissom {ours.mean():.6f}, llama.cpp {theirs.mean():.6f}")
    # Both engines err by chance of rounding: no further, as far as this many tokens can tell. Three schemes are tried, so two
    # standard errors would be exceeded by chance now and then; bench/engine_error.py takes thousands of tokens.
    difference = ours - theirs
    assert difference.mean() <= 3 * difference.std(ddof=1) / np.sqrt(len(difference))


@pytest.fixture(scope="module")
def wide_model(lissom, tmp_path_factory):
    """A random model whose columns divide by 256, and statistics for it."""
    folder = tmp_path_factory.mktemp("wide")
    path = folder / "model.gguf"
    run(lissom, "convert", make_model("llama", folder / "hf"), path)
    return path, ones_imatrix(path, folder / "imatrix.gguf")


@pytest.mark.parametrize(
    "scheme", "IQ3_M IQ3_XS IQ3_XXS IQ2_M IQ2_S IQ2_XXS IQ1_M IQ1_S TQ1_0 TQ2_0 MXFP4_MOE MXFP4 NVFP4".split()
)
def test_small_types(lissom, tool, wide_model, tmp_path, scheme):
    """llama.cpp reads the small types as we mean them, and our engine computes with them as it should."""
    model, imatrix = wide_model
    chosen = scheme
    if scheme in ("MXFP4", "NVFP4"):
        chosen = tmp_path / "scheme.yaml"
        chosen.write_text(f"default: {scheme}\n")
    path = tmp_path / "m.gguf"
    run(lissom, "compress", model, "-o", path, "--scheme", chosen, "--imatrix", imatrix, "--no-verify")
    exact = run_model(tool, path, [IDS], tmp_path, VOCAB, exact=True)
    ours = relative_error(run_model(tool, path, [IDS], tmp_path, VOCAB), exact)
    theirs = relative_error(llama_logits(path, IDS), exact)
    print(f"{scheme}: relative error to exact arithmetic: lissom {ours:.4f}, llama.cpp {theirs:.4f}")
    assert ours <= 0.05 and theirs <= 0.05


def test_tokenization_equals_llama_cpp(lissom, smollm2_files):
    model = llama_cpp.Llama(model_path=str(smollm2_files / "Q8_0.gguf"), vocab_only=True, verbose=False)
    texts = [
        TEXT,
        "it's  1234567 naïve\tfaçade\n\n  indented",
        "<|im_start|>user\nhello<|im_end|>\n",
        "北京 and Ελληνικά and 🙂👩‍👩‍👧",
        "x" * 300,
        "a\u00a0b\u2003c\r\nd",
        "def f(x):\n    return x**2  # squares\n",
    ]
    for text in texts:
        ours = json_of(lissom, "tokenize", smollm2_files / "Q8_0.gguf", text, "--json")["ids"]
        assert ours == model.tokenize(text.encode(), add_bos=False, special=True), text


def test_llama_cpp_writes_sensible_text(smollm2_files):
    model = llama_cpp.Llama(model_path=str(smollm2_files / "Q4_K_M.gguf"), n_ctx=256, verbose=False, seed=1)
    text = model("The capital of France is", max_tokens=12, temperature=0)["choices"][0]["text"]
    assert "Paris" in text
    assert model.metadata["tokenizer.chat_template"]


@pytest.mark.parametrize("name", ["bert", "distilbert", "roberta"])
def test_tiny_embeddings(lissom, tool, tmp_path, name):
    """A folder with sentence-transformers' pooling, so that GGUF has it too."""
    folder = pathlib.Path(shutil.copytree(ROOT / "tests/golden" / name, tmp_path / name))
    module = {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}
    (folder / "modules.json").write_text(json.dumps([module]))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text('{"pooling_mode_mean_tokens": true}')
    run(lissom, "convert", folder, tmp_path / "m.gguf", "--type", "F32")
    ours = run_model(tool, tmp_path / "m.gguf", [IDS], tmp_path, 32, what="pooled")[0]
    theirs = llama_embeddings(tmp_path / "m.gguf", IDS)
    ours, theirs = (x / np.linalg.norm(x) for x in (ours, theirs))
    assert np.abs(ours - theirs).max() <= 1e-3


def test_minilm_embeddings(lissom, tool, minilm, tmp_path):
    path = tmp_path / "m.gguf"
    run(lissom, "convert", minilm, path, "--type", "F32")
    ids = [101, 1037, 3899, 3216, 2058, 1996, 2492, 102]
    ours = run_model(tool, path, [ids], tmp_path, 384, what="pooled")[0]
    theirs = llama_embeddings(path, ids)
    ours, theirs = (x / np.linalg.norm(x) for x in (ours, theirs))
    assert np.abs(ours - theirs).max() <= 1e-3
