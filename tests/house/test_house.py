"""The house's own rules: which room may include which, no torch where none belongs, a help with an example for each
verb, documents that name only what exists."""

import json
import os
import pathlib
import re
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
os.environ["LISSOM_ENGINE"] = "none"  # nothing is learned unless a test asks for it
PROGRAM = pathlib.Path(os.environ.get("LISSOM_BIN", ROOT / "build/release/lissom"))
# A room includes itself and the rooms before it (docs/design.md).
ROOMS = "base codec format hub tokenizer model kernels runtime engine data eval compress report pipeline".split()
# The plugin with LibTorch: not a part of the library.
PLUGIN = "engine"


def sources(*folders):
    return [f for folder in folders for f in sorted((ROOT / folder).rglob("*")) if f.suffix in (".h", ".cpp")]


def includes(file):
    return re.findall(r'^\s*#\s*include\s+["<]([^">]+)[">]', file.read_text(), re.MULTILINE)


def backward_arrows(files):
    """(file, include) pairs that point to a room further down the house."""
    wrong = []
    for file in files:
        room = file.relative_to(ROOT / "src").parts[0]
        for name in includes(file):
            target = name.split("/")[0]
            if target in ROOMS and ROOMS.index(target) > ROOMS.index(room):
                wrong.append((str(file.relative_to(ROOT)), name))
    return wrong


def test_rooms_are_those_of_the_build():
    listed = re.search(r"set\(LISSOM_ROOMS ([^)]*)\)", (ROOT / "CMakeLists.txt").read_text()).group(1).split()
    assert listed == [room for room in ROOMS if room != PLUGIN]
    assert sorted(p.name for p in (ROOT / "src").iterdir() if p.is_dir()) == sorted(ROOMS)


def test_no_include_goes_back():
    files = sources("src")
    assert len(files) > 50
    assert backward_arrows(files) == []


def test_the_include_check_can_fail(tmp_path, monkeypatch):
    bad = tmp_path / "src/base/bad.cpp"
    bad.parent.mkdir(parents=True)
    bad.write_text('#include "kernels/kernels.h"\n')
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    assert backward_arrows([bad]) == [("src/base/bad.cpp", "kernels/kernels.h")]


def test_public_headers_stand_alone():
    headers = sorted((ROOT / "include/lissom").glob("*.h"))
    assert 0 < len(headers) <= 12
    for header in headers:
        for name in includes(header):
            assert name.split("/")[0] not in ROOMS, f"{header.name} includes {name}, which is not installed"


def test_only_the_engine_includes_torch_and_only_the_engine_knows_it():
    for file in sources("src", "apps", "include"):
        inside = ROOT / "src" / PLUGIN in file.parents
        for name in includes(file):
            assert inside or not re.match(r"(torch|ATen|c10|engine)/", name), f"{file}: {name}"
            assert not name.startswith("torch/"), f"{file}: {name} is slow to compile; ATen has it"


def test_the_program_links_without_torch():
    linked = subprocess.run(["ldd", PROGRAM], capture_output=True, text=True, check=True).stdout
    assert "libstdc++" in linked or "libc.so" in linked
    assert not re.search(r"torch|libc10|libomp|libgomp", linked), linked


def help_of(*words):
    done = subprocess.run([PROGRAM, *words, "--help"], capture_output=True, text=True)
    assert done.returncode == 0
    return done.stdout


def verbs():
    if not PROGRAM.exists():
        return []
    text = help_of().split("Subcommands:")[1]
    return re.findall(r"^  ([a-z]+)\s", text, re.MULTILINE)


def test_the_verbs_of_the_main_job_are_there():
    assert {"compress", "eval", "run", "bench", "info", "convert", "tokenize", "completion"} <= set(verbs())


@pytest.mark.parametrize("verb", verbs())
def test_each_verb_has_an_example(verb):
    text = help_of(verb)
    assert re.search(rf"Examples?:(.|\n)*lissom {verb}", text), text


@pytest.mark.parametrize("verb", [v for v in verbs() if v not in ("completion",)])
def test_each_verb_speaks_json(verb):
    assert "--json" in help_of(verb)


@pytest.mark.parametrize("verb", [v for v in verbs() if v not in ("completion",)])
def test_each_verb_fails_well(verb, tmp_path):
    missing = tmp_path / "no-such-model.gguf"
    words = [PROGRAM, verb, missing] + ([tmp_path / "out.gguf"] if verb == "convert" else [])
    if verb == "eval":
        text = tmp_path / "t.txt"
        text.write_text("some text\n")
        words += ["--text", text]
    if verb == "compress":
        words += ["-o", tmp_path / "out.gguf", "--scheme", "Q8_0"]
    if verb == "run":
        words += ["-p", "hello"]
    if verb == "diagnose":
        words += [missing]
    done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    assert "no-such-model.gguf" in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "out.gguf").exists()


def test_version():
    done = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True)
    assert re.fullmatch(r"lissom \d+\.\d+\.\d+\n", done.stdout)


def bench_with(target):
    environment = {k: v for k, v in os.environ.items() if k != "LISSOM_FORCE_TARGET"}
    if target is not None:
        environment["LISSOM_FORCE_TARGET"] = target
    words = [PROGRAM, "bench", ROOT / "tests/golden/llama", "--prompt", "4", "--generate", "1", "--repeats", "1"]
    return subprocess.run([*words, "--no-probe", "--json"], capture_output=True, text=True, env=environment, timeout=60)


def test_the_forced_target_takes_effect():
    """Each name that the machine has is what runs; without the variable the best runs, which is the first of the list
    that the message about a wrong name gives."""
    wrong = bench_with("sse9")
    assert wrong.returncode == 2 and wrong.stdout == ""
    assert "LISSOM_FORCE_TARGET" in wrong.stderr and '"sse9"' in wrong.stderr
    there = re.search(r"it has ([a-z0-9, ]+)", wrong.stderr).group(1).split(", ")
    assert there[-1] == "scalar"
    assert json.loads(bench_with(None).stdout)["target"] == there[0]
    for target in ("scalar", "avx2", "avx512", "neon", "neon_dotprod", "neon_i8mm"):
        done = bench_with(target)
        if target in there:
            assert done.returncode == 0, done.stderr
            assert json.loads(done.stdout)["target"] == target
        else:
            assert done.returncode == 2 and "LISSOM_FORCE_TARGET" in done.stderr


def test_bench_says_how_much_of_the_machine_it_uses():
    """Figures that belong together: rates are what a token costs times tokens per second, shares are rates over peaks."""
    words = [PROGRAM, "bench", ROOT / "tests/golden/llama", "--prompt", "16", "--generate", "4", "--threads", "1,2"]
    done = subprocess.run([*words, "--json"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)["results"]
    assert [r["threads"] for r in results] == [1, 2]
    for r in results:
        machine = r["machine"]
        assert machine["read_gb_per_second"] > 0 and machine["int8_tops"] > 0 and machine["f32_tflops"] > 0
        assert machine["bf16_tflops"] >= 0
        gb = r["generate_bytes_per_token"] * r["generate_tokens_per_second"] * 1e-9
        assert r["generate_gb_per_second"] == pytest.approx(gb)
        assert r["generate_share_of_bandwidth"] == pytest.approx(gb / machine["read_gb_per_second"])
        assert r["prompt_tops"] == pytest.approx(
            r["prompt_int8_ops_per_token"] * r["prompt_tokens_per_second"] * 1e-12)
        assert r["prompt_tflops"] == pytest.approx(
            r["prompt_float_ops_per_token"] * r["prompt_tokens_per_second"] * 1e-12)
        assert r["prompt_tops"] + r["prompt_tflops"] > 0
        assert r["prompt_share_of_peak"] > 0
    table = subprocess.run([*words, "--no-probe"], capture_output=True, text=True, timeout=60).stdout
    assert "of peak" in table and "GB/s" in table and "machine" not in table
    unprobed = json.loads(bench_with(None).stdout)
    assert unprobed["machine"] is None and unprobed["generate_share_of_bandwidth"] is None
    assert unprobed["generate_gb_per_second"] > 0


@pytest.mark.parametrize("verb", ["tokenize", "info", "convert", "compress"])
def test_a_wrong_target_fails_whatever_the_verb(verb, tmp_path):
    """Codecs' searches obey the same rule as kernels, also where no model runs."""
    words = [PROGRAM, verb, ROOT / "tests/golden/llama"]
    words += {"tokenize": ["x"], "info": [], "convert": [tmp_path / "o.gguf"]}.get(
        verb, ["-o", tmp_path / "o.gguf", "--scheme", "Q8_0"])
    environment = {**os.environ, "LISSOM_FORCE_TARGET": "sse9"}
    done = subprocess.run(words, capture_output=True, text=True, env=environment, timeout=60)
    assert done.returncode == 2 and done.stdout == ""
    assert "LISSOM_FORCE_TARGET" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_names_every_verb(shell):
    script = subprocess.run([PROGRAM, "completion", shell], capture_output=True, text=True, check=True).stdout
    for verb in verbs():
        assert verb in script


def test_bash_completion_works():
    script = subprocess.run([PROGRAM, "completion", "bash"], capture_output=True, text=True, check=True).stdout
    probe = script + '\nCOMP_WORDS=(lissom comp); COMP_CWORD=1; _lissom; echo "${COMPREPLY[@]}"\n'
    done = subprocess.run(["bash", "-c", probe], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) == {"compress", "completion"}


def test_documents_name_only_files_that_exist():
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_verb_is_documented():
    text = (ROOT / "docs/cli.md").read_text()
    for verb in verbs():
        assert f"lissom {verb}" in text, f"docs/cli.md does not mention {verb}"


def test_make_targets_of_the_readme_exist():
    makefile = (ROOT / "Makefile").read_text()
    for target in set(re.findall(r"`?\bmake ([a-z-]+)", (ROOT / "README.md").read_text())):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
