"""The engine through the program: a tiny model learns better values for the same bytes."""

import json
import os
import pathlib
import pydoc_data.topics
import subprocess

import gguf

from conftest import PROGRAM, ROOT

ENGINE = pathlib.Path(PROGRAM).parent / "liblissom_engine.so"


def test_learned_values_are_better_in_a_file_of_the_same_size(lissom, tmp_path):
    assert ENGINE.exists(), f"{ENGINE} is not built: run make engine"
    text = tmp_path / "text.txt"
    text.write_text("\n".join(pydoc_data.topics.topics.values())[:60000])
    results, types = {}, {}
    for effort in ("fast", "default"):
        out = tmp_path / f"{effort}.gguf"
        done = subprocess.run(
            [lissom, "compress", ROOT / "tests/golden/llama", "-o", out, "--scheme", "Q4_0", "--calib", text,
             "--effort", effort, "--threads", "1", "--ctx", "64", "--json"],
            capture_output=True, text=True, env={**os.environ, "LISSOM_ENGINE": str(ENGINE)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        results[effort] = json.loads(done.stdout)["results"][0]
        types[effort] = [t.tensor_type for t in gguf.GGUFReader(out).tensors]
    fast, learned = results["fast"], results["default"]
    assert learned["distillation"]["engine"].startswith("LibTorch 2.")
    assert learned["distillation"]["kld_last"] < learned["distillation"]["kld_first"]
    assert learned["eval"]["kld_mean"] < 0.8 * fast["eval"]["kld_mean"]
    assert learned["file_bytes"] == fast["file_bytes"]
    assert types["fast"] == types["default"]
    assert not (tmp_path / "default.gguf.learned").exists()


def test_tokens_are_weighed_where_the_engine_is(lissom, tmp_path):
    """What is said, and that something else comes of it; that it is better on real models is for the benchmarks."""
    text = tmp_path / "text.txt"
    text.write_text("\n".join(pydoc_data.topics.topics.values())[:60000])
    for kind, more in (("gguf", ()), ("safetensors", ("--format", "pack"))):
        written = {}
        for engine in (str(ENGINE), "none"):
            out = tmp_path / f"out.{kind}"
            done = subprocess.run(
                [lissom, "compress", ROOT / "tests/golden/llama", "-o", out, "--scheme", "Q4_0", "--calib", text, "--effort",
                 "fast", "--algorithm", "error-feedback", "--threads", "1", "--ctx", "64", "--report", tmp_path / "report", *more],
                capture_output=True, text=True, env={**os.environ, "LISSOM_ENGINE": engine},
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            assert ("counts all tokens alike" in done.stderr) == (engine == "none")
            result = json.loads((tmp_path / "report/report.json").read_text())["results"][0]
            if kind == "gguf":
                assert result["error_feedback"]["token_weights"] == ("none" if engine == "none" else "fisher")
            assert result["eval"]["kld_mean"] < 0.5
            written[engine] = out.read_bytes()
        assert len(set(written.values())) == 2


def test_check_foretells_learning(lissom):
    foretold = {}
    for effort in ("fast", "default", "high"):
        done = subprocess.run(
            [lissom, "check", ROOT / "tests/golden/llama", "--scheme", "Q4_0", "--effort", effort, "--threads", "1", "--json"],
            capture_output=True, text=True, env={**os.environ, "LISSOM_ENGINE": str(ENGINE)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        foretold[effort] = json.loads(done.stdout)["schemes"][0]
    assert foretold["fast"]["stages"]["learn"] == 0 < foretold["default"]["stages"]["learn"]
    assert foretold["default"]["stages"]["learn"] < foretold["high"]["stages"]["learn"]
