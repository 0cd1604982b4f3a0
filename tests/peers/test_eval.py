"""`lissom eval` against llama-perplexity: the same windows, so the same perplexity, and the same divergences but for the
16 bits in which llama-perplexity keeps the base's logits."""

import json
import pathlib
import subprocess
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bench"))
import llama_perplexity  # noqa: E402

CTX, CHUNKS = 256, 6


def run_json(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True)
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def models(lissom, smollm2_gguf, llama_tool, tmp_path_factory):
    """{type: GGUF of SmolLM2}: F16, and what llama-quantize makes of it."""
    folder = tmp_path_factory.mktemp("gguf")
    base = folder / "F16.gguf"
    subprocess.run([lissom, "convert", smollm2_gguf, base, "--type", "F16"], check=True, capture_output=True)
    found = {"F16": base}
    quantize = llama_tool("llama-quantize")
    for kind in ("Q8_0", "Q3_K_M"):
        found[kind] = folder / f"{kind}.gguf"
        subprocess.run([quantize, "--allow-requantize", base, found[kind], kind, "2"], check=True, capture_output=True,
                       env={"LD_LIBRARY_PATH": str(quantize.parent)})
    return found


@pytest.fixture(scope="module")
def saved(models, text, llama_tool, tmp_path_factory):
    """llama-perplexity's perplexity of the base, and its logits."""
    path = tmp_path_factory.mktemp("logits") / "base"
    program = llama_tool("llama-perplexity")
    return llama_perplexity.perplexity(program, models["F16"], text, CTX, CHUNKS, save=path), path


@pytest.mark.parametrize("kind", ["Q8_0", "Q3_K_M"])
def test_figures_are_those_of_llama_perplexity(kind, lissom, llama_tool, models, text, saved):
    program = llama_tool("llama-perplexity")
    base, logits = saved
    alone = llama_perplexity.perplexity(program, models[kind], text, CTX, CHUNKS)
    theirs = llama_perplexity.kl_divergence(program, models[kind], text, CTX, logits)
    ours = run_json(lissom, "eval", models[kind], "--against", models["F16"], "--text", text, "--ctx", CTX, "--chunks",
                    CHUNKS, "--threads", 2, "--json", "--quiet")
    assert ours["chunks"] == CHUNKS and ours["tokens"] == CHUNKS * (CTX - 1 - CTX // 2)
    assert ours["ppl"] == pytest.approx(alone["ppl"], rel=0.005)
    assert ours["ppl_base"] == pytest.approx(base["ppl"], rel=0.005)
    assert ours["ppl_error"] == pytest.approx(alone["ppl_error"], rel=0.03)
    # Two engines round differently, which adds its own divergence: a few 1e-4 nats.
    assert ours["kld_mean"] == pytest.approx(theirs["kld_mean"], rel=0.04, abs=1e-3)
    assert ours["same_top"] == pytest.approx(theirs["same_top"], abs=0.02)


def test_exact_arithmetic_is_near_the_fast_one(lissom, models, text):
    ours = run_json(lissom, "eval", models["Q8_0"], "--against", models["Q8_0"], "--exact-base", "--text", text, "--ctx",
                    CTX, "--chunks", 2, "--json", "--quiet")
    # Activations rounded to 8 bits: about what llama.cpp pays too (bench/engine_error.py).
    assert 0 < ours["kld_mean"] < 6e-3
    assert ours["ppl"] == pytest.approx(ours["ppl_base"], rel=0.02)


def test_limits_and_wrong_use(lissom, smollm2_gguf, minilm, text, tmp_path):
    def run(*arguments):
        done = subprocess.run([str(x) for x in (lissom, "eval", *arguments, "--quiet")], capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    common = (smollm2_gguf, "--text", text, "--ctx", 64, "--chunks", 2, "--json")
    code, out, _ = run(*common, "--against", smollm2_gguf, "--max-kld", 0.1, "--max-ppl-delta", 0)
    assert code == 0 and json.loads(out)["limits_met"] is True and json.loads(out)["kld_max"] == 0
    code, out, err = run(*common, "--against", smollm2_gguf, "--exact-base", "--max-kld", 0)
    assert code == 1 and json.loads(out)["limits_met"] is False and "--max-kld 0 is not met" in err
    code, _, err = run(smollm2_gguf)
    assert code == 2 and "--text" in err
    code, _, err = run(*common, "--max-kld", 1)
    assert code == 2 and "--against" in err
    code, _, err = run(minilm, "--text", text)
    assert code == 2 and "needs a decoder" in err
    empty = tmp_path / "empty.txt"
    empty.write_text(" \n")
    code, _, err = run(smollm2_gguf, "--text", empty)
    assert code == 2 and "empty.txt" in err and "empty" in err
    short = tmp_path / "short.txt"
    short.write_text("Too short.")
    code, _, err = run(smollm2_gguf, "--text", short)
    assert code == 2 and "tokens" in err and "512" in err
    code, _, err = run(smollm2_gguf, "--text", tmp_path / "absent.txt")
    assert code == 2 and "absent.txt" in err
