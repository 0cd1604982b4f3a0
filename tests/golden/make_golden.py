"""Makes the golden files: for each architecture a tiny model folder and transformers' outputs for it.

usage: make_golden.py [NAME…]     needs requirements/test.txt; writes beside itself
Each folder has the model and expected.json + expected.bin (F32, sequence after sequence).
"""

import json
import pathlib
import sys

import numpy as np
from tiny_models import HERE, MODELS, expected, make_inputs, tokenizer_kind, train_tokenizer, write_model

LENGTHS = [1, 7, 32]

for kind in ("word_piece", "byte_level"):
    if not (path := HERE / "tokenizers" / f"{kind}.json").exists():
        train_tokenizer(kind).save(str(path))

for name in sys.argv[1:] or MODELS:
    folder = HERE / name
    (folder / "tokenizer.json").unlink(missing_ok=True)  # a link: not to be written through
    model = write_model(name, folder)
    (folder / "tokenizer.json").unlink()
    (folder / "generation_config.json").unlink(missing_ok=True)
    (folder / "tokenizer.json").symlink_to(pathlib.Path("..", "tokenizers", tokenizer_kind(name) + ".json"))
    ids, types = make_inputs(name, seed=2, lengths=LENGTHS)
    what, rows = expected(model, ids, types)
    # A few features of each row are enough to see a difference, and keep the files small.
    step = max(1, rows[0].shape[-1] // 32)
    flat = np.concatenate([np.atleast_2d(r)[:, ::step].ravel() for r in rows]).astype("<f4")
    (folder / "expected.bin").write_bytes(flat.tobytes())
    (folder / "expected.json").write_text(json.dumps({"what": what, "sequences": ids, "types": types, "step": step}))
    print(name, sum(f.stat().st_size for f in folder.iterdir()) // 1024, "KiB")
