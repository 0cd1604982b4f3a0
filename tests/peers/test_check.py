"""`lissom check` against what the kernel then counts: the largest resident set of each verb, within 15%."""

import json
import pydoc_data.topics
import subprocess
import sys

import pytest

WITHIN = 0.15
# A child's peak as the kernel counted it; a fresh interpreter, since ru_maxrss survives exec.
PEAK = ("import resource, subprocess, sys; r = subprocess.run(sys.argv[1:], capture_output=True); "
        "sys.stderr.buffer.write(r.stderr); print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024); "
        "sys.exit(r.returncode)")


def peak(*command):
    done = subprocess.run([sys.executable, "-c", PEAK, *map(str, command)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return int(done.stdout)


def check(lissom, *arguments, code=0):
    done = subprocess.run([lissom, "check", *map(str, arguments), "--json"], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def model(lissom, smollm2_gguf, tmp_path_factory):
    path = tmp_path_factory.mktemp("check") / "F16.gguf"
    subprocess.run([lissom, "convert", smollm2_gguf, path, "--type", "F16"], check=True, capture_output=True)
    return path


def test_memory(lissom, model, text, tmp_path):
    out = tmp_path / "out.gguf"
    bare = check(lissom, model, "-s", "Q4_K_M", "--calib", "none", "--no-verify", "--no-time")["schemes"][0]
    found = peak(lissom, "compress", model, "-s", "Q4_K_M", "--calib", "none", "--no-verify", "-q", "-o", out)
    assert bare["file_bytes"] == out.stat().st_size
    assert abs(found / bare["compress_memory_bytes"] - 1) < WITHIN
    evaluated = peak(lissom, "eval", out, "--against", model, "--text", text, "--chunks", 2, "-q")
    assert abs(evaluated / bare["evaluate_memory_bytes"] - 1) < WITHIN
    prompt = text.read_text()[:2400]
    foretold = check(lissom, model, "-s", "Q4_K_M", "--ctx", 640, "--no-time")["schemes"][0]["run_memory_bytes"]
    ran = peak(lissom, "run", out, "-p", prompt, "-n", 16, "--ctx", 640)
    assert abs(ran / foretold - 1) < WITHIN


def test_memory_of_statistics(lissom, llama_of_zeros, tmp_path):
    """64 chunks of a shallow model: what they carry from block to block is the most of it."""
    model, prose = tmp_path / "model", tmp_path / "prose.txt"
    llama_of_zeros(model, 1024, 1024, 2)
    prose.write_text("\n".join(pydoc_data.topics.topics.values())[:180_000])
    bare = check(lissom, model, "-s", "Q8_0", "--calib", "none", "--no-verify", "--no-time")["schemes"][0]
    words = [model, "-s", "Q8_0", "--calib", prose, "--no-verify"]
    foretold = check(lissom, *words, "--no-time")["schemes"][0]["compress_memory_bytes"]
    assert foretold > bare["compress_memory_bytes"] + 20e6
    found = peak(lissom, "compress", *words, "-q", "-o", tmp_path / "out.gguf")
    assert abs(found / foretold - 1) < WITHIN


def test_limits(lissom, model):
    all_of_them = check(lissom, model, "--no-time")
    assert all_of_them["any_fits"] and len(all_of_them["schemes"]) > 10
    sizes = sorted(s["file_bytes"] for s in all_of_them["schemes"])
    some = check(lissom, model, "--no-time", "--disk", sizes[3])
    assert sum(s["fits"]["disk"] for s in some["schemes"]) == sum(size <= sizes[3] for size in sizes)
    none = check(lissom, model, "--no-time", "--ram", "1MB", code=1)
    assert not none["any_fits"]
    bad = subprocess.run([lissom, "check", model, "--ram", "much"], capture_output=True, text=True)
    assert bad.returncode == 2 and "--ram much" in bad.stderr


def test_times_are_told(lissom, model):
    told = check(lissom, model, "-s", "Q4_0")["schemes"][0]
    assert told["compress_seconds"] == pytest.approx(sum(told["stages"].values()))
    for stage in ("feed_back", "learn"):
        assert told["stages"].pop(stage) == 0, "these tests have no engine; test_distill.py has"
    assert all(seconds > 0 for seconds in told["stages"].values())
    assert told["prompt_tokens_per_second"] > 0 and told["generate_tokens_per_second"] > 0
