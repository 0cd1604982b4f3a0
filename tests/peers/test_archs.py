"""Every architecture against transformers: fresh seeds, folder and GGUF, with and without cache, batched."""

import json
import pathlib
import shutil
import subprocess
import sys

import gguf
import numpy as np
import pytest
import transformers
from conftest import ROOT, run
from engine import relative_error, run_model

sys.path.insert(0, str(ROOT / "tests/golden"))
from tiny_models import MODELS, NO_GGUF, VOCAB, expected, is_encoder, make_inputs, write_model  # noqa: E402

LENGTHS = [1, 3, 19, 40]


def width_of(name):
    return VOCAB if not is_encoder(name) else 3 if name.endswith("_classify") else 32


@pytest.fixture(scope="module", params=list(MODELS))
def tiny(request, tmp_path_factory):
    """(name, folder, model, ids, types, what, expected rows)"""
    name = request.param
    folder = tmp_path_factory.mktemp("tiny") / name
    model = write_model(name, folder, seed=1000)
    ids, types = make_inputs(name, seed=1001, lengths=LENGTHS)
    what, rows = expected(model, ids, types)
    return name, folder, model, ids, types, what, np.concatenate([np.atleast_2d(r) for r in rows])


def ours(tool, tmp_path, tiny, model, **options):
    name, _, _, ids, types, what, _ = tiny
    more = dict(types=types) if types else {}
    return run_model(tool, model, ids, tmp_path, width_of(name), what=what, **more, **options)


def test_logits_of_the_folder(tool, tmp_path, tiny):
    assert relative_error(ours(tool, tmp_path, tiny, tiny[1], exact=True), tiny[-1]) <= 1e-4


def test_logits_with_the_cache(tool, tmp_path, tiny):
    if is_encoder(tiny[0]):
        pytest.skip("an encoder has no cache")
    for chunk in (1, 4):
        assert relative_error(ours(tool, tmp_path, tiny, tiny[1], exact=True, chunk=chunk), tiny[-1]) <= 1e-4


def test_logits_of_the_gguf(lissom, tool, tmp_path, tiny):
    if tiny[0] in NO_GGUF:
        done = subprocess.run([lissom, "convert", tiny[1], tmp_path / "m.gguf"], capture_output=True, text=True)
        assert done.returncode == 2 and NO_GGUF[tiny[0]] in done.stderr
        assert not (tmp_path / "m.gguf").exists()
        return
    run(lissom, "convert", tiny[1], tmp_path / "m.gguf")
    assert relative_error(ours(tool, tmp_path, tiny, tmp_path / "m.gguf", exact=True), tiny[-1]) <= 1e-4


def there_and_back(lissom, tmp_path, tiny, *options):
    """The folder made again, by way of GGUF where there is one."""
    source = tiny[1]
    if tiny[0] not in NO_GGUF:
        run(lissom, "convert", tiny[1], tmp_path / "m.gguf")
        source = tmp_path / "m.gguf"
    run(lissom, "convert", source, tmp_path / "back", *options)
    return tmp_path / "back"


def test_the_way_back_loads_in_transformers(lissom, tmp_path, tiny):
    _, _, _, ids, types, _, want = tiny
    back = there_and_back(lissom, tmp_path, tiny, "--shard-size", "0.00005")
    assert (back / "model.safetensors.index.json").exists()
    kind = json.loads((back / "config.json").read_text())["architectures"][0]
    loaded, info = getattr(transformers, kind).from_pretrained(back, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"], info
    _, rows = expected(loaded.eval(), ids, types)
    assert relative_error(np.concatenate([np.atleast_2d(r) for r in rows]), want) <= 1e-5


def test_the_way_back_keeps_the_tokenizer(lissom, tmp_path, tiny):
    back = there_and_back(lissom, tmp_path, tiny)
    before, after = (transformers.AutoTokenizer.from_pretrained(f) for f in (tiny[1], back))
    for text in ["The quick brown fox", "it isn't 12345 easy — façade 🙂", "  spaces\n\nand lines  "]:
        assert before(text)["input_ids"] == after(text)["input_ids"]


@pytest.mark.parametrize("name, used", [("mixtral", 2), ("dots1", 2)])
def test_experts_that_saw_little_are_named(lissom, tmp_path, name, used):
    (tmp_path / "text.txt").write_text(" ".join(f"The {n}th fox jumps over the lazy dog." for n in range(12)))
    run(
        lissom, "compress", ROOT / "tests/golden" / name, "-o", tmp_path / "o.gguf", "--scheme", "Q4_0", "--calib",
        tmp_path / "text.txt", "--no-verify", "--save-imatrix", tmp_path / "i.gguf", "--report", tmp_path / "r",
    )  # fmt: skip
    report = json.loads((tmp_path / "r/report.json").read_text())
    counts = {
        int(t.name.split(".")[1]): t.data.ravel()
        for t in gguf.GGUFReader(tmp_path / "i.gguf").tensors
        if t.name.endswith("ffn_down_exps.weight.counts")
    }
    assert counts and all(c.sum() == used * report["calibration"]["tokens"] for c in counts.values())
    few = [(layer, e, int(n)) for layer, c in sorted(counts.items()) for e, n in enumerate(c) if n < 64]
    assert few
    assert [(s["layer"], s["expert"], s["tokens"]) for s in report["calibration"]["starved_experts"]] == few
    assert any(f"{len(few)} experts saw fewer than 64" in w for w in report["warnings"])


def test_golden_files_are_what_the_script_makes(tool, tmp_path):
    """The committed golden models give transformers' outputs today."""
    for folder in sorted((ROOT / "tests/golden").iterdir()):
        if not (folder / "expected.json").exists():
            continue
        kind = json.loads((folder / "config.json").read_text())["architectures"][0]
        model = getattr(transformers, kind).from_pretrained(folder).eval()
        golden = json.loads((folder / "expected.json").read_text())
        _, rows = expected(model, golden["sequences"], golden["types"])
        flat = np.concatenate([np.atleast_2d(r)[:, :: golden["step"]].ravel() for r in rows])
        assert relative_error(flat, np.fromfile(folder / "expected.bin", "<f4")) <= 1e-5, folder.name


def test_unknown_architecture(lissom, tmp_path, tiny):
    folder = pathlib.Path(shutil.copytree(tiny[1], tmp_path / "odd"))
    config = json.loads((folder / "config.json").read_text())
    config["architectures"] = ["LlamoForCausalLM"]
    (folder / "config.json").write_text(json.dumps(config))
    done = subprocess.run([lissom, "convert", folder, tmp_path / "x.gguf"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "LlamoForCausalLM" in done.stderr and "'LlamaForCausalLM'" in done.stderr
    assert "docs/architectures.md" in done.stderr
    assert not (tmp_path / "x.gguf").exists()
