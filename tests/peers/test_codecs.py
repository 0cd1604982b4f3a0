"""Codecs against gguf-py's dequantizer: every type, random bytes, all bits equal."""

import subprocess

import gguf
import numpy as np
import pytest
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType

GGUF_TYPES = "F32 F16 BF16 Q8_0 Q4_0 Q4_1 Q5_0 Q5_1 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS".split()
# Where the f16 scales lie in a block.
HALVES = {
    "Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q2_K": [80, 82], "Q3_K": [108],
    "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0],
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
