"""A user's machine beside the hub of hub_server.py, for the tests of downloads."""

import json
import os
import random
import subprocess
import sys

import pytest
from conftest import ROOT
from hub_server import Hub, Repo

LLAMA = ROOT / "tests/golden/llama"
MEBIBYTE = 1 << 20


def read_folder(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.suffix in (".json", ".safetensors")
            and not p.name.startswith("expected")}


def safetensors_bytes(size, seed=0, padding=0):
    header = json.dumps({"x": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode() + b" " * padding
    return len(header).to_bytes(8, "little") + header + random.Random(seed).randbytes(size)


def weights_repo(size=3 * MEBIBYTE, **options):
    """What `info` can show: it needs no known architecture."""
    files = {"config.json": b'{"architectures": ["Any"]}', "tokenizer.json": b"{}", "README.md": b"hello",
             "model.safetensors": safetensors_bytes(size), "pytorch_model.bin": b"pickle" * 100}
    return Repo(files, lfs=("model.safetensors", "pytorch_model.bin"), **options)


@pytest.fixture
def hub():
    hub = Hub()
    hub.repos["org/name"] = weights_repo()
    hub.repos["org/llama"] = Repo(read_folder(LLAMA), lfs=("model.safetensors",))
    yield hub
    hub.close()


class World:
    """A user's machine: its own cache, and no settings of the machine that the tests run on."""

    def __init__(self, lissom, hub, folder):
        self.lissom, self.hub, self.home = lissom, hub, folder / "hf"
        self.cache, self.folder = self.home / "hub", folder
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING", "TRANSFORMERS_"))
                and not k.lower().endswith("_proxy")}
        self.environment = kept | {"HF_HOME": str(self.home), "HF_ENDPOINT": hub.url, "HOME": str(folder),
                                   "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}

    def start(self, *words, **variables):
        return subprocess.Popen([str(self.lissom), *map(str, words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                text=True, stdin=subprocess.DEVNULL, cwd=self.folder,
                                env=self.environment | variables)

    def run(self, *words, **variables):
        process = self.start(*words, **variables)
        out, error = process.communicate(timeout=60)
        return subprocess.CompletedProcess(words, process.returncode, out, error)

    def good(self, *words, **variables):
        done = self.run(*words, **variables)
        assert done.returncode == 0, done.stderr
        return done

    def bad(self, *words, **variables):
        """The one line that a refused command prints; it exits 2."""
        done = self.run(*words, **variables)
        assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
        assert done.stdout == ""
        return next(line for line in done.stderr.splitlines() if line.startswith("lissom: error: "))

    def python(self, program, **variables):
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120,
                              env=self.environment | variables)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout.strip()

    def repo(self, name="org/name"):
        return self.cache / ("models--" + name.replace("/", "--"))

    def blobs(self, name="org/name"):
        folder = self.repo(name) / "blobs"
        return sorted(p.name for p in folder.iterdir()) if folder.exists() else []


@pytest.fixture
def world(lissom, hub, tmp_path):
    return World(lissom, hub, tmp_path)


def weight_etag(hub, name="org/name"):
    return hub.repos[name].etag("model.safetensors")
