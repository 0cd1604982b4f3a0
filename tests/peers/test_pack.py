"""Packs held to the safetensors package, to a decoder of ten lines written from docs/pack.md, and to the same weights in a
GGUF of F32."""

import json
import re
import struct
import subprocess

import numpy as np
import pytest
from conftest import ROOT, json_of, run

GGUF_Q8_0 = np.dtype([("d", "<f2"), ("codes", "i1", 32)])
SCHEME = r"""
name: mixed
default: Q8_0
tensors:
  - {match: 'attn_k\.weight', codec: 'svd_int8_v1:f0.75'}
  - {match: 'attn_q\.weight', layers: '0-3', codec: 'svd_int8_v1:r100'}
  - {match: 'ffn_up\.weight', layers: '0', codec: BF16}
"""


@pytest.fixture(scope="module")
def source(smollm2):
    return smollm2


@pytest.fixture(scope="module")
def pack(lissom, source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("pack")
    (folder / "mixed.yaml").write_text(SCHEME)
    out = folder / "a.safetensors"
    run(lissom, "compress", source, "-o", out, "--format", "pack", "-s", folder / "mixed.yaml", "--calib", "none",
        "--no-verify", "-q")  # fmt: skip
    assert sorted(p.name for p in folder.iterdir()) == ["a.safetensors", "mixed.yaml"]
    return out


def decode(path):
    """name → weights, from what docs/pack.md says and nothing else."""
    from safetensors import safe_open

    weights = {}
    with safe_open(path, "pt") as file:
        for entry in json.loads(file.metadata()["tensors"]):
            part = {p: file.get_tensor(entry["name"] + ("." + p if p else "")) for p in entry["parts"]}
            part = {k: v.float().numpy() if v.is_floating_point() else v.numpy() for k, v in part.items()}
            if entry["codec"].startswith("svd_int8_v1"):
                weight = (part["left"] * part["left_scale"]) @ (part["right"] * part["right_scale"][:, None])
            elif entry["codec"] == "Q8_0":
                blocks = part[""].view(GGUF_Q8_0)
                weight = blocks["d"].astype(np.float32)[..., None] * blocks["codes"]
            else:
                weight = part[""]
            weights[entry["name"]] = (entry["codec"], weight.reshape(entry["shape"]))
    return weights


@pytest.fixture(scope="module")
def as_f32(lissom, pack):
    out = pack.with_name("f32.gguf")
    run(lissom, "convert", pack, out, "--type", "F32")
    yield out
    out.unlink()


def test_the_documents_decoder_reads_the_weights(pack, as_f32):
    import gguf

    weights = decode(pack)
    codecs = {codec for codec, _ in weights.values()}
    assert codecs == {"F32", "BF16", "Q8_0", "svd_int8_v1:f0.75", "svd_int8_v1:r100"}
    reader = gguf.GGUFReader(as_f32)
    assert {t.name for t in reader.tensors} == set(weights)
    for tensor in reader.tensors:
        ours = np.asarray(tensor.data, np.float32)
        theirs = weights[tensor.name][1]
        assert np.abs(ours.reshape(theirs.shape) - theirs).max() <= 5e-6 * np.abs(theirs).max(), tensor.name


def test_numpys_reader_opens_it_too(pack):
    text = (ROOT / "docs/pack.md").read_text()
    example = re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1)
    # numpy has no BF16, so that the example is held to the pack's other tensors.
    from safetensors import safe_open

    with safe_open(pack, "np") as file:
        names = [n for n in file.keys() if n.startswith("blk.1.attn_k")]
        assert {n: str(file.get_tensor(n).dtype) for n in names} == {
            "blk.1.attn_k.weight.left": "int8",
            "blk.1.attn_k.weight.right": "int8",
            "blk.1.attn_k.weight.left_scale": "float16",
            "blk.1.attn_k.weight.right_scale": "float16",
        }
    compile(example, "docs/pack.md", "exec")


def test_it_evaluates_as_its_weights_do(lissom, pack, as_f32, text):
    packed = json_of(lissom, "eval", pack, "--text", text, "--chunks", 2, "--exact", "--json")
    plain = json_of(lissom, "eval", as_f32, "--text", text, "--chunks", 2, "--exact", "--json")
    assert packed["ppl"] == pytest.approx(plain["ppl"], rel=1e-5)
    # The fast kernels round activations to int8, in a low rank twice.
    fast = json_of(lissom, "eval", pack, "--against", as_f32, "--text", text, "--chunks", 2, "--json")
    assert 0 <= fast["kld_mean"] < 0.02


def test_it_runs_and_tells_what_it_is(lissom, pack, source):
    done = run(lissom, "run", pack, "-p", "The capital of France is", "-n", 4, "--temperature", 0, "--no-echo", "-q")
    assert done.stdout.strip()
    info = json_of(lissom, "info", pack, "--json", "--tensors")
    assert info["kind"] == "lissom pack" and info["architecture"] == "llama"
    k = next(t for t in info["tensors"] if t["name"] == "blk.0.attn_k.weight")
    rows, cols = k["shape"]
    rank = -(-3 * min(rows, cols) // 4)
    assert k["type"] == "svd_int8_v1:f0.75" and k["bytes"] == rank * (rows + cols + 4)
    assert info["tensor_bytes"] == sum(t["bytes"] for t in info["tensors"])
    tokens = [json_of(lissom, "tokenize", m, "Grüße, world", "--json") for m in (pack, source)]
    assert tokens[0] == tokens[1]


def test_the_report_counts_every_component(lissom, source, tmp_path):
    (tmp_path / "mixed.yaml").write_text(SCHEME)
    out = tmp_path / "out/"
    run(lissom, "compress", source, "-o", f"{out}/", "--format", "pack", "-s", tmp_path / "mixed.yaml", "--calib",
        "none", "--no-verify", "-q", "--report", out)  # fmt: skip
    result = json.loads((out / "report.json").read_text())["results"][0]
    file = out / result["file"]
    assert file.suffix == ".safetensors" and result["file_bytes"] == file.stat().st_size
    info = json_of(lissom, "info", file, "--json", "--tensors")
    assert result["tensor_bytes"] == info["tensor_bytes"]
    assert result["bits_per_weight"] == pytest.approx(8 * info["tensor_bytes"] / info["parameters"])
    assert {t["name"]: t["bytes_after"] for t in result["tensors"]} == {t["name"]: t["bytes"] for t in info["tensors"]}
    again = run(lissom, "compress", source, "-o", f"{out}/", "--format", "pack", "-s", tmp_path / "mixed.yaml", "--calib",
                "none", "--no-verify")  # fmt: skip
    assert b"finished by an earlier run" in again.stderr


def spoil(pack, out, change):
    """A copy of the pack whose header went through change(header)."""
    data = pack.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    change(header)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    out.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + length :])


def listed(change):
    def through(header):
        entries = json.loads(header["__metadata__"]["tensors"])
        change(entries)
        header["__metadata__"]["tensors"] = json.dumps(entries)

    return through


def meta(**fields):
    return lambda header: header["__metadata__"].update(fields)


def first_k(entries):
    return next(e for e in entries if e["name"] == "blk.0.attn_k.weight")


HOSTILE = {
    "newer": (meta(version="2"), "'version'"),
    "no JSON": (meta(tensors="["), "'tensors'"),
    "no metadata": (meta(gguf="[]"), "'gguf'"),
    "unknown codec": (listed(lambda e: first_k(e).update(codec="svd_int8_v2:r9")), "svd_int8_v2"),
    "parameters": (listed(lambda e: first_k(e).update(codec="svd_int8_v1:r0")), "svd_int8_v1:r0"),
    "another rank": (listed(lambda e: first_k(e).update(codec="svd_int8_v1:r9")), "blk.0.attn_k.weight.left"),
    "another shape": (listed(lambda e: first_k(e).update(shape=[64, 576])), "blk.0.attn_k.weight"),
    "huge": (listed(lambda e: first_k(e).update(shape=[2**40, 2**40])), "blk.0.attn_k.weight"),
    "twice": (listed(lambda e: e.append(first_k(e))), "occurs twice"),
    "left out": (listed(lambda e: e.remove(first_k(e))), "component of no tensor"),
    "missing component": (
        lambda h: h.update({"blk.0.attn_k.weight.other": h.pop("blk.0.attn_k.weight.left")}),
        "'blk.0.attn_k.weight.left' is missing",
    ),
    "dtype": (lambda h: h["blk.0.attn_k.weight.left"].update(dtype="U8"), "'blk.0.attn_k.weight.left' is U8"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_packs_are_refused(lissom, pack, tmp_path, case):
    change, named = HOSTILE[case]
    bad = tmp_path / "bad.safetensors"
    spoil(pack, bad, change)
    for verb in (["info", bad], ["run", bad, "-p", "x", "-n", "1"]):
        done = subprocess.run([str(c) for c in (lissom, *verb)], capture_output=True, text=True)
        assert done.returncode == 2, done
        lines = done.stderr.strip().splitlines()
        assert len(lines) == 1 and "bad.safetensors" in lines[0] and named in lines[0], done.stderr


def test_wrong_requests(lissom, source, tmp_path):
    def refused(*arguments):
        done = subprocess.run([str(c) for c in (lissom, "compress", source, *arguments)], capture_output=True, text=True)
        assert done.returncode == 2 and list(tmp_path.iterdir()) == []
        return done.stderr

    out = tmp_path / "a.safetensors"
    assert "needs GGUF" in refused("-o", out, "--format", "pack", "--bpw", "4")
    assert "k_low_rank" in refused("-o", out, "--format", "pack", "-s", "nothing")
    assert "--format pack" in refused("-o", tmp_path / "a.gguf", "-s", ROOT / "schemes/pack/k_low_rank.yaml",
                                      "--calib", "none", "--effort", "fast")  # fmt: skip
