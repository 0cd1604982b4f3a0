"""What folds into the weights: llama.cpp, which knows nothing of it, says what it said before."""

import json
import pydoc_data.topics
import shutil
import subprocess

import gguf
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from conftest import ROOT, run

TIED, UNTIED = ROOT / "tests/golden/llama", ROOT / "tests/golden/llama_llama3"
TOKENS = [7, 12, 250, 33, 90, 4, 201, 17] * 5


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    path = tmp_path_factory.mktemp("words") / "text.txt"
    path.write_text("\n".join(pydoc_data.topics.topics.values())[:60000])
    return path


@pytest.fixture(scope="module")
def outliers(tmp_path_factory):
    """The tiny llama with some channels of its norms far larger than the others, as large models have."""
    folder = tmp_path_factory.mktemp("outliers") / "model"
    shutil.copytree(TIED, folder)
    weights = load_file(folder / "model.safetensors")
    for name, values in weights.items():
        if name.endswith("layernorm.weight"):
            values[[3, 20]] *= np.array([12, 6], values.dtype)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def compress(lissom, model, out, *more):
    done = run(lissom, "compress", model, "-o", out, "--effort", "fast", "--ctx", 64, "--threads", 2, "--json", *more)
    return json.loads(done.stdout)["results"][0]


def logits(path):
    llama_cpp = pytest.importorskip("llama_cpp")
    model = llama_cpp.Llama(model_path=str(path), n_ctx=64, logits_all=True, verbose=False, n_threads=2,
                            type_k=0, type_v=0)  # fmt: skip
    model.eval(TOKENS)
    scores = np.array(model.scores[: len(TOKENS)])
    model.close()
    return scores


@pytest.mark.parametrize(("model", "fold"), [(TIED, "heads"), (UNTIED, "residual"), (UNTIED, "heads,residual")])
def test_llama_cpp_says_the_same_of_rotated_weights(lissom, tmp_path, model, fold):
    plain, folded = tmp_path / "plain.gguf", tmp_path / "folded.gguf"
    for out, more in ((plain, ()), (folded, ("--fold", fold))):
        compress(lissom, model, out, "--scheme", "F32", "--calib", "none", "--no-verify", *more)
    assert plain.read_bytes() != folded.read_bytes()
    expected = logits(plain)
    assert np.abs(logits(folded) - expected).max() < 1e-4 * np.abs(expected).max()


def test_llama_cpp_says_the_same_of_scaled_weights(lissom, words, outliers, tmp_path):
    """Up to what rounding to 8 bits loses: factors on one side alone would change everything."""
    files = {}
    for name, codec, more in (("base", "F32", ()), ("plain", "Q8_0", ()), ("folded", "Q8_0", ("--fold", "awq"))):
        scheme = tmp_path / f"{name}.yaml"
        rule = f"{{match: 'blk.*(attn_q|attn_output|ffn)', codec: {codec}}}"
        scheme.write_text(f"name: {name}\ndefault: F32\ntensors:\n  - {rule}\n")
        files[name] = tmp_path / f"{name}.gguf"
        result = compress(lissom, outliers, files[name], "--scheme", scheme, "--calib", words, "--no-verify", *more)
    assert result["fold"]["awq"]["tried"] == 8
    assert result["fold"]["awq"]["inputs"]
    base = logits(files["base"])
    error = {name: np.sqrt(np.mean((logits(files[name]) - base) ** 2)) for name in ("plain", "folded")}
    assert error["folded"] < 1.5 * error["plain"]
    assert error["folded"] < 0.05 * np.std(base)


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma3", "starcoder2"])
def test_llama_cpp_says_the_same_of_a_padded_ffn(lissom, tmp_path, name):
    plain, padded = tmp_path / "plain.gguf", tmp_path / "padded.gguf"
    for out, more in ((plain, ()), (padded, ("--pad-ffn", "always"))):
        compress(lissom, ROOT / "tests/golden" / name, out, "--scheme", "F32", "--calib", "none", "--no-verify", *more)
    assert padded.stat().st_size > plain.stat().st_size
    expected = logits(plain)
    assert np.abs(logits(padded) - expected).max() < 1e-4 * np.abs(expected).max()


def test_a_search_pads_where_it_costs_little(lissom, words, tmp_path):
    """496 neurons become 512: no multiple of 32 before, no block codec fitted."""
    transformers = pytest.importorskip("transformers")
    config = json.loads((TIED / "config.json").read_text())
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(
        vocab_size=config["vocab_size"], hidden_size=128, intermediate_size=496, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=256, initializer_range=0.1, tie_word_embeddings=False,
    ))  # fmt: skip
    folder = tmp_path / "narrow"
    model.save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        if (TIED / file).exists():
            shutil.copy(TIED / file, folder)
    out = tmp_path / "out.gguf"
    result = compress(lissom, folder, out, "--bpw", 4.6, "--calib", words, "--no-verify")
    assert np.isfinite(logits(out)).all()
    assert result["bits_per_weight"] <= 4.6
    down = [t for t in gguf.GGUFReader(out).tensors if "ffn_down" in t.name]
    assert len(down) == 2
    for tensor in down:
        assert list(tensor.shape) == [512, 128]
        assert tensor.tensor_type.name not in ("F16", "BF16", "F32")
    done = subprocess.run([str(w) for w in (lissom, "compress", folder, "-o", out, "--bpw", 4.6, "--effort", "fast", "--calib",
                           words, "--no-verify", "--pad-ffn", "never")], capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 2
    assert "no choice of codecs is that small" in done.stderr


def test_scales_lose_less_at_the_same_size(lissom, words, outliers, tmp_path):
    results = {}
    for fold in ("", "awq", "awq,heads"):
        out = tmp_path / "out.gguf"
        scheme = tmp_path / "scheme.yaml"
        scheme.write_text("name: all\ndefault: Q8_0\ntensors:\n  - {match: blk, codec: Q4_0}\n")
        results[fold] = compress(lissom, outliers, out, "--scheme", scheme, "--calib", words, "--eval-chunks", 40,
                                 *(("--fold", fold) if fold else ()))  # fmt: skip
    plain, scaled, both = results.values()
    assert scaled["file_bytes"] == plain["file_bytes"]
    assert scaled["eval"]["kld_mean"] < 0.9 * plain["eval"]["kld_mean"]
    assert "fold" not in plain
    fold = scaled["fold"]["awq"]
    assert 0 < len(fold["inputs"]) <= fold["tried"] == 8
    for pair in fold["inputs"]:
        assert 0 < pair["validation_ratio"] < 0.99
    assert both["fold"]["rotation"] == {"heads": 2, "residual": False, "left": []}


def test_an_earlier_result_is_taken_over_only_where_the_same_was_folded(lissom, words, outliers, tmp_path):
    reused = []
    for more in (("--fold", "awq"), ("--fold", "awq"), (), ("--fold", "awq,heads")):
        done = run(lissom, "compress", outliers, "-o", f"{tmp_path}/out/", "--scheme", "Q4_0", "--calib", words, "--effort",
                   "fast", "--no-verify", "--json", *more)  # fmt: skip
        reused.append(json.loads(done.stdout)["reused"])
    assert reused == [0, 1, 0, 0]


@pytest.mark.parametrize("more", [("--algorithm", "error-feedback"), ("--format", "pack")])
def test_what_comes_after_goes_on_from_the_folded_weights(lissom, words, outliers, tmp_path, more):
    out = tmp_path / ("out.safetensors" if "pack" in more else "out.gguf")
    result = compress(lissom, outliers, out, "--scheme", "Q4_0", "--calib", words, "--eval-chunks", 20, "--fold",
                      "awq,heads", *more)  # fmt: skip
    assert result["eval"]["kld_mean"] < 0.5
    assert result["fold"]["kinds"] == "awq heads"


def test_a_dry_run_says_what_there_is_room_for(lissom, tmp_path):
    done = run(lissom, "compress", TIED, "-o", tmp_path / "x.gguf", "--scheme", "Q4_0", "--fold", "awq", "--dry-run", "--json")
    fold = json.loads(done.stdout)["results"][0]["fold"]
    assert (fold["norm"], fold["attention"], fold["product"]) == (4, 2, 2)
    assert fold["left"] == [{"what": "output_in: it is a result of the model", "count": 1}]


def test_what_cannot_be_is_refused(lissom, words, tmp_path):
    for model, more, said in (
        (TIED, ("--fold", "awq", "--calib", "none"), "--fold awq reads a text"),
        (TIED, ("--fold", "residual"), "the token embeddings are also the head"),
        (ROOT / "tests/golden/gpt_neox", ("--fold", "residual"), "LayerNorm"),
        (ROOT / "tests/golden/albert", ("--fold", "heads"), "used in several places"),
        (TIED, ("--fold", "spin"), "awq, heads or residual"),
        (UNTIED, ("--fold", "heads", "--format", "awq"), "GGUF files and packs"),
        (UNTIED, ("--pad-ffn", "always", "--format", "awq"), "GGUF files and packs"),
        (ROOT / "tests/golden/mixtral", ("--pad-ffn", "always"), "mixture of experts"),
    ):
        done = subprocess.run([str(w) for w in (lissom, "compress", model, "-o", tmp_path / "x", *more)],
                              capture_output=True, text=True)  # fmt: skip
        assert done.returncode == 2, (more, done.stderr)
        assert said in done.stderr
    assert not (tmp_path / "x").exists()
