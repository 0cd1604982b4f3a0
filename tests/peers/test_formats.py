"""Files against their own libraries: gguf-py and safetensors read what we write, and we read what they write."""

import json
import struct
import subprocess

import gguf
import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
from conftest import run


# gguf-py gives Q8_1 blocks of 40 bytes; ggml's, which llama.cpp's loader goes by, have 36. No file holds that type.
KINDS = [k for k in gguf.GGMLQuantizationType if k.name != "Q8_1"]


def values(reader):
    """Key → (types, contents) of a GGUF, split keys aside."""
    fields = {}
    for name, field in reader.fields.items():
        if not name.startswith(("GGUF.", "split.")):
            fields[name] = (field.types, field.contents())
    return fields


def tensors(reader):
    return {t.name: (t.tensor_type, list(t.shape), bytes(t.data)) for t in reader.tensors}


def assert_same_gguf(ours, theirs):
    ours, theirs = gguf.GGUFReader(ours), gguf.GGUFReader(theirs)
    assert values(ours) == values(theirs)
    assert tensors(ours) == tensors(theirs)


# ---------------------------------------------------------------- GGUF


def write_gguf(path, **options):
    """One key of every kind and one tensor of every type that gguf-py knows."""
    rng = np.random.default_rng(1)
    w = gguf.GGUFWriter(path, "llama", **options)
    w.add_uint8("t.u8", 200)
    w.add_int8("t.i8", -100)
    w.add_uint16("t.u16", 60000)
    w.add_int16("t.i16", -30000)
    w.add_uint32("t.u32", 4_000_000_000)
    w.add_int32("t.i32", -2_000_000_000)
    w.add_uint64("t.u64", 2**63 + 5)
    w.add_int64("t.i64", -(2**62))
    w.add_float32("t.f32", 0.1)
    w.add_float64("t.f64", 0.1)
    w.add_bool("t.bool", True)
    w.add_string("t.string", "héllo 🌵")
    w.add_array("t.ints", [1, -2, 3])
    w.add_array("t.floats", [0.5, 1e-30])
    w.add_array("t.bools", [True, False])
    w.add_array("t.strings", ["", "a", "▁x"])
    for kind in KINDS:
        block, size = gguf.GGML_QUANT_SIZES[kind]
        data = rng.integers(0, 256, (3, 2 * size), dtype=np.uint8)
        w.add_tensor(f"t.{kind.name}", data, raw_dtype=kind)
    w.add_tensor("one", np.arange(5, dtype=np.float32))
    w.add_tensor("cube", np.arange(24, dtype=np.float16).reshape(2, 3, 4))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def test_gguf_of_every_type_comes_back_equal(tool, tmp_path):
    theirs, ours = tmp_path / "theirs.gguf", tmp_path / "ours.gguf"
    write_gguf(theirs)
    run(tool("format_copy"), theirs, ours)
    assert_same_gguf(ours, theirs)
    assert ours.read_bytes() == theirs.read_bytes()


def test_gguf_with_its_own_alignment(tool, tmp_path):
    theirs, ours = tmp_path / "theirs.gguf", tmp_path / "ours.gguf"
    w = gguf.GGUFWriter(theirs, "llama")
    w.add_custom_alignment(128)
    for i in range(4):
        w.add_tensor(f"t{i}", np.full(3 + i, i, dtype=np.float32))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    run(tool("format_copy"), theirs, ours)
    assert_same_gguf(ours, theirs)
    assert gguf.GGUFReader(ours).alignment == 128


def test_gguf_split_opens_as_one(tool, tmp_path):
    whole, ours = tmp_path / "whole.gguf", tmp_path / "ours.gguf"
    write_gguf(whole)
    write_gguf(tmp_path / "split.gguf", split_max_tensors=7)
    parts = sorted(tmp_path.glob("split-*.gguf"))
    assert len(parts) > 3
    run(tool("format_copy"), parts[0], ours)
    assert tensors(gguf.GGUFReader(ours)) == tensors(gguf.GGUFReader(whole))
    assert values(gguf.GGUFReader(ours)) == values(gguf.GGUFReader(whole))
    parts[2].unlink()
    missing = subprocess.run([tool("format_copy"), parts[0], tmp_path / "no.gguf"], capture_output=True, text=True)
    assert missing.returncode == 2 and parts[2].name in missing.stderr
    assert not (tmp_path / "no.gguf").exists()


def test_gguf_of_a_real_model_comes_back_byte_for_byte(tool, smollm2_gguf, tmp_path):
    run(tool("format_copy"), smollm2_gguf, tmp_path / "ours.gguf")
    assert (tmp_path / "ours.gguf").read_bytes() == smollm2_gguf.read_bytes()


# ---------------------------------------------------------------- safetensors

DTYPES = [
    torch.bool, torch.uint8, torch.int8, torch.float8_e5m2, torch.float8_e4m3fn, torch.int16, torch.uint16,
    torch.float16, torch.bfloat16, torch.int32, torch.uint32, torch.float32, torch.float64, torch.int64, torch.uint64,
    torch.complex64,
]  # fmt: skip


def every_dtype():
    generator = torch.Generator().manual_seed(1)
    made = {}
    for dtype in DTYPES:
        bits = torch.randint(0, 2, (3, 5 * dtype.itemsize), dtype=torch.uint8, generator=generator)
        made[f"t.{dtype}".replace("torch.", "")] = bits.view(dtype)
    made["scalar"] = torch.tensor(2.5)
    made["empty"] = torch.zeros((0, 3))
    made["ünï \"code\""] = torch.arange(7, dtype=torch.float32)
    return made


def same_tensors(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype and a[name].shape == b[name].shape
        raw = [t.contiguous().reshape(-1).view(torch.uint8).tolist() if t.numel() else [] for t in (a[name], b[name])]
        assert raw[0] == raw[1], name


def test_safetensors_of_every_dtype_comes_back_equal(tool, tmp_path):
    theirs, ours = tmp_path / "theirs.safetensors", tmp_path / "ours.safetensors"
    made = every_dtype()
    safetensors.torch.save_file(made, theirs, metadata={"format": "pt", "odd": "\"\n🌵"})
    run(tool("format_copy"), theirs, ours)
    same_tensors(safetensors.torch.load_file(ours), made)
    with safetensors.safe_open(ours, "pt") as f:
        assert f.metadata() == {"format": "pt", "odd": "\"\n🌵"}
    # Data in the reference library's own order: only the header's key order may differ.
    assert data_of(ours) == data_of(theirs)


def data_of(path):
    raw = path.read_bytes()
    (length,) = struct.unpack_from("<Q", raw)
    return raw[8 + length :]


def test_safetensors_shards_open_as_one(tool, tmp_path):
    made = every_dtype()
    names = sorted(made)
    weight_map = {}
    for shard in range(3):
        part = {n: made[n] for n in names[shard::3]}
        file = f"model-0000{shard + 1}-of-00003.safetensors"
        safetensors.torch.save_file(part, tmp_path / file, metadata={"format": "pt"})
        weight_map.update({n: file for n in part})
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    run(tool("format_copy"), index, tmp_path / "ours.safetensors")
    same_tensors(safetensors.torch.load_file(tmp_path / "ours.safetensors"), made)


def bad_headers():
    ok = {"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    text = json.dumps(ok)
    two = {"x": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}, "y": {"dtype": "U8", "shape": [2]}}
    return {
        "good": (text, 4),
        "padded": (text + "   ", 4),
        "not an object": ("[]", 0),
        "short data": (text, 3),
        "long data": (text, 5),
        "overlap": (json.dumps(two | {"y": two["y"] | {"data_offsets": [1, 3]}}), 3),
        "gap": (json.dumps(two | {"y": two["y"] | {"data_offsets": [3, 5]}}), 5),
        "unknown dtype": (text.replace("F32", "F33"), 4),
        "negative": (text.replace("[1]", "[-1]"), 4),
        "overflow": (text.replace("[1]", "[4294967296, 4294967296]"), 4),
        "no shape": (json.dumps({"x": {"dtype": "F32", "data_offsets": [0, 4]}}), 4),
        "extra field": (text.replace("}}", ', "note": {"a": [1]}}}'), 4),
        "metadata of numbers": ('{"__metadata__": {"a": 1}}', 0),
        "empty": ("{}", 0),
        "zero dimension": (json.dumps({"x": {"dtype": "F32", "shape": [0, 3], "data_offsets": [0, 0]}}), 0),
        "nul": ("{}\0\0", 0),
        "newline": ("{}\n", 0),
    }


@pytest.mark.parametrize("case", bad_headers())
def test_safetensors_judges_headers_as_the_reference_does(tool, tmp_path, case):
    header, data = bad_headers()[case]
    path = tmp_path / "in.safetensors"
    path.write_bytes(struct.pack("<Q", len(header.encode())) + header.encode() + bytes(data))
    try:
        with safetensors.safe_open(path, "pt") as f:
            theirs = sorted(f.keys())
    except Exception:
        theirs = None
    done = subprocess.run([tool("format_copy"), path, tmp_path / "out.safetensors"], capture_output=True, text=True)
    assert (done.returncode == 0) == (theirs is not None), f"{case}: {done.stderr}"
    if theirs is None:
        assert done.returncode == 2 and str(path) in done.stderr
        assert not (tmp_path / "out.safetensors").exists()


# ---------------------------------------------------------------- lissom info


def test_info_counts_a_gguf_as_gguf_py_does(lissom, smollm2_gguf):
    info = json.loads(run(lissom, "info", smollm2_gguf, "--json", "--tensors").stdout)
    reader = gguf.GGUFReader(smollm2_gguf)
    assert info["kind"] == "GGUF" and info["architecture"] == "llama"
    assert info["tensor_count"] == len(reader.tensors) == len(info["tensors"])
    assert info["parameters"] == sum(int(t.n_elements) for t in reader.tensors)
    assert info["tensor_bytes"] == sum(int(t.n_bytes) for t in reader.tensors)
    assert info["bits_per_weight"] == pytest.approx(8 * info["tensor_bytes"] / info["parameters"])
    assert info["file_bytes"] == smollm2_gguf.stat().st_size
    for ours, theirs in zip(info["tensors"], reader.tensors, strict=True):
        assert ours["name"] == theirs.name and ours["type"] == theirs.tensor_type.name
        assert ours["shape"] == [int(d) for d in reversed(theirs.shape)] and ours["bytes"] == theirs.n_bytes
    assert sum(t["bytes"] for t in info["types"]) == info["tensor_bytes"]
    assert info["metadata"]["tokenizer.ggml.tokens"]["length"] == 49152
    assert info["metadata"]["llama.attention.layer_norm_rms_epsilon"] == 1e-5


def test_info_describes_types_that_nothing_here_decodes(lissom, tmp_path):
    write_gguf(tmp_path / "all.gguf")
    info = json.loads(run(lissom, "info", tmp_path / "all.gguf", "--json", "--tensors").stdout)
    assert {t["type"] for t in info["tensors"]} == {k.name for k in KINDS}
    bits = {t["type"]: t["bits_per_weight"] for t in info["types"]}
    assert bits["IQ2_XS"] == 2.3125 and bits["I32"] is None
    table = run(lissom, "info", tmp_path / "all.gguf", "--tensors").stdout.decode()
    assert "IQ2_XS" in table and "t.strings" in table


def test_info_of_a_folder(lissom, minilm):
    info = json.loads(run(lissom, "info", minilm, "--json").stdout)
    assert info["kind"] == "Hugging Face folder" and info["architecture"] == "BertModel"
    with safetensors.safe_open(minilm / "model.safetensors", "pt") as f:
        sizes = {name: f.get_slice(name) for name in f.keys()}
        weights = sum(
            int(np.prod(s.get_shape())) for s in sizes.values() if s.get_dtype() in ("F32", "F16", "BF16")
        )
    assert info["tensor_count"] == len(sizes) and info["parameters"] == weights


def test_info_says_what_is_wrong(lissom, tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x02")
    done = subprocess.run([lissom, "info", tmp_path], capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == "" and "save_pretrained" in done.stderr
    (tmp_path / "cut.gguf").write_bytes(b"GGUF\x03\0\0\0")
    done = subprocess.run([lissom, "info", tmp_path / "cut.gguf"], capture_output=True, text=True)
    assert done.returncode == 2 and "cut.gguf: tensor count" in done.stderr
