"""diagnose on a real model: hidden states against transformers', one broken layer against a whole one."""

import json
import subprocess

import numpy
import pytest
import torch
from conftest import json_of, run
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

CONTEXT, BLOCK = 64, 12
SCALE = ("--ctx", 96, "--chunks", 2, "--threads", 2)


@pytest.fixture(scope="module")
def compressed(lissom, smollm2, tmp_path_factory):
    """compressed(name, change): a Q4_0 GGUF of the model after change(tensors) of its weights."""
    folder = tmp_path_factory.mktemp("compressed")

    def make(name, change):
        changed = folder / name
        changed.mkdir()
        for file in smollm2.iterdir():
            if file.suffix != ".safetensors":
                (changed / file.name).symlink_to(file)
        tensors = load_file(smollm2 / "model.safetensors")
        change(tensors)
        save_file(tensors, changed / "model.safetensors", {"format": "pt"})
        out = folder / f"{name}.gguf"
        run(lissom, "compress", changed, "-o", out, "-s", "Q4_0", "--calib", "none", "--no-verify", "-q")
        (changed / "model.safetensors").unlink()
        return out

    return make


@pytest.fixture(scope="module")
def even(compressed):
    return compressed("even", lambda tensors: None)


@pytest.fixture(scope="module")
def broken(compressed):
    def halve(tensors):
        tensors[f"model.layers.{BLOCK}.mlp.down_proj.weight"] *= 0.5

    return compressed("broken", halve)


def diagnosed(lissom, *words):
    """Exit code and report."""
    done = subprocess.run([str(w) for w in (lissom, "diagnose", *words, "--json")], capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, json.loads(done.stdout)


def token_means(x, y, before=None):
    """Means over tokens of cosine, relative error and norm ratio."""
    x, y = x.double(), y.double()
    if before is not None:
        x, y = x - before, y - before
    cosine = torch.nn.functional.cosine_similarity(x, y, dim=-1).mean().item()
    error = ((y - x).norm(dim=-1) / x.norm(dim=-1)).mean().item()
    return cosine, error, (y.norm(dim=-1) / x.norm(dim=-1)).mean().item()


def watched(model, ids):
    """Inputs and outputs of each block, and logits."""
    calls = []

    def see(_, args, kwargs, output):
        calls.append((args, kwargs, output[0] if isinstance(output, tuple) else output))

    hooks = [layer.register_forward_hook(see, with_kwargs=True) for layer in model.model.layers]
    with torch.no_grad():
        logits = model(ids, use_cache=False).logits[0]
    for hook in hooks:
        hook.remove()
    return calls, logits


def test_states_and_logits_are_those_of_transformers(lissom, smollm2, broken, text, tmp_path):
    _, report = diagnosed(lissom, smollm2, broken, "--text", text, "--ctx", CONTEXT, "--chunks", 1, "--exact",
                          "--scan-seconds", 0, "--no-generate", "-q")
    run(lissom, "convert", broken, tmp_path / "decoded", "--type", "F32")
    tokens = AutoTokenizer.from_pretrained(smollm2)(text.read_text(), add_special_tokens=False).input_ids
    ids = torch.tensor([tokens[:CONTEXT]])
    models = [AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
              for folder in (smollm2, tmp_path / "decoded")]
    (base, x), (ours, y) = (watched(model, ids) for model in models)

    layers = report["layers"]
    assert [layer["block"] for layer in layers] == list(range(-1, len(base)))
    emb = [model.model.embed_tokens(ids)[0] for model in models]
    expected = [(token_means(*emb), token_means(*emb))]
    with torch.no_grad():
        for i, (args, kwargs, out) in enumerate(base):
            before = args[0] if args else kwargs["hidden_states"]
            own = models[1].model.layers[i](*args, **kwargs)
            own = own[0] if isinstance(own, tuple) else own
            expected.append((token_means(out, ours[i][2]), token_means(out, own, before)))
    for layer, (state, own) in zip(layers, expected):
        for figures, (cosine, error, ratio) in ((layer["state"], state), (layer["own"], own)):
            assert figures["cosine"] == pytest.approx(cosine, abs=2e-5), layer
            assert figures["relative_error"] == pytest.approx(error, rel=2e-3), layer
            assert figures["norm_ratio"] == pytest.approx(ratio, rel=1e-3), layer

    scored = slice(CONTEXT // 2, CONTEXT - 1)
    p, q = (torch.log_softmax(logits[scored].double(), -1) for logits in (x, y))
    kld = (p.exp() * (p - q)).sum(-1)
    logits = report["logits"]
    assert logits["kld_mean"] == pytest.approx(kld.mean().item(), rel=2e-3)
    assert logits["kld_p99"] == pytest.approx(numpy.quantile(kld.numpy(), 0.99), rel=5e-3)
    target = ids[0, CONTEXT // 2 + 1:]
    for field, rows in (("ppl_base", p), ("ppl", q)):
        assert logits[field] == pytest.approx(torch.exp(-rows.gather(1, target[:, None]).mean()).item(), rel=2e-3)
    assert logits["same_top"] == pytest.approx((p.argmax(-1) == q.argmax(-1)).double().mean().item(), abs=0.04)
    x, y = (rows[scored].double() - rows[scored].double().mean(-1, keepdim=True) for rows in (x, y))
    assert logits["cosine"] == pytest.approx(torch.nn.functional.cosine_similarity(x, y, dim=-1).mean().item(), abs=1e-4)
    assert logits["mse"] == pytest.approx((x - y).square().mean().item(), rel=2e-3)


def test_the_broken_tensor_is_named(lissom, smollm2, broken, text, tmp_path):
    code, report = diagnosed(lissom, smollm2, broken, "--text", text, *SCALE, "--report", tmp_path / "out")
    assert code == 1
    assert report == json.loads((tmp_path / "out/report.json").read_text())
    tensor = f"blk.{BLOCK}.ffn_down.weight"
    assert [c["name"] for c in report["culprits"]] == [tensor]
    culprit = report["culprits"][0]
    assert culprit["confirmed"] and culprit["block"] == BLOCK and culprit["gain"] > 0
    assert not report["verdict"]["healthy"] and tensor in report["verdict"]["summary"]
    assert report["repaired_loss"] < report["scan"]["loss"]
    assert max(report["layers"], key=lambda layer: layer["own"]["relative_error"])["block"] == BLOCK
    assert {"source", "compressed", "machine", "evaluation", "tensors", "layers", "logits", "scan", "health",
            "culprits", "verdict", "limits", "interrupted"} <= set(report)
    for kind in ("greedy", "sampled"):
        for who in ("base", "compressed"):
            assert {"one_word", "repetition", "early_stop", "texts"} <= set(report["health"][kind][who])
    scan = report["scan"]
    assert scan["complete"] and scan["measure"] == "kld" and scan["parts"][0]["block"] == BLOCK
    tensors = {t["name"]: t for t in report["tensors"]}
    embeddings = tensors["token_embd.weight"]["relative_error"] > 0  # and the head, which is the same matrix
    assert len(scan["parts"]) == len(report["layers"]) - 1 + embeddings
    assert tensors[tensor]["codec"] == "Q4_0" and tensors[tensor]["norm_ratio"] == pytest.approx(0.5, abs=0.02)
    page = (tmp_path / "out/report.html").read_text()
    assert page.count("<svg") == 3 and tensor in page and "://" not in page


def test_an_even_loss_names_nobody(lissom, smollm2, even, text):
    words = (lissom, smollm2, even, "--text", text, *SCALE, "-q")
    code, report = diagnosed(*words)
    assert code == 0 and report["culprits"] == [] and report["verdict"]["healthy"]
    assert report["verdict"]["summary"].startswith("No culprit")
    code, limited = diagnosed(*words, "--max-kld", 0.001, "--scan-seconds", 0, "--no-generate")
    assert code == 1 and limited["limits"][0]["name"] == "max_kld" and not limited["limits"][0]["met"]
    # The same protocol as eval's.
    judged = json_of(lissom, "eval", even, "--against", smollm2, "--text", text, *SCALE, "--json", "-q")
    for field in ("kld_mean", "kld_p99", "ppl", "ppl_base", "same_top"):
        assert report["logits"][field] == pytest.approx(judged[field], rel=1e-6), field


def test_bad_input(lissom, smollm2, even, minilm, text, tmp_path):
    def refusal(*words):
        done = subprocess.run([str(w) for w in (lissom, "diagnose", *words)], capture_output=True, text=True)
        assert done.returncode == 2 and done.stdout == "", done.stdout
        return done.stderr

    message = refusal(smollm2, minilm, "--text", text)
    assert str(smollm2) in message and str(minilm) in message and "architecture" in message
    assert "missing.gguf" in refusal(smollm2, tmp_path / "missing.gguf")
    assert "missing.txt" in refusal(smollm2, even, "--text", tmp_path / "missing.txt")
    assert "--text" in refusal(minilm, minilm)
    assert "--max-kld" in refusal(minilm, minilm, "--text", text, "--max-kld", 1)


def test_an_encoder(lissom, minilm, text, tmp_path):
    tensors = load_file(minilm / "model.safetensors")
    tensors["encoder.layer.3.output.dense.weight"] *= -1
    broken = tmp_path / "broken"
    broken.mkdir()
    for file in minilm.iterdir():
        if file.suffix != ".safetensors":
            (broken / file.name).symlink_to(file)
    save_file(tensors, broken / "model.safetensors", {"format": "pt"})
    code, report = diagnosed(lissom, minilm, broken, "--text", text, *SCALE, "-q")
    assert code == 1 and [c["name"] for c in report["culprits"]] == ["blk.3.ffn_down.weight"]
    assert report["logits"] is None and report["health"] is None and report["scan"]["measure"] == "hidden"
