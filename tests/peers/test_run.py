"""`lissom run` and `lissom bench` on a real model: what is printed where, sampling, stops, errors."""

import os
import signal
import subprocess

import pytest

from conftest import json_of, run

PROMPT = "The capital of France is"


def generate(lissom, model, *options):
    return json_of(lissom, "run", model, "-p", PROMPT, "--json", *options)


def test_greedy_is_sensible_and_the_same_for_any_threads(lissom, smollm2_gguf):
    one = generate(lissom, smollm2_gguf, "-n", 24, "--temperature", 0, "--threads", 1)
    two = generate(lissom, smollm2_gguf, "-n", 24, "--temperature", 0, "--threads", 2)
    assert one["tokens"] == two["tokens"]
    assert "Paris" in one["text"]
    assert one["prompt_tokens"] == 5
    assert one["prompt_tokens_per_second"] > 0 and one["generate_tokens_per_second"] > 0


def test_exact_arithmetic_and_both_caches_agree_on_the_first_words(lissom, smollm2_gguf):
    texts = [
        generate(lissom, smollm2_gguf, "-n", 4, "--temperature", 0, *options)["text"]
        for options in ([], ["--cache", "q8_0"], ["--exact"])
    ]
    assert all("Paris" in text for text in texts), texts


def test_seeds(lissom, smollm2_gguf):
    sample = lambda seed: generate(lissom, smollm2_gguf, "-n", 24, "--temperature", 1.2, "--seed", seed)["tokens"]
    assert sample(3) == sample(3)
    assert sample(3) != sample(4)


def test_text_goes_to_stdout_and_timing_to_stderr(lissom, smollm2_gguf):
    expected = generate(lissom, smollm2_gguf, "-n", 16, "--temperature", 0)["text"]
    done = run(lissom, "run", smollm2_gguf, "-p", PROMPT, "-n", "16", "--temperature", "0")
    assert done.stdout.decode() == PROMPT + expected + "\n"
    assert b"generated at" in done.stderr
    piped = run(lissom, "run", smollm2_gguf, "-p", "-", "-n", "16", "--temperature", "0", "--no-echo", "--quiet",
                input=PROMPT.encode())
    assert piped.stdout.decode() == expected + "\n"
    assert piped.stderr == b""


def test_emoji_arrive_whole(lissom, smollm2_gguf):
    """Their bytes are spread over several tokens; the stream must never cut one."""
    program = subprocess.Popen(
        [str(lissom), "run", str(smollm2_gguf), "-p", "😀 😂 🎉 😀 😂 🎉 😀 😂", "-n", "40", "--no-echo",
         "--temperature", "0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    pieces = []
    while piece := os.read(program.stdout.fileno(), 65536):
        pieces.append(piece)
    assert program.wait() == 0
    text = b"".join(pieces).decode()
    assert any(ord(c) > 0xFFFF for c in text), text
    for piece in pieces:
        piece.decode()


def test_stops(lissom, smollm2_gguf):
    chat = "<|im_start|>user\nWhat is the capital of France? Answer in one word.<|im_end|>\n<|im_start|>assistant\n"
    answer = json_of(lissom, "run", smollm2_gguf, "-p", chat, "-n", 200, "--temperature", 0, "--json")
    assert answer["stop"] == "eos" and "<|im_end|>" not in answer["text"]
    assert generate(lissom, smollm2_gguf, "-n", 3)["stop"] == "length"
    full = generate(lissom, smollm2_gguf, "-n", 50, "--ctx", 8, "--ignore-eos")
    assert full["stop"] == "context" and full["generated_tokens"] == 4


def test_interrupt_ends_cleanly(lissom, smollm2_gguf):
    program = subprocess.Popen(
        [str(lissom), "run", str(smollm2_gguf), "-p", PROMPT, "-n", "100000", "--ignore-eos", "--no-echo"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    first = os.read(program.stdout.fileno(), 100)
    program.send_signal(signal.SIGINT)
    rest, messages = program.communicate(timeout=60)
    assert program.returncode == 130
    assert (first + rest).decode().endswith("\n")
    assert b"interrupted" in messages


def test_encoders_embed(lissom, minilm):
    result = json_of(lissom, "run", minilm, "-p", "A sentence.", "--json")
    assert len(result["embedding"]) == 384


@pytest.mark.parametrize("arguments, message", [
    (["missing.gguf", "-p", "x"], "missing.gguf"),
    (["MODEL", "-p", "x", "--threads", "-1"], "--threads"),
    (["MODEL", "-p", "x", "--top-p", "2"], "--top-p"),
    (["MODEL", "-p", "one two three four", "--ctx", "2"], "context is full"),
    (["MODEL"], "--prompt"),
])
def test_bad_input(lissom, smollm2_gguf, arguments, message):
    arguments = [str(smollm2_gguf) if a == "MODEL" else a for a in arguments]
    done = subprocess.run([str(lissom), "run", *arguments], capture_output=True)
    assert done.returncode == 2
    assert message in done.stderr.decode()
    assert done.stdout.decode() in ("", "one two three four")


def test_bench_prints_what_it_says(lissom, smollm2_gguf):
    one = json_of(lissom, "bench", smollm2_gguf, "--threads", 1, "--prompt", 16, "--generate", 4, "--repeats", 1,
                  "--no-probe", "--json")
    keys = ["prompt_tokens_per_second", "generate_tokens_per_second", "load_seconds", "peak_rss_bytes"]
    assert all(one[key] > 0 for key in keys)
    two = json_of(lissom, "bench", smollm2_gguf, "--threads", "1,2", "--prompt", 16, "--generate", 4, "--repeats", 1,
                  "--no-probe", "--json")
    assert [r["threads"] for r in two["results"]] == [1, 2]
    assert all(r[key] > 0 for r in two["results"] for key in keys)
    table = run(lissom, "bench", smollm2_gguf, "--prompt", "8", "--generate", "0", "--repeats", "1", "--no-probe", "--quiet")
    assert b"prompt tokens/s" in table.stdout
