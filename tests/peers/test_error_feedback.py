"""Error feedback through the program: llama.cpp loads the file, which says more of what its source says."""

import json
import pydoc_data.topics
import subprocess

import gguf
import numpy as np
import pytest

from conftest import ROOT, run

LLAMA = ROOT / "tests/golden/llama"


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    path = tmp_path_factory.mktemp("words") / "text.txt"
    path.write_text("\n".join(pydoc_data.topics.topics.values())[:60000])
    return path


def compress(lissom, model, out, text, algorithm, *more):
    done = run(lissom, "compress", model, "-o", out, "--calib", text, "--effort", "fast", "--algorithm", algorithm, "--ctx",
               64, "--threads", 2, "--json", *more)  # fmt: skip
    return json.loads(done.stdout)["results"][0]


@pytest.mark.parametrize(("scheme", "ratio"), [("Q4_0", 0.8), ("IQ4_NL", 0.98)])  # rows of one block leave little to feed
def test_the_same_types_say_more_of_the_source(lissom, words, tmp_path, scheme, ratio):
    results, types = {}, {}
    for algorithm in ("search", "error-feedback"):
        out = tmp_path / f"{algorithm}.gguf"
        rules = tmp_path / "scheme.yaml"
        rules.write_text(f"name: all\ndefault: {scheme}\n")
        results[algorithm] = compress(lissom, LLAMA, out, words, algorithm, "--scheme", rules, "--eval-chunks", 40)
        types[algorithm] = [(t.name, t.tensor_type) for t in gguf.GGUFReader(out).tensors]
        assert not list(tmp_path.glob("*.feedback*"))
    plain, fed = results["search"], results["error-feedback"]
    assert fed["eval"]["kld_mean"] < ratio * plain["eval"]["kld_mean"]
    assert fed["file_bytes"] == plain["file_bytes"]
    assert types["search"] == types["error-feedback"]
    assert fed["error_feedback"]["skipped_chunks"] == 0


def test_the_report_says_what_was_gained_and_llama_cpp_loads_the_file(lissom, words, tmp_path):
    llama_cpp = pytest.importorskip("llama_cpp")
    out = tmp_path / "fed.gguf"
    scheme = tmp_path / "scheme.yaml"
    scheme.write_text("name: all\ndefault: Q5_0\n")
    compress(lissom, LLAMA, out, words, "error-feedback", "--scheme", scheme, "--no-verify", "--report", tmp_path / "report")
    tensors = json.loads((tmp_path / "report/report.json").read_text())["results"][0]["tensors"]
    fed = [t for t in tensors if t.get("algorithm") == "error-feedback"]
    assert len(fed) >= 14
    for tensor in fed:
        assert 0 < tensor["validation_ratio"] < 1, tensor
        assert 0 < tensor["relative_error"] < 0.2, tensor
        assert tensor["rows"].startswith(("damping 0.", "damping 1,"))
    model = llama_cpp.Llama(model_path=str(out), n_ctx=64, logits_all=True, verbose=False, n_threads=2)
    model.eval([7, 12, 250, 33])
    assert np.isfinite(np.array(model.scores[:4])).all()
    model.close()


def test_a_killed_run_gives_the_same_bytes(lissom, words, tmp_path):
    command = [str(w) for w in (lissom, "compress", LLAMA, "--calib", words, "--scheme", "Q4_0", "--algorithm",
                                "error-feedback", "--effort", "fast", "--no-verify", "--calib-chunks", 0)]  # fmt: skip
    whole, killed = tmp_path / "whole.gguf", tmp_path / "killed.gguf"
    subprocess.run([*command, "-o", whole], check=True, capture_output=True)
    process = subprocess.Popen([*command, "-o", killed], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    journal = tmp_path / "killed.gguf.feedback.journal"
    while process.poll() is None:  # until some tensors are done
        if journal.exists() and journal.read_bytes().count(b"\n") > 3:
            process.kill()
    process.wait()
    assert not killed.exists()
    subprocess.run([*command, "-o", killed], check=True, capture_output=True)
    assert killed.read_bytes() == whole.read_bytes()


def test_what_cannot_be_is_refused(lissom, words, tmp_path):
    for more, said in ((("--calib", "none"), "text"), (("--calib", words, "--format", "awq"), "GGUF")):
        done = subprocess.run([str(w) for w in (lissom, "compress", LLAMA, "-o", tmp_path / "x.gguf", "--algorithm",
                                                "error-feedback", *more)], capture_output=True, text=True)  # fmt: skip
        assert done.returncode == 2
        assert said in done.stderr


def test_values_are_seen_through_attention(lissom, smollm2_gguf, words, tmp_path):
    # With all tokens alike feedback made this twice as bad as the search: a sink's values reach every query.
    scheme = tmp_path / "values.yaml"
    scheme.write_text("name: values\ndefault: F16\ntensors:\n  - {match: attn_v, codec: Q4_0}\n")
    klds = {}
    for algorithm in ("search", "error-feedback"):
        done = run(lissom, "compress", smollm2_gguf, "-o", tmp_path / f"{algorithm}.gguf", "--scheme", scheme, "--calib", words,
                   "--calib-chunks", 8, "--effort", "fast", "--algorithm", algorithm, "--eval-chunks", 2, "--json")  # fmt: skip
        klds[algorithm] = json.loads(done.stdout)["results"][0]["eval"]["kld_mean"]
    assert klds["error-feedback"] < 0.5 * klds["search"]
