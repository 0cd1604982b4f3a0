"""Low rank: whitened SVD beside plain SVD at the same rank, and the policy of K projections alone.

Every row is a pack that `lissom compress` writes and `lissom eval` or `diagnose` judges on text that calibration never
saw. Memory and speed are those of `lissom run` in a process of its own: its peak, and what is resident while it generates.

    python bench/low_rank.py rank MODEL --calib calib.txt --text held-out.txt
    python bench/low_rank.py policy MODEL [MODEL …] --text held-out.txt
    TRAINED=FOLDER python bench/low_rank.py neo OUT    # writes a model of GPT-Neo 125M's shape to try the policy on
"""

import argparse
import json
import os
import pathlib
import subprocess
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
K = r"attn_k\.weight"
LISSOM = os.environ.get("LISSOM_BIN", str(ROOT / "build/release/lissom"))


def lissom(*arguments):
    command = [LISSOM, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout


def pack(model, out, codec, match, default, *options):
    """Writes a pack in which the tensors that match have this codec."""
    scheme = out.with_suffix(".yaml")
    rules = [(match, codec)]
    if match == K:  # the middle third of a fused q, k, v
        rules.append((r"attn_qkv\.weight", f"stacked_v1:{default}|{codec}|{default}"))
    lines = [f"  - {{match: '{m}', codec: '{c}'}}\n" for m, c in rules]
    scheme.write_text(f"name: bench\ndefault: {default}\ntensors:\n" + "".join(lines))
    lissom("compress", model, "-o", out, "--format", "pack", "-s", scheme, "--no-verify", "-q", *options)
    return out


def kld(base, model, text, chunks):
    return json.loads(lissom("eval", model, "--against", base, "--text", text, "--chunks", chunks, "--json"))


def rank(arguments, folder):
    out = folder / "a.safetensors"
    imatrix = folder / "a.imatrix"
    print("| tensors | codec | bits | plain SVD, KLD | by importance | whitened | plain / whitened |")
    print("|---|---|---|---|---|---|---|")
    for match, codec in [item.split("=") for item in arguments.cases]:
        figures = []
        for options in (
            ("--calib", "none"),
            ("--imatrix", imatrix),
            ("--calib", arguments.calib, "--calib-chunks", arguments.calib_chunks),
        ):
            if options[0] == "--imatrix" and not imatrix.exists():
                lissom("compress", arguments.model[0], "-o", folder / "b.gguf", "-s", "Q8_0", "--calib",
                       arguments.calib, "--calib-chunks", arguments.calib_chunks, "--save-imatrix", imatrix,
                       "--no-verify", "--effort", "fast", "-q")  # fmt: skip
            pack(arguments.model[0], out, codec, match, "BF16", *options)
            figures.append(kld(arguments.model[0], out, arguments.text, arguments.chunks)["kld_mean"])
        info = json.loads(lissom("info", out, "--json"))
        bits = [t["bits_per_weight"] for t in info["types"] if t["type"].startswith("svd")]
        print(f"| `{match}` | {codec} | {min(bits):.2f} | {figures[0]:.4f} | {figures[1]:.4f} | {figures[2]:.4f} | "
              f"{figures[0] / figures[2]:.1f} × |", flush=True)  # fmt: skip


def resident(model, threads):
    """(peak MB, MB while it generates, prompt and generated tokens per second) of one process."""
    command = [LISSOM, "run", model, "-p", "The sea was calm " * 40, "-n", "96", "--ignore-eos", "--temperature", "0",
               "--json", "-q", "-t", str(threads)]  # fmt: skip
    process = subprocess.Popen([str(c) for c in command], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    seen, peak = [], [0.0]

    def watch():
        while process.poll() is None:
            try:
                status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
            except OSError:
                break
            fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
            if "VmRSS" in fields:
                seen.append(int(fields["VmRSS"].split()[0]) / 1e3)
                peak[0] = max(peak[0], int(fields["VmHWM"].split()[0]) / 1e3)
            time.sleep(0.01)

    thread = threading.Thread(target=watch)
    thread.start()
    result = json.loads(process.communicate()[0])
    thread.join()
    steady = sorted(seen[len(seen) // 2 :])
    return peak[0], steady[len(steady) // 2], result


def policy(arguments, folder):
    print("| model | file | MB | logits cosine | KLD | peak MB | steady MB | prompt/s | generated/s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for model in arguments.model:
        name = pathlib.Path(model).name
        rows = [("as it is, BF16", folder / "base.safetensors", None, ())]
        for codec in arguments.codecs:
            rows.append((f"K {codec}, plain", folder / "k.safetensors", codec, ("--calib", "none")))
            calibrated = ("--calib", arguments.calib, "--calib-chunks", arguments.calib_chunks)
            if arguments.calib:
                rows.append((f"K {codec}, whitened", folder / "k.safetensors", codec, calibrated))
        for label, out, codec, options in rows:
            pack(model, out, codec or "BF16", K, "BF16", *(options or ("--calib", "none")))
            found = json.loads(lissom("diagnose", model, out, "--text", arguments.text, "--chunks", arguments.chunks,
                                      "--scan-seconds", 0, "--no-generate", "--json", "-q"))["logits"]  # fmt: skip
            peak, steady, run = resident(out, arguments.threads)
            speeds = [run[k] for k in ("prompt_tokens_per_second", "generate_tokens_per_second") if k in run]
            speeds = speeds or [v for k, v in run.items() if k.endswith("per_second")]
            cells = [f"{v:.0f}" for v in speeds] + ["–"] * (2 - len(speeds))
            print(f"| {name} | {label} | {out.stat().st_size / 1e6:.1f} | {found['cosine']:.5f} | "
                  f"{found['kld_mean']:.5f} | {peak:.0f} | {steady:.0f} | {cells[0]} | {cells[1]} |", flush=True)  # fmt: skip


def neo(folder):
    """A model of GPT-Neo 125M's shape (Black et al. 2021): random, but each K projection has the singular values of one of a
    trained model's, since what rank it needs hangs on them. Attention is sharp without more: GPT-Neo divides no scores, whose
    deviation is 2.4 then. The tokenizer is the trained model's too."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GPTNeoConfig, GPTNeoForCausalLM

    torch.manual_seed(1)
    tokenizer = AutoTokenizer.from_pretrained(os.environ["TRAINED"])
    trained = AutoModelForCausalLM.from_pretrained(os.environ["TRAINED"], dtype=torch.float32).state_dict()
    spectra = [torch.linalg.svdvals(w) for name, w in trained.items() if name.endswith("k_proj.weight")]
    config = GPTNeoConfig(vocab_size=len(tokenizer), hidden_size=768, num_layers=12, num_heads=12, bos_token_id=0, eos_token_id=0,
                          attention_types=[[["global", "local"], 6]], max_position_embeddings=256)  # fmt: skip
    model = GPTNeoForCausalLM(config)
    with torch.no_grad():
        for layer, block in enumerate(model.transformer.h):
            k = block.attn.attention.k_proj.weight
            u, s, v = torch.linalg.svd(k)
            spectrum = spectra[layer * len(spectra) // 12][None, None]
            wanted = torch.nn.functional.interpolate(spectrum, len(s), mode="linear", align_corners=True)[0, 0]
            k.copy_(u @ torch.diag(wanted * s.norm() / wanted.norm()) @ v)
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("rank", "policy", "neo"))
    parser.add_argument("model", nargs="+")
    parser.add_argument("--calib")
    parser.add_argument("--calib-chunks", type=int, default=32)
    parser.add_argument("--text")
    parser.add_argument("--chunks", type=int, default=8)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--cases", nargs="+", default=[r"attn_k\.weight=svd_int8_v1:f0.5",
                        r"attn_(q|k)\.weight=svd_int8_v1:f0.5", r"blk.*weight=svd_int8_v1:f0.75"])  # fmt: skip
    parser.add_argument("--codecs", nargs="+", default=["svd_int8_v1:f0.75", "svd_int8_v1:f0.5"])
    arguments = parser.parse_args()
    if arguments.what == "neo":
        neo(arguments.model[0])
        return
    with tempfile.TemporaryDirectory() as folder:
        (rank if arguments.what == "rank" else policy)(arguments, pathlib.Path(folder))


if __name__ == "__main__":
    main()
