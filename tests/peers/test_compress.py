"""lissom compress held to llama.cpp: the same type for each tensor, the same statistics, files that it loads; and to its
own promises, through the program: bounded memory, the same bytes after kills, nothing left after errors."""

import json
import os
import pydoc_data.topics
import random
import re
import resource
import shutil
import signal
import subprocess
import time

import gguf
import numpy as np
import pytest
from conftest import ROOT, json_of, run

SCHEMES = (
    "F32 F16 BF16 Q8_0 Q6_K Q5_K_M Q5_K_S Q5_0 Q5_1 Q4_K_M Q4_K_S Q4_0 Q4_1 Q3_K_L Q3_K_M Q3_K_S Q2_K Q2_K_S IQ4_NL IQ4_XS "
    "IQ3_M IQ3_S IQ3_XS IQ3_XXS IQ2_M IQ2_S IQ2_XS IQ2_XXS IQ1_M IQ1_S TQ1_0 TQ2_0 MXFP4_MOE"
).split()
NEED_STATISTICS = "Q2_K_S IQ3_XS IQ3_XXS IQ2_M IQ2_S IQ2_XS IQ2_XXS IQ1_M IQ1_S".split()
GOLDEN = ROOT / "tests/golden"


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """English prose that every machine with Python has: the language reference that help() prints, each paragraph
    once, so that its end is disjoint from its beginning."""
    topics = pydoc_data.topics.topics
    paragraphs = dict.fromkeys(p for name in sorted(topics) for p in topics[name].split("\n\n"))
    path = tmp_path_factory.mktemp("text") / "topics.txt"
    path.write_text("\n\n".join(paragraphs)[:120000], encoding="utf-8")
    return path


def make_model(name, folder):
    """A random model of useful dimensions, as a Hugging Face folder."""
    import torch
    from transformers import (
        BertConfig,
        BertModel,
        GPT2Config,
        GPT2LMHeadModel,
        LlamaConfig,
        LlamaForCausalLM,
        MistralConfig,
        MistralForCausalLM,
        Qwen2Config,
        Qwen2ForCausalLM,
        Qwen3Config,
        Qwen3ForCausalLM,
    )

    torch.manual_seed(1)
    size = dict(hidden_size=256, intermediate_size=512, num_attention_heads=8, vocab_size=288, num_hidden_layers=17)
    make = {
        # Query heads per key head, tied or not, and layer counts are what llama-quantize's choices hang on.
        "llama": lambda: LlamaForCausalLM(LlamaConfig(**size, num_key_value_heads=2, tie_word_embeddings=False)),
        "llama80": lambda: LlamaForCausalLM(
            LlamaConfig(**{**size, "num_hidden_layers": 80, "intermediate_size": 256}, num_key_value_heads=4)
        ),
        "mistral": lambda: MistralForCausalLM(MistralConfig(**size, num_key_value_heads=1)),
        "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**size, num_key_value_heads=4, tie_word_embeddings=True)),
        "qwen3": lambda: Qwen3ForCausalLM(
            Qwen3Config(**{**size, "intermediate_size": 480}, num_key_value_heads=8, head_dim=32)
        ),
        "gpt2": lambda: GPT2LMHeadModel(
            GPT2Config(n_embd=256, n_layer=9, n_head=4, n_positions=128, vocab_size=288, bos_token_id=0, eos_token_id=0)
        ),
        "bert": lambda: BertModel(BertConfig(**{**size, "num_hidden_layers": 8}, max_position_embeddings=128)),
    }[name]
    make().half().save_pretrained(folder)
    source = GOLDEN / {"llama80": "llama"}.get(name, name)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(source / file, folder / file)
    return folder


def ones_imatrix(model, path):
    """Statistics of ones for every matrix of the blocks."""
    writer = gguf.GGUFWriter(path, "")
    writer.add_string("general.type", "imatrix")
    writer.add_array("imatrix.datasets", ["ones"])
    writer.add_uint32("imatrix.chunk_count", 1)
    writer.add_uint32("imatrix.chunk_size", 512)
    for t in gguf.GGUFReader(model).tensors:
        if t.name.startswith("blk.") and t.name.endswith("weight") and len(t.shape) == 2:
            writer.add_tensor(t.name + ".in_sum2", np.ones((1, int(t.shape[0])), np.float32))
            writer.add_tensor(t.name + ".counts", np.ones((1, 1), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def llama(program, *words):
    return run(program, *words, env={**os.environ, "LD_LIBRARY_PATH": str(program.parent)})


def types_of_llama_quantize(quantize, model, scheme, imatrix):
    words = ["--dry-run", "--allow-requantize", *(["--imatrix", imatrix] if imatrix else []), model, scheme]
    done = llama(quantize, *words)
    found = {}
    for line in (done.stdout + done.stderr).decode(errors="replace").splitlines():
        m = re.search(r"\[ *\d+/ *\d+\] +(\S+) .*type = +(\w+), size = .*?(?:\((\w+)\))?$", line)
        if m:
            found[m[1]] = (m[3] or m[2]).upper()
    return found


@pytest.mark.parametrize("name", ["smollm2", "llama", "llama80", "mistral", "qwen2", "qwen3", "gpt2", "bert"])
def test_types_are_those_of_llama_quantize(lissom, llama_tool, smollm2_gguf, name, tmp_path):
    quantize = llama_tool("llama-quantize")
    model = smollm2_gguf
    if name != "smollm2":
        model = tmp_path / "model.gguf"
        run(lissom, "convert", make_model(name, tmp_path / name), model)
    imatrix = ones_imatrix(model, tmp_path / "imatrix.gguf")
    for scheme in SCHEMES:
        for statistics in (None, imatrix):
            theirs = types_of_llama_quantize(quantize, model, scheme, statistics)
            options = ["--imatrix", statistics] if statistics else ["--calib", "none"]
            plan = json_of(lissom, "compress", model, "--scheme", scheme, "--dry-run", "--json", *options)
            ours = {t["name"]: t["codec"] for t in plan["results"][0]["tensors"]}
            kept = {t["name"] for t in plan["results"][0]["tensors"] if t["kept"]}
            assert theirs.keys() == ours.keys()
            # What neither quantizes llama-quantize leaves in the source's type, lissom in F32.
            differ = {n: (theirs[n], ours[n]) for n in ours if n not in kept and theirs[n] != ours[n]}
            assert not differ, (scheme, bool(statistics), differ)
            assert all(ours[n] == "F32" and theirs[n] in ("F32", "F16") for n in kept)


@pytest.mark.parametrize("scheme", NEED_STATISTICS)
def test_what_needs_statistics_is_refused_without(lissom, llama_tool, scheme, tmp_path):
    """As llama-quantize does."""
    model = tmp_path / "model.gguf"
    run(lissom, "convert", make_model("llama", tmp_path / "hf"), model)
    done = subprocess.run([str(w) for w in compress_words(lissom, model, tmp_path / "o.gguf", "--scheme", scheme)],
                          capture_output=True)  # fmt: skip
    assert done.returncode == 2 and b"blk.0." in done.stderr and b"needs importance statistics" in done.stderr
    quantize = llama_tool("llama-quantize")
    theirs = subprocess.run([str(w) for w in (quantize, model, tmp_path / "t.gguf", scheme)], capture_output=True,
                            env={**os.environ, "LD_LIBRARY_PATH": str(quantize.parent)})  # fmt: skip
    assert theirs.returncode != 0 and b"imatrix" in theirs.stdout + theirs.stderr


def statistics_of(path):
    found = {}
    for t in gguf.GGUFReader(path).tensors:
        found[t.name] = np.array(t.data, np.float64).reshape(-1)
    return {n[: -len(".in_sum2")]: v / found[n[: -len("in_sum2")] + "counts"][0] for n, v in found.items() if n.endswith(".in_sum2")}


def test_statistics_are_those_of_llama_imatrix(lissom, llama_tool, smollm2_gguf, text, tmp_path):
    theirs_path, ours_path = tmp_path / "theirs.gguf", tmp_path / "ours.gguf"
    llama(llama_tool("llama-imatrix"), "-m", smollm2_gguf, "-f", text, "-o", theirs_path, "--no-ppl", "-c", 512,
          "--chunks", 3, "-t", 2)
    run(lissom, "compress", smollm2_gguf, "-o", tmp_path / "o.gguf", "--scheme", "Q4_0", "--calib", text,
        "--calib-chunks", 3, "--save-imatrix", ours_path, "--no-verify", "--threads", 2)
    theirs, ours = statistics_of(theirs_path), statistics_of(ours_path)
    assert len(theirs) == 210 and set(theirs) <= set(ours)
    for name, want in theirs.items():
        # Both quantize activations to 8 bits for the products, each in its own way.
        assert np.linalg.norm(ours[name] - want) <= 0.03 * np.linalg.norm(want), name
        assert abs(np.log(ours[name].sum() / want.sum())) <= 0.03, name
    # Each reads the other's file.
    done = llama(llama_tool("llama-quantize"), "--allow-requantize", "--imatrix", ours_path, smollm2_gguf,
                 tmp_path / "theirs-q.gguf", "Q4_0", "2")
    assert f"loaded {len(ours)} importance matrix entries" in (done.stdout + done.stderr).decode()
    report = json_of(lissom, "compress", smollm2_gguf, "-o", tmp_path / "r.gguf", "--scheme", "Q4_0", "--imatrix",
                     theirs_path, "--no-verify", "--json", "--threads", 2)
    assert report["calibration"]["chunks"] == gguf.GGUFReader(theirs_path).fields["imatrix.chunk_count"].contents()


def test_statistics_of_experts_are_those_of_llama_imatrix(lissom, llama_tool, text, tmp_path):
    model, theirs_path, ours_path = tmp_path / "m.gguf", tmp_path / "theirs.gguf", tmp_path / "ours.gguf"
    run(lissom, "convert", GOLDEN / "mixtral", model, "--type", "F32")
    llama(llama_tool("llama-imatrix"), "-m", model, "-f", text, "-o", theirs_path, "--no-ppl", "-c", 128, "--chunks",
          8, "-t", 2)
    run(lissom, "compress", model, "-o", tmp_path / "o.gguf", "--scheme", "Q4_0", "--calib", text, "--calib-chunks", 8,
        "--save-imatrix", ours_path, "--no-verify", "--threads", 2)
    theirs, ours = ({t.name: np.array(t.data) for t in gguf.GGUFReader(p).tensors} for p in (theirs_path, ours_path))
    experts = [name for name in theirs if "_exps.weight." in name]
    assert len(experts) == 2 * 2 * 3 and set(experts) <= set(ours)
    for name in experts:
        assert ours[name].shape == theirs[name].shape, name
        # Near a tie the two may choose another expert.
        assert np.abs(ours[name] - theirs[name]).max() <= 0.02 * theirs[name].max(), name


def test_the_older_statistics_file_is_read(lissom, llama_tool, smollm2_gguf, text, tmp_path):
    llama(llama_tool("llama-imatrix"), "-m", smollm2_gguf, "-f", text, "-o", tmp_path / "i.dat", "--output-format",
          "dat", "--no-ppl", "-c", 512, "--chunks", 1, "-t", 2)
    report = json_of(lissom, "compress", smollm2_gguf, "-o", tmp_path / "r.gguf", "--scheme", "Q4_0", "--imatrix",
                     tmp_path / "i.dat", "--no-verify", "--json", "--threads", 2)
    assert report["calibration"]["chunks"] == 1


@pytest.mark.parametrize("name", ["llama", "mistral", "qwen2", "qwen3", "gpt2", "gemma3", "phi3_long", "mixtral", "dots1"])
def test_llama_cpp_loads_what_compress_writes(lissom, name, text, tmp_path):
    llama_cpp = pytest.importorskip("llama_cpp")
    folder = shutil.copytree(GOLDEN / name, tmp_path / "tiny")  # llama.cpp takes a name with "phi3" in it for Phi-3's
    for target in ("quality", "size"):
        out = tmp_path / f"{target}.gguf"
        run(lissom, "compress", folder, "-o", out, "--target", target, "--calib", text, "--calib-chunks", 2,
            "--ctx", 64, "--eval-chunks", 2)
        model = llama_cpp.Llama(model_path=str(out), n_ctx=64, logits_all=True, verbose=False, n_threads=2)
        model.eval([7, 12, 250, 33])
        assert np.isfinite(np.array(model.scores[:4])).all()
        model.close()
        fields = gguf.GGUFReader(out).fields
        assert fields["lissom.scheme"].contents() == target
        assert fields["lissom.source_digest"].contents().startswith("sha256:")
        assert fields["general.quantization_version"].contents() == 2


def compress_words(lissom, model, out, *more):
    return [str(w) for w in (lissom, "compress", model, "-o", out, "--calib", "none", "--no-verify", "--threads", 2, *more)]


def peak_memory(words):
    """Bytes, of a process of its own: else the peak would be that of this one."""
    probe = (
        "import os, resource, sys; pid = os.spawnv(os.P_NOWAIT, sys.argv[1], sys.argv[1:]); "
        "_, status, usage = os.wait4(pid, 0); print(status, usage.ru_maxrss * 1024)"
    )
    status, peak = run("python3", "-c", probe, *words).stdout.split()[-2:]
    assert int(status) == 0
    return int(peak)


LARGEST = 49152 * 576 * 4  # SmolLM2's largest tensor, in F32


def test_memory_is_bounded(lissom, smollm2, tmp_path):
    words = compress_words(lissom, smollm2, tmp_path / "o.gguf", "--scheme", "Q4_K_M")
    assert peak_memory(words) <= 2 * LARGEST + 300e6


def with_statistics(lissom, model, out, text, scheme="Q4_K_M"):
    words = [lissom, "compress", model, "-o", out, "--scheme", scheme, "--no-verify", "--threads", "2"]
    return [str(w) for w in (*words, "--calib", text, "--calib-chunks", "2")]


@pytest.mark.parametrize("source", ["smollm2", "smollm2_gguf"])
def test_statistics_need_no_model_in_memory(lissom, source, text, tmp_path, request):
    """270 MB in 16 bits: the statistics take no more than the other stages and some activations."""
    model, out = request.getfixturevalue(source), tmp_path / "o.gguf"
    without = peak_memory(compress_words(lissom, model, tmp_path / "without.gguf", "--scheme", "Q4_K_M"))
    peak = peak_memory(with_statistics(lissom, model, out, text))
    assert peak <= without + 48e6
    assert peak <= 2 * LARGEST + 300e6


def test_memory_is_bounded_where_the_model_is_larger(lissom, llama_of_zeros, text, tmp_path):
    """910 MB of BF16, and a bound of 703 MB."""
    size = llama_of_zeros(tmp_path / "model", 1024, 4096, 24)
    bound = 2 * (49152 * 1024 * 4) + 300e6
    assert size > bound
    assert peak_memory(with_statistics(lissom, tmp_path / "model", tmp_path / "o.gguf", text, "Q8_0")) <= bound


def test_killed_it_goes_on_to_the_same_bytes(lissom, smollm2, tmp_path):
    out = tmp_path / "o.gguf"
    words = compress_words(lissom, smollm2, out, "--scheme", "Q4_K_M")
    begin = time.monotonic()
    run(*words)
    whole, duration = out.read_bytes(), time.monotonic() - begin
    out.unlink()
    dice = random.Random(11)
    resumed = 0
    for _ in range(3):
        for _ in range(2):
            process = subprocess.Popen(words, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            time.sleep(dice.random() * duration)
            process.kill()
            process.wait()
            assert not out.exists() or out.read_bytes() == whole
        resumed += b"were done before" in run(*words).stderr
        assert out.read_bytes() == whole
        assert [p.name for p in tmp_path.iterdir()] == ["o.gguf"]
        out.unlink()


def test_ctrl_c_stops_and_goes_on(lissom, smollm2, tmp_path):
    out = tmp_path / "o.gguf"
    words = compress_words(lissom, smollm2, out, "--scheme", "Q4_K_M")
    process = subprocess.Popen(words, stderr=subprocess.PIPE)
    while b"quantize" not in process.stderr.readline():
        pass
    process.send_signal(signal.SIGINT)
    tail = process.stderr.read()
    if process.wait() == 0:
        pytest.skip("NOT RUN: it was done before the signal came")
    assert process.returncode == 130 and b"goes on from there" in tail
    assert not out.exists()
    run(*words)
    assert [p.name for p in tmp_path.iterdir()] == ["o.gguf"]


def test_a_full_disk_and_an_unwritable_place_leave_nothing(lissom, smollm2, tmp_path):
    for limit in (1000, 5_000_000, 60_000_000):
        done = subprocess.run(
            compress_words(lissom, smollm2, tmp_path / "o.gguf", "--scheme", "Q8_0"),
            capture_output=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
        )
        assert done.returncode == 2 and b"o.gguf" in done.stderr
        assert list(tmp_path.iterdir()) == []
    done = subprocess.run(compress_words(lissom, smollm2, "/proc/o.gguf"), capture_output=True)
    assert done.returncode == 2 and b"/proc/o.gguf" in done.stderr


def test_the_bytes_do_not_depend_on_threads(lissom, tmp_path, text):
    for threads in (1, 3):
        run(lissom, "compress", GOLDEN / "llama", "-o", tmp_path / f"{threads}.gguf", "--target", "size", "--threads",
            threads, "--calib", "none", "--no-verify")
    assert (tmp_path / "1.gguf").read_bytes() == (tmp_path / "3.gguf").read_bytes()


def test_limits_exit_code_and_report_agree(lissom, text, tmp_path):
    for limit, code in ((1e9, 0), (0, 1)):
        done = subprocess.run(
            [str(w) for w in (lissom, "compress", GOLDEN / "llama", "-o", tmp_path / "o.gguf", "--target", "size", "--calib", text,
             "--calib-chunks", 2, "--ctx", 64, "--eval-chunks", 4, "--max-kld", limit, "--report", tmp_path / "r", "--json")],
            capture_output=True,
        )
        assert done.returncode == code, done.stderr.decode()
        printed, report = json.loads(done.stdout), json.loads((tmp_path / "r/report.json").read_text())
        assert printed["limits_met"] == (code == 0)
        result = report["results"][0]
        assert result["limits_met"] == (code == 0)
        assert result["limits"][0]["met"] == (result["eval"]["kld_mean"] <= limit)
        assert report["evaluation"]["disjoint"].startswith("yes")
        assert (tmp_path / "r/report.html").read_text().startswith("<!doctype html>")


def test_evaluation_text_must_be_another(lissom, text, tmp_path):
    done = subprocess.run(
        [str(w) for w in (lissom, "compress", GOLDEN / "llama", "-o", tmp_path / "o.gguf", "--target", "size", "--calib", text,
         "--eval-text", text, "--ctx", 64)],
        capture_output=True,
    )
    assert done.returncode == 2 and b"not disjoint" in done.stderr


def test_a_second_run_takes_over_what_is_done(lissom, tmp_path):
    words = [lissom, "compress", GOLDEN / "llama", "-o", tmp_path / "out", "--target", "quality,size", "--ctx", 64,
             "--eval-chunks", 2, "--report", tmp_path / "out", "--json"]
    first, begin = json_of(*words), time.time()
    second = json_of(*words)
    assert first["reused"] == 0 and second["reused"] == 2
    assert [r["eval"] for r in first["results"]] == [r["eval"] for r in second["results"]]
    assert all(p.stat().st_mtime < begin for p in (tmp_path / "out").glob("*.gguf"))
    damaged = sorted((tmp_path / "out").glob("*.gguf"))[0]
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    assert json_of(*words)["reused"] == 1


def test_sizes_pick_a_scheme_or_name_the_smallest(lissom, smollm2_gguf, tmp_path):
    plan = json_of(lissom, "compress", smollm2_gguf, "--size", "90MB", "--dry-run", "--json")["results"][0]
    assert 70e6 < plan["file_bytes"] <= 90e6
    run(lissom, "compress", smollm2_gguf, "--size", "90MB", "--calib", "none", "--no-verify", "-o", tmp_path / "o.gguf")
    assert (tmp_path / "o.gguf").stat().st_size <= 90e6
    done = subprocess.run([lissom, "compress", smollm2_gguf, "--bpw", "1"], capture_output=True)
    assert done.returncode == 2 and b"smallest possible here is" in done.stderr


@pytest.mark.parametrize(
    "yaml, words",
    [
        ("default: Q4_K\ntensors:\n  - {match: x, codec: Q9}\n", [":3: ", "tensors[0].codec", "Q9"]),
        ("a: &a [1]\nb: *a\n", [":2: ", "aliases"]),
        ("[" * 5000, ["nested"]),
        ("default: Q4_K\ntensors: [{match: '(', codec: Q4_0}]\n", [":2: ", "tensors[0].match"]),
    ],
)
def test_bad_schemes_are_one_error(lissom, tmp_path, yaml, words):
    (tmp_path / "s.yaml").write_text(yaml)
    done = subprocess.run([lissom, "compress", GOLDEN / "llama", "--scheme", tmp_path / "s.yaml"], capture_output=True)
    error = done.stderr.decode()
    assert done.returncode == 2 and error.count("\n") == 1 and "s.yaml" in error
    for word in words:
        assert word in error


def test_the_source_is_never_overwritten(lissom, tmp_path):
    model = tmp_path / "m.gguf"
    run(lissom, "convert", GOLDEN / "llama", model)
    before = model.read_bytes()
    done = subprocess.run(compress_words(lissom, model, model, "--scheme", "Q8_0"), capture_output=True)
    assert done.returncode == 2 and b"the output is the source" in done.stderr
    assert model.read_bytes() == before


def test_reports_are_put_together(lissom, tmp_path):
    for scheme in ("Q8_0", "Q4_0"):
        run(lissom, "compress", GOLDEN / "llama", "-o", tmp_path / f"{scheme}.gguf", "--scheme", scheme, "--calib", "none",
            "--no-verify", "--report", tmp_path / scheme)
    merged = json_of(lissom, "report", tmp_path / "Q8_0/report.json", tmp_path / "Q4_0/report.json", "-o", tmp_path / "both",
                     "--json")
    assert [r["scheme"] for r in merged["results"]] == ["Q8_0", "Q4_0"]
    assert (tmp_path / "both/report.html").exists()
