"""Folders for vLLM and transformers, held to the programs that load them: the weights that compressed-tensors and
gptqmodel decode are lissom's own, bit for bit, and so are the logits, as far as the loader computes in F32."""

import json
import os
import shutil

import numpy as np
import pytest
from conftest import ROOT, json_of, run
from engine import relative_error, run_model

os.environ["TORCHDYNAMO_DISABLE"] = "1"  # compiling a kernel takes longer than all the tests

IDS = list(range(5, 29))
COMPRESSED = "w4a16-g128 w4a16-g32 w8a16-g64 w4a16-g64-asym w8a8 fp8 nvfp4a16 mxfp4a16".split()
# transformers 5.23 keeps packed weights packed until they are used. But then it gives packed zero points the unpacked
# shape, and floats of four bits become BF16 whatever the model computes in: these are unpacked while they are loaded.
UNPACKED_WHEN_LOADED = {"w4a16-g64-asym", "nvfp4a16", "mxfp4a16"}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A seeded llama of two layers in F16."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(1)
    folder = tmp_path_factory.mktemp("exports") / "tiny"
    size = dict(hidden_size=256, intermediate_size=512, num_attention_heads=8, num_key_value_heads=4, vocab_size=288)
    config = LlamaConfig(**size, num_hidden_layers=2, tie_word_embeddings=False, initializer_range=0.1)
    LlamaForCausalLM(config).half().save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(ROOT / "tests/golden/llama" / file, folder / file)
    return folder


def export(lissom, model, out, form, scheme):
    run(lissom, "compress", model, "-o", out, "--format", form, "-s", scheme, "--calib", "none", "--no-verify", "-q")
    return out


def own_weights(lissom, folder, tmp_path):
    """What lissom decodes, in F32."""
    from safetensors.torch import load_file

    run(lissom, "convert", folder, tmp_path / "f32", "--type", "F32")
    return load_file(tmp_path / "f32/model.safetensors")


def own_logits(tool, folder, tmp_path):
    vocab = json.loads((folder / "config.json").read_text())["vocab_size"]
    return run_model(tool, folder, [IDS], tmp_path, vocab, exact=True)


def load(folder, dtype, **options):
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype), **options)


def logits_of(model):
    import torch

    with torch.no_grad():
        return model(torch.tensor([IDS])).logits[0].float().numpy()


def linear_layers(model):
    return [name for name, _ in model.named_modules() if name.endswith("_proj")]


@pytest.mark.parametrize("scheme", COMPRESSED)
def test_compressed_tensors_decodes_the_same_weights(lissom, tiny, tmp_path, scheme):
    import torch
    from transformers import CompressedTensorsConfig

    folder = export(lissom, tiny, tmp_path / "out", "compressed-tensors", scheme)
    mine = own_weights(lissom, folder, tmp_path)
    theirs = load(folder, "float32", quantization_config=CompressedTensorsConfig(dequantize=True))
    # It multiplies in the type of the scales, and floats of four bits in BF16; lissom in F32, which is exact.
    rounded = torch.bfloat16 if "fp4" in scheme else torch.float16
    names = linear_layers(theirs)
    assert len(names) == 14
    for name in names:
        expected = mine[name + ".weight"].to(rounded).float()
        assert torch.equal(theirs.get_submodule(name).weight, expected), name


@pytest.mark.parametrize("scheme", COMPRESSED)
def test_transformers_gives_the_same_logits(lissom, tool, tiny, tmp_path, scheme):
    from transformers import CompressedTensorsConfig

    folder = export(lissom, tiny, tmp_path / "out", "compressed-tensors", scheme)
    mine = own_logits(tool, folder, tmp_path)
    if scheme in UNPACKED_WHEN_LOADED:
        model = load(folder, "float32", quantization_config=CompressedTensorsConfig(dequantize=True))
        # The package rounds what it unpacks to F16, floats of four bits to BF16: weights move by up to 2^-11 and 2^-9
        # of themselves. A power of two times such a float is exact.
        assert relative_error(mine, logits_of(model)) < {"nvfp4a16": 2e-2, "mxfp4a16": 1e-3}.get(scheme, 5e-3)
        if "fp4" in scheme:  # and as it is loaded by itself, all in BF16
            assert relative_error(mine, logits_of(load(folder, "bfloat16"))) < 0.1
        return
    model = load(folder, "float32")
    if scheme in ("w8a8", "fp8"):
        # Rounding to INT8 moves an activation by up to 1/254 of its token's largest, to E4M3 by up to 1/16 of itself:
        # fourteen layers of a random model make of it at most some tens of percent of the largest logit. What must be
        # the same is what is left when it is off.
        assert 1e-3 < relative_error(mine, logits_of(model)) < 0.3
        for name in linear_layers(model):
            model.get_submodule(name).quantization_scheme.input_activations = None
    assert relative_error(mine, logits_of(model)) < 1e-3


def gptqmodel_weight(layer, form):
    """out × in, by the package's own decoder, in F32: it computes in the type of the scales."""
    layer.scales = layer.scales.float()
    if form != "awq":
        return layer.dequantize_weight().T
    from gptqmodel.quantization.awq.utils.packing_utils import dequantize_gemm

    parts = dict(qweight=layer.qweight, qzeros=layer.qzeros, scales=layer.scales)
    return dequantize_gemm(**parts, bits=4, group_size=layer.group_size).T


@pytest.mark.parametrize(
    ("form", "scheme"),
    [
        ("gptq", "w4a16-g128"),
        ("gptq", "w4a16-g64-asym"),
        ("gptq", "w8a16-g32"),
        ("gptq", "w3a16-g64-asym"),
        ("gptq", "w2a16-g32-asym"),
        ("gptq_v2", "w4a16-g128"),
        ("gptq_v2", "w4a16-g32-asym"),
        ("awq", "w4a16-g128-asym"),
        ("awq", "w4a16-g32-asym"),
    ],
)
def test_gptqmodel_decodes_and_runs_the_same(lissom, tool, tiny, tmp_path, form, scheme):
    import torch
    from transformers import AwqConfig, GPTQConfig, LlamaConfig, LlamaForCausalLM

    folder = export(lissom, tiny, tmp_path / "out", form, scheme)
    mine = own_weights(lissom, folder, tmp_path)
    # Its plain kernel: the faster ones are compiled when they are first loaded.
    wanted = AwqConfig(backend="torch_awq") if form == "awq" else GPTQConfig(bits=4, backend="torch")
    theirs = load(folder, "float16", device_map="cpu", quantization_config=wanted)
    logits = own_logits(tool, folder, tmp_path)
    assert relative_error(logits, logits_of(theirs)) < 1e-2  # it computes in F16
    plain = LlamaForCausalLM(LlamaConfig.from_pretrained(tiny)).eval()
    plain.load_state_dict({name: weight.float() for name, weight in mine.items()})
    names = linear_layers(theirs)
    assert len(names) == 14
    for name in names:
        weight = gptqmodel_weight(theirs.get_submodule(name), form)
        assert weight.dtype == torch.float32
        assert torch.equal(weight, mine[name + ".weight"]), name
        plain.get_submodule(name).weight.data = weight
    assert relative_error(logits, logits_of(plain)) < 1e-3


def test_a_real_model_from_a_gguf(lissom, tool, smollm2_gguf, tmp_path):
    """SmolLM2: tied head, tokenizer and configuration made from the GGUF's metadata, rows of 576."""
    from transformers import AutoTokenizer

    folder = export(lissom, smollm2_gguf, tmp_path / "out", "compressed-tensors", "w4a16-g64")
    assert relative_error(own_logits(tool, folder, tmp_path), logits_of(load(folder, "float32"))) < 1e-3
    text = "The lissom cat sat, and sat."
    ids = AutoTokenizer.from_pretrained(folder)(text)["input_ids"]
    assert json_of(lissom, "tokenize", folder, text, "--json")["ids"] == ids


def test_compress_measures_a_folder_and_eval_agrees(lissom, smollm2, text, tmp_path):
    words = ["--calib", text, "--calib-chunks", "8", "--eval-chunks", "2", "--ctx", "256", "--json", "-q"]
    made = json_of(lissom, "compress", smollm2, "-o", tmp_path / "out", "--format", "gptq", "-s", "w4a16-g32", *words)
    result = made["results"][0]
    assert 0 < result["eval"]["kld_mean"] < 0.3
    assert 4.5 < result["bits_per_weight"] < 9  # the embeddings of so small a model are a fifth of it
    info = json_of(lissom, "info", tmp_path / "out", "--json")
    assert info["packed_by"] == "gptq"
    assert info["parameters"] == 134515008
    assert info["bits_per_weight"] == pytest.approx(result["bits_per_weight"], rel=1e-3)
    assert {"gptq", "F16"} == {t["type"] for t in info["types"]}
    ids = json_of(lissom, "tokenize", tmp_path / "out", "Once upon a time", "--json")["ids"]
    assert ids == json_of(lissom, "tokenize", smollm2, "Once upon a time", "--json")["ids"]
    assert (tmp_path / "out/tokenizer.json").read_bytes() == (smollm2 / "tokenizer.json").read_bytes()


def test_every_codec_becomes_a_plain_folder(lissom, tiny, tmp_path):
    """`convert FILE FOLDER --type BF16` writes what the file's weights stand for, as the gguf package decodes them."""
    import gguf
    import torch
    from safetensors.torch import load_file

    names = "Q8_0 Q6_K Q5_K_M Q5_0 Q5_1 Q4_K_M Q4_0 Q4_1 Q3_K_M Q2_K IQ4_NL IQ4_XS TQ1_0 TQ2_0 MXFP4_MOE F16 BF16".split()
    names += "IQ3_S IQ3_XXS IQ2_S IQ2_XS IQ2_XXS IQ1_S IQ1_M".split()
    seen = set()
    for name in names:
        scheme = tmp_path / f"{name}.yaml"
        # As if statistics were there: what is asked is how types decode.
        scheme.write_text(f"base: {name}\nneeds_imatrix: []\n")
        file, folder = tmp_path / f"{name}.gguf", tmp_path / name
        run(lissom, "compress", tiny, "-o", file, "-s", scheme, "--calib", "none", "--no-verify", "-q")
        run(lissom, "convert", file, folder, "--type", "BF16")
        written = load_file(folder / "model.safetensors")
        for tensor in gguf.GGUFReader(file).tensors:
            if not tensor.name.endswith(("ffn_down.weight", "ffn_up.weight", "token_embd.weight")):
                continue
            seen.add(tensor.tensor_type.name)
            values = torch.from_numpy(gguf.dequantize(tensor.data, tensor.tensor_type).astype(np.float32))
            hf = (
                "model.embed_tokens.weight"
                if tensor.name == "token_embd.weight"
                else f"model.layers.{tensor.name.split('.')[1]}.mlp.{tensor.name.split('.')[2][4:]}_proj.weight"
            )
            assert torch.equal(written[hf], values.bfloat16()), (name, tensor.name)
    assert len(seen) >= 20, seen


def test_errors_are_one_line(lissom, tiny, tmp_path):
    import subprocess

    def refused(*words):
        done = subprocess.run([str(w) for w in (lissom, *words)], capture_output=True, text=True)
        assert done.returncode == 2, words
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        return done.stderr

    compress = ["compress", tiny, "-o", tmp_path / "x", "--calib", "none", "--no-verify", "-q"]
    assert "awq has no scheme 'w8a8'; there are" in refused(*compress, "--format", "awq", "-s", "w8a8")
    assert "name one scheme" in refused(*compress, "--format", "awq", "--size", "80MB")
    assert not (tmp_path / "x").exists()
    folder = export(lissom, tiny, tmp_path / "out", "gptq", "w4a16-g128")
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"]["group_size"] = 32
    (folder / "config.json").write_text(json.dumps(config))
    assert "qzeros' has shape" in refused("run", folder, "-p", "x")
    config["quantization_config"] = {"quant_method": "hqq"}
    (folder / "config.json").write_text(json.dumps(config))
    assert "quantization_config: field 'quant_method': 'hqq' is not read" in refused("run", folder, "-p", "x")
