"""Codecs against gguf-py's dequantizer (every type, random bytes, all bits equal) and ggml's quantizer (no worse)."""

import os
import pathlib
import subprocess
import sys

import gguf
import numpy as np
import pytest
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "bench"))
import codec_vs_ggml as bench  # noqa: E402

GGUF_TYPES = ["F32", "F16", "BF16", *bench.TYPES]
COMPARED = [
    pytest.param(name, weighted, id=f"{name}-{'weighted' if weighted else 'plain'}")
    for name in bench.TYPES
    for weighted in (False, True)
    if weighted or name not in bench.NEED_IMPORTANCE
]
# Where the f16 scales lie in a block.
HALVES = {
    "Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q2_K": [80, 82], "Q3_K": [108],
    "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0],
    "IQ3_S": [0], "IQ3_XXS": [0], "IQ2_S": [0], "IQ2_XS": [0], "IQ2_XXS": [0], "IQ1_S": [0], "TQ1_0": [52], "TQ2_0": [64],
}  # fmt: skip


@pytest.fixture(scope="session")
def codec_tool(tool):
    return tool("codec_tool")


def call(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def decode(codec_tool, folder, name, cols, data):
    data.tofile(folder / "in")
    call(codec_tool, "decode", name, cols, folder / "in", folder / "out")
    return np.fromfile(folder / "out", np.float32)


def random_blocks(name, count, seed):
    """Random bytes whose scales are finite; denormal and negative scales too."""
    _, size = GGML_QUANT_SIZES[GGMLQuantizationType[name]]
    blocks = np.random.default_rng(seed).integers(0, 256, (count, size), dtype=np.uint8)
    for at in HALVES.get(name, []):
        exponent = blocks[:, at + 1]
        exponent[(exponent & 0x7C) == 0x7C] ^= 0x40
    if name == "IQ1_M":  # the top four bits of the scale lie in the last byte's
        blocks[:, -1] &= 0xBF
    if name == "MXFP4":
        blocks[:, 0] = np.minimum(blocks[:, 0], 250)
    if name in ("F16", "BF16", "F32"):
        mask = {"F16": 0x7C, "BF16": 0x7F, "F32": 0x7F}[name]
        top = blocks[:, -1]
        top[(top & mask) == mask] ^= 0x40
    return blocks


def test_every_gguf_type_is_there(codec_tool):
    assert set(GGUF_TYPES) <= set(call(codec_tool, "list").split())


@pytest.mark.parametrize("name", GGUF_TYPES)
def test_decode_equals_gguf(codec_tool, tmp_path, name):
    kind = GGMLQuantizationType[name]
    weights, _ = GGML_QUANT_SIZES[kind]
    blocks = random_blocks(name, 4096, 7)
    expected = gguf.quants.dequantize(blocks.reshape(64, -1), kind).astype(np.float32).ravel()
    got = decode(codec_tool, tmp_path, name, weights * 64, blocks)
    assert np.isfinite(expected).all()
    np.testing.assert_array_equal(got.view(np.uint32), expected.view(np.uint32))


@pytest.mark.parametrize("name", ["float8_e4m3fn", "float8_e5m2"])
def test_f8_equals_torch(codec_tool, tmp_path, name):
    """All 256 codes one way, rounding of every f16 value in range the other way."""
    torch = pytest.importorskip("torch")
    ours = {"float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2"}[name]
    kind = getattr(torch, name)
    codes = np.arange(256, dtype=np.uint8)
    expected = torch.from_numpy(codes.copy()).view(kind).float().numpy()
    np.testing.assert_array_equal(decode(codec_tool, tmp_path, ours, 1, codes), expected)

    limit = 448 if ours == "F8_E4M3" else 57344
    values = np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float32)
    values = values[np.abs(values) <= limit]
    values.tofile(tmp_path / "in")
    call(codec_tool, "encode", ours, 1, tmp_path / "in", "-", tmp_path / "out")
    expected = torch.from_numpy(values).to(kind).view(torch.uint8).numpy()
    np.testing.assert_array_equal(np.fromfile(tmp_path / "out", np.uint8), expected)


def error_against_ggml(name, weights, importance, codec_tool):
    """(our weighted squared error, ggml's) on the same tensor."""
    ggml = bench.load_ggml()
    if ggml is None:
        pytest.skip("NOT RUN: no libggml-base.so (the package llama_cpp, or LLAMA_CPP_LIB_PATH)")
    ours = bench.Ours(codec_tool)
    data = [ours.encode(name, weights, importance)[0], bench.ggml_encode(ggml, name, weights, importance)[0]]
    return [bench.weighted_error(weights, ours.decode(name, d, weights.shape), importance) for d in data]


@pytest.mark.parametrize("name, weighted", COMPARED)
def test_random_tensors_no_worse_than_ggml(codec_tool, name, weighted):
    importance = bench.random_importance(1536) if weighted else None
    for label, weights in bench.random_tensors(rows=64).items():
        ours, theirs = error_against_ggml(name, weights, importance, codec_tool)
        assert ours <= theirs, f"{label}: {ours} against {theirs}"


@pytest.mark.parametrize("name, weighted", COMPARED)
def test_real_tensors_no_worse_than_ggml(codec_tool, minilm, smollm2_gguf, name, weighted):
    """all-MiniLM's F32 weights; and SmolLM2's, which were Q4_1 before, so that Q4_1 and finer grids can be exact."""
    block, _ = GGML_QUANT_SIZES[GGMLQuantizationType[name]]
    tensors = bench.real_tensors(minilm / "model.safetensors") | bench.gguf_tensors(smollm2_gguf)
    used = 0
    for label, weights in tensors.items():
        if weights.shape[1] % block == 0:
            importance = bench.random_importance(weights.shape[1]) if weighted else None
            ours, theirs = error_against_ggml(name, weights, importance, codec_tool)
            # Where both find the old grid again, nothing but a last bit of a few f16 offsets is left to compare.
            noise = 1e-9 * bench.weighted_error(weights, np.zeros_like(weights), importance)
            assert ours <= theirs + noise, f"{label}: {ours} against {theirs}"
            used += 1
    assert used > 0


@pytest.mark.parametrize("name", bench.TYPES)
def test_every_instruction_set_gives_the_same_bytes(codec_tool, name):
    weights = bench.random_tensors(rows=8)["outliers"]
    importance = bench.random_importance(weights.shape[1])
    made = {}
    for target in call(codec_tool, "targets").split():
        environment = {**os.environ, "LISSOM_FORCE_TARGET": target}
        made[target] = bench.Ours(codec_tool, environment).encode(name, weights, importance)[0].tobytes()
    assert len(set(made.values())) == 1
