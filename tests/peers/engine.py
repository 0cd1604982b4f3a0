"""lissom's runtime as the tests call it, and the measures that they hold it to."""

import json
import subprocess

import numpy as np


def run_model(tool, model, sequences, tmp_path, width, **options):
    """F32 rows of `width` features, sequence after sequence. options: see tests/tools/logits.cpp."""
    out = tmp_path / "rows.bin"
    request = dict(model=str(model), out=str(out), sequences=sequences, **options)
    done = subprocess.run([tool("logits")], input=json.dumps(request).encode(), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return np.fromfile(out, "<f4").reshape(-1, width)


def relative_error(a, b):
    """max |a-b| / max |b|."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    assert a.shape == b.shape, (a.shape, b.shape)
    return np.abs(a - b).max() / np.abs(b).max()


def log_softmax(x):
    x = np.asarray(x, np.float64)
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def kl(exact, other):
    """KL(exact ‖ other) of each row, in nats."""
    p, q = log_softmax(exact), log_softmax(other)
    return (np.exp(p) * (p - q)).sum(-1)
