"""The search through the program, on the real SmolLM2: limits that are met, a plan that survives a kill, files that
llama.cpp loads."""

import json
import os
import pathlib
import signal
import subprocess
import time

import gguf
import pytest

from conftest import ROOT, json_of, run

TINY = ROOT / "tests/golden/llama"


@pytest.fixture(scope="module")
def statistics(lissom, smollm2, text, tmp_path_factory):
    """Importance of a few chunks, so that each search need not collect it."""
    path = tmp_path_factory.mktemp("search") / "smollm2.imatrix"
    run(lissom, "compress", smollm2, "--scheme", "Q8_0", "--calib", text, "--calib-chunks", 4, "--save-imatrix", path,
        "--no-verify", "-o", path.with_suffix(".gguf"))  # fmt: skip
    return path


def types_of(path):
    return [(t.name, t.tensor_type.name) for t in gguf.GGUFReader(path).tensors]


def test_a_real_model_within_a_size_beats_the_scheme_of_that_size(lissom, smollm2, text, statistics, tmp_path):
    Llama = pytest.importorskip("llama_cpp").Llama
    out = tmp_path / "small.gguf"
    words = [lissom, "compress", smollm2, "--imatrix", statistics, "--calib", text, "--eval-text", text, "--ctx", 128,
             "--eval-chunks", 8, "--effort", "fast", "--json"]  # fmt: skip
    found = json_of(*words, "--size", "88MB", "-o", out)["results"][0]
    assert 86e6 < found["file_bytes"] == out.stat().st_size <= 88e6
    scheme = json_of(*words, "--scheme", "balanced", "-o", tmp_path / "scheme.gguf")["results"][0]
    assert scheme["file_bytes"] > 0.97 * found["file_bytes"]
    assert found["eval"]["kld_mean"] < 0.9 * scheme["eval"]["kld_mean"]
    verified = [p for p in found["search"]["frontier"] if "kld" in p and p["name"] == "search"]
    assert all(abs(p["kld"] / p["predicted_kld"] - 1) < 0.5 for p in verified)
    model = Llama(str(out), n_ctx=64, verbose=False)
    assert model("The capital of France is", max_tokens=8, temperature=0)["choices"][0]["text"].strip()
    # The plan is a scheme for anyone.
    again = tmp_path / "again.gguf"
    run(lissom, "compress", smollm2, "--imatrix", statistics, "--no-verify", "--effort", "fast", "-o", again, "--scheme",
        tmp_path / "small.gguf.scheme.yaml")  # fmt: skip
    assert again.read_bytes() == out.read_bytes()


def tiny_words(lissom, text, out, *more):
    return [str(w) for w in (lissom, "compress", TINY, "--calib", text, "--ctx", 64, "--threads", 1, "-o", out, *more)]


def test_a_divergence_is_met_by_the_smallest_file(lissom, text, tmp_path):
    sizes = []
    for limit in (0.002, 0.0003):
        out = tmp_path / f"{limit}.gguf"
        found = json_of(*tiny_words(lissom, text, out, "--max-kld", limit, "--eval-chunks", 0, "--json"))
        result = found["results"][0]
        assert found["limits_met"] and result["eval"]["kld_mean"] <= limit
        assert result["eval"]["kld_mean"] > 0.2 * limit, "a smaller file would do"
        assert result["search"]["kld_bound"] <= limit
        judged = json_of(lissom, "eval", out, "--against", TINY, "--text", text, "--ctx", 64, "--chunks", 40, "--json")
        assert judged["kld_mean"] <= 1.2 * limit
        sizes.append(result["file_bytes"])
    assert sizes[0] < sizes[1]


def test_a_killed_search_comes_to_the_same_plan(lissom, text, tmp_path):
    size = ["--bpw", "6.2", "--no-verify", "-q"]
    whole = tmp_path / "whole.gguf"
    run(*tiny_words(lissom, text, whole, *size))
    out = tmp_path / "killed.gguf"
    journal = pathlib.Path(f"{out}.search")
    process = subprocess.Popen(tiny_words(lissom, text, out, *size), stderr=subprocess.DEVNULL)
    while process.poll() is None and (not journal.exists() or journal.read_bytes().count(b"\n") < 6):
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    killed = process.wait() == -signal.SIGKILL
    known = journal.read_bytes().count(b"\n") if journal.exists() else 0
    done = json_of(*tiny_words(lissom, text, out, *size, "--json"))["results"][0]
    assert out.read_bytes() == whole.read_bytes()
    assert not journal.exists()
    if killed and known:  # on a fast machine it may have been done before
        assert done["search"]["remembered"] >= known - 2


def test_what_cannot_be_met_is_said(lissom, text, tmp_path):
    def refused(code, *words):
        done = subprocess.run(tiny_words(lissom, text, tmp_path / "no.gguf", *words), capture_output=True, text=True)
        assert done.returncode == code and done.stdout == "", (done.returncode, done.stderr)
        assert not (tmp_path / "no.gguf").exists()
        return done.stderr

    assert "smallest possible here is" in refused(2, "--size", "20KB")
    assert "the best reached is" in refused(1, "--bpw", "6.2", "--max-kld", "1e-7")
    assert "give one of the two" in refused(2, "--size", "1MB", "--scheme", "Q8_0")
    assert "--max-kld 0" in refused(2, "--max-kld", "0")


def test_a_folder_remembers_a_finished_search(lissom, text, tmp_path):
    words = tiny_words(lissom, text, f"{tmp_path}/out/", "--bpw", 6.2, "--json")
    first, second = json_of(*words), json_of(*words)
    assert (first["reused"], second["reused"]) == (0, 1)
    assert first["results"] == second["results"]
    assert sorted(os.listdir(tmp_path / "out")) == [
        "llama-search.gguf", "llama-search.gguf.json", "llama-search.gguf.scheme.yaml", "statistics.imatrix"]  # fmt: skip
    assert json.loads((tmp_path / "out/llama-search.gguf.json").read_text())["result"]["search"]["frontier"]
