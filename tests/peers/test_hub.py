"""Models of the hub, from a hub on this machine (hub_server.py): what is downloaded and where it lies, who gets the token,
and that huggingface_hub and transformers share the cache both ways. test_hub_faults.py has what goes wrong."""

import json
import os
import subprocess
import sys
import time

import pytest
from hub_server import TOKEN, Repo, status
from hub_world import LLAMA, hub, read_folder, safetensors_bytes, weight_etag, weights_repo, world


# ---------------------------------------------------------------- the plain way


def test_downloads_what_is_needed_into_the_standard_layout(world, hub):
    done = world.good("download", "org/name", "--json")
    assert json.loads(done.stdout)
    repo, at = hub.repos["org/name"], world.repo()
    needed = ["config.json", "tokenizer.json", "model.safetensors"]
    assert sorted(p.name for p in (at / "snapshots" / repo.commit).iterdir()) == sorted(needed)
    assert world.blobs() == sorted(repo.etag(p) for p in needed)
    for path in needed:
        link = at / "snapshots" / repo.commit / path
        assert os.readlink(link) == f"../../blobs/{repo.etag(path)}"
        assert link.read_bytes() == repo.files[path]
    assert (at / "refs/main").read_text() == repo.commit
    assert (at / ".no_exist" / repo.commit / "added_tokens.json").read_bytes() == b""
    assert (world.cache / "CACHEDIR.TAG").read_bytes().startswith(b"Signature: 8a477f597d28d172789f06886806bc55")
    assert not hub.asked(on="README") and not hub.asked(on=repo.etag("pytorch_model.bin"))
    assert "download" in done.stderr and "100%" in done.stderr


def test_a_second_time_asks_for_the_listing_alone(world, hub):
    world.good("download", "org/name")
    hub.requests.clear()
    done = world.good("download", "org/name")
    assert [r["path"] for r in hub.requests] == ["/api/models/org/name/revision/main?blobs=true"]
    assert "download" not in done.stderr


@pytest.mark.parametrize("words", [["run", "{}", "-p", "hello", "-n", "2"], ["bench", "{}", "--prompt", "4",
                                   "--generate", "2", "--repeats", "1", "--no-probe"], ["convert", "{}", "out.gguf"],
                                   ["eval", "{}", "--text", "text.txt", "--ctx", "8", "--against", "{}"],
                                   ["compress", "{}", "--scheme", "Q8_0", "--calib", "none", "--no-verify"],
                                   ["tokenize", "{}", "hello"], ["info", "{}"]], ids=lambda w: w[0])
def test_every_verb_takes_org_name(world, hub, words):
    (world.folder / "text.txt").write_text("hello world " * 50)
    world.good(*[w.format("org/llama") for w in words])
    if words[0] == "compress":
        assert [p.name for p in world.folder.glob("*.gguf")] == ["llama-Q8_0.gguf"]
    weights_were_asked = bool(hub.asked(cdn=True))
    assert weights_were_asked == (words[0] != "tokenize")


def test_a_sharded_model_comes_several_files_at_once(world, hub):
    shards = {f"model-0000{i}-of-00004.safetensors": safetensors_bytes(1000, i) for i in range(1, 5)}
    index = {"weight_map": {f"x{i}": name for i, name in enumerate(shards)}}
    files = shards | {"config.json": b"{}", "model.safetensors.index.json": json.dumps(index).encode(),
                      "consolidated.safetensors": safetensors_bytes(50)}
    hub.repos["org/sharded"] = Repo(files, lfs=[*shards, "consolidated.safetensors"])
    hub.delay = 0.3
    world.run("download", "org/sharded")
    snapshot = world.repo("org/sharded") / "snapshots" / hub.repos["org/sharded"].commit
    assert {p.name for p in snapshot.iterdir()} == set(files) - {"consolidated.safetensors"}
    assert hub.most_busy >= 3


def test_ggufs_by_name_and_by_tag(world, hub, tmp_path):
    world.good("convert", LLAMA, "m.gguf")
    data = (tmp_path / "m.gguf").read_bytes()
    names = ["m-Q4_K.gguf", "m-Q4_K_M.gguf", "sub/m-F32.gguf"]
    hub.repos["org/ggufs"] = Repo({n: data + b"\0" * i for i, n in enumerate(names)} | {"README.md": b"x"}, lfs=names)
    error = world.bad("download", "org/ggufs")
    assert all(n in error for n in names) and "org/ggufs:" in error
    assert world.blobs("org/ggufs") == []
    world.good("tokenize", "org/ggufs/sub/m-F32.gguf", "hello")
    world.good("tokenize", "org/ggufs:q4_k", "hello")
    assert set(world.blobs("org/ggufs")) == {hub.repos["org/ggufs"].etag(n) for n in (names[0], names[2])}
    world.good("tokenize", "hf://org/ggufs:Q4_K", "hello", HF_HUB_OFFLINE="1")


def test_pickles_are_refused_and_not_downloaded(world, hub):
    hub.repos["org/old"] = Repo({"config.json": b"{}", "pytorch_model.bin": b"pickle"})
    error = world.bad("run", "org/old", "-p", "x")
    assert "org/old" in error and "pytorch_model.bin" in error and "save_pretrained" in error
    assert not hub.asked(on="pytorch_model.bin")


def test_a_local_path_wins(world, hub, tmp_path):
    folder = tmp_path / "org/name"
    folder.mkdir(parents=True)
    for name, data in read_folder(LLAMA).items():
        (folder / name).write_bytes(data)
    world.good("download", "org/name")
    world.bad("download", "org/absent.gguf")
    assert hub.requests == []


# ---------------------------------------------------------------- headers alone


def test_info_and_check_download_no_weights(world, hub):
    whole = json.loads(world.good("info", "org/llama", "--json").stdout)
    world.good("check", "org/llama", "--no-time", "--scheme", "Q8_0")
    etag = weight_etag(hub, "org/llama")
    assert etag not in world.blobs("org/llama") and not (world.repo("org/llama") / "refs").exists()
    assert [r["headers"]["range"] for r in hub.asked(cdn=True)] == [
        f"bytes=0-{len(hub.repos['org/llama'].files['model.safetensors']) - 1}"]  # small, and asked for once
    local = json.loads(world.good("info", LLAMA, "--json").stdout)
    assert {k: v for k, v in whole.items() if whole[k] != local.get(k)}.keys() <= {"path", "files"}
    # The headers are never taken for weights.
    text = [world.good("run", m, "-p", "hello", "-n", "8", "--temperature", "0", "-q").stdout for m in ("org/llama", LLAMA)]
    assert text[0] == text[1] and etag in world.blobs("org/llama")


@pytest.mark.parametrize("no_ranges", [False, True])
def test_a_large_file_is_not_read_for_its_header(world, hub, no_ranges):
    size = len(hub.repos["org/name"].files["model.safetensors"])
    if no_ranges:
        hub.fail(weight_etag(hub), times=9, no_ranges=True)
    world.good("info", "org/name")
    assert hub.asked(cdn=True)[0]["headers"]["range"] == "bytes=0-262143"
    assert world.blobs() == sorted(hub.repos["org/name"].etag(p) for p in ("config.json", "tokenizer.json"))
    sparse = list((world.folder / ".cache/lissom/headers").rglob("model.safetensors"))
    assert [p.stat().st_size for p in sparse] == [size]
    assert sparse[0].stat().st_blocks * 512 < size / 4


def test_a_long_header_takes_a_second_request(world, hub):
    data = safetensors_bytes(100, padding=400_000)
    hub.repos["org/long"] = Repo({"config.json": b"{}", "model.safetensors": data}, lfs=["model.safetensors"])
    world.good("info", "org/long")
    assert len(hub.asked(cdn=True)) == 2


@pytest.mark.parametrize("data", [b"", b"short", (1 << 60).to_bytes(8, "little") + b"{}", (200).to_bytes(8, "little")])
def test_hostile_headers(world, hub, data):
    hub.repos["org/bad"] = Repo({"config.json": b"{}", "model.safetensors": data}, lfs=["model.safetensors"])
    error = world.bad("info", "org/bad")
    assert "org/bad" in error and "model.safetensors" in error


# ---------------------------------------------------------------- revisions, redirects of renamed repositories


def test_revisions(world, hub):
    repo = hub.repos["org/name"]
    repo.revisions |= {"v1.0": repo.commit, "refs/pr/7": repo.commit}
    world.good("download", "org/name", "--revision", "v1.0")
    world.good("download", "org/name", "--revision", "refs/pr/7")
    world.good("download", "org/name@v1.0")
    refs = world.repo() / "refs"
    assert sorted(str(p.relative_to(refs)) for p in refs.rglob("*") if p.is_file()) == ["refs/pr/7", "v1.0"]
    assert len(hub.asked(cdn=True)) == 1
    hub.requests.clear()
    world.good("download", "org/name", "--revision", repo.commit)
    assert hub.requests == []  # a commit never changes
    error = world.bad("download", "org/name", "--revision", "dev")
    assert "org/name: has no revision 'dev'" in error


def test_a_renamed_repository_is_found(world, hub):
    hub.moved["old/name"] = "org/name"
    world.good("download", "old/name")
    assert world.blobs("old/name")


def test_a_listing_without_sizes_is_completed_by_head_requests(world, hub):
    hub.bare = True
    world.good("download", "org/name")
    assert len(hub.asked(method="HEAD")) == 3
    assert not hub.asked(method="HEAD", cdn=True)
    assert weight_etag(hub) in world.blobs()


# ---------------------------------------------------------------- the token


def authorizations(records):
    return {r["headers"].get("authorization") for r in records}


@pytest.mark.parametrize("source", ["variable", "file", "path"])
def test_the_token_goes_to_the_hub_and_to_nobody_else(world, hub, source):
    hub.repos["org/secret"] = weights_repo(1000, private=True, gated=True)
    world.home.mkdir()
    variables = {}
    if source == "variable":
        variables["HF_TOKEN"] = TOKEN
    elif source == "file":
        (world.home / "token").write_text(TOKEN + "\n")
    else:
        (world.folder / "elsewhere").write_text(TOKEN)
        variables["HF_TOKEN_PATH"] = str(world.folder / "elsewhere")
    world.good("download", "org/secret", **variables)
    assert authorizations(hub.asked(cdn=False)) == {f"Bearer {TOKEN}"}
    assert len(hub.asked(cdn=True)) == 1
    for record in hub.asked(cdn=True):
        assert TOKEN not in json.dumps(record)


def test_without_a_token_none_is_sent(world, hub):
    world.good("download", "org/name")
    assert authorizations(hub.requests) == {None}


def test_a_redirect_of_the_listing_does_not_take_the_token_along(world, hub):
    hub.fail("/api/", times=9, cdn=False, handle=lambda h: h.send(302, Location=hub.cdn_url + "/stolen"))
    world.bad("download", "org/name", HF_TOKEN=TOKEN)
    stolen = hub.asked(cdn=True, on="/stolen")
    assert stolen and authorizations(stolen) == {None}


def test_a_redirect_back_to_the_hub_may_have_the_token(world, hub):
    hub.repos["org/secret"] = weights_repo(1000, private=True)
    target = {}
    def there(handler):
        handler.send(302, Location=hub.url + target["path"])
    hub.fail("/once", cdn=True, handle=there)
    def away(handler):
        target["path"] = handler.path
        handler.send(302, Location=hub.cdn_url + "/once")
    hub.fail("/api/", cdn=False, handle=away)
    world.good("download", "org/secret", HF_TOKEN=TOKEN)
    assert authorizations(hub.asked(cdn=True)) == {None}


def test_the_token_is_never_printed(world, hub):
    for variables in ({"HF_TOKEN": TOKEN}, {"HF_TOKEN": TOKEN + "\r\nX-Evil: 1"}):
        done = world.run("download", "org/absent", **variables)
        assert done.returncode == 2 and TOKEN not in done.stderr + done.stdout
    assert not any("x-evil" in r["headers"] for r in hub.requests)


# ---------------------------------------------------------------- without the hub


def test_offline(world, hub):
    error = world.bad("download", "org/name", HF_HUB_OFFLINE="1")
    assert "org/name" in error and "HF_HUB_OFFLINE" in error and str(world.cache) in error
    world.good("download", "org/name")
    hub.requests.clear()
    world.good("download", "org/name", HF_HUB_OFFLINE="1")
    world.good("download", "org/name", TRANSFORMERS_OFFLINE="true")
    assert hub.requests == []


def test_a_hub_that_cannot_be_reached(world, hub):
    nobody = "http://localhost:1"
    world.good("download", "org/name")
    done = world.good("download", "org/name", HF_ENDPOINT=nobody)
    assert "warning" in done.stderr and "in the cache is used" in done.stderr
    error = world.bad("download", "org/other", HF_ENDPOINT=nobody)
    assert "org/other: no such file or folder here" in error and "localhost:1" in error


def test_a_broken_hub_does_not_keep_the_cache_from_being_used(world, hub):
    world.good("download", "org/name")
    hub.fail("/api/", times=99, handle=status(503))
    done = world.good("download", "org/name")
    assert "in the cache is used" in done.stderr


# ---------------------------------------------------------------- several processes


def test_processes_that_start_at_once_download_once(world, hub):
    hub.delay = 0.4
    processes = [world.start("download", "org/name") for _ in range(4)]
    for process in processes:
        _, error = process.communicate(timeout=60)
        assert process.returncode == 0, error
    assert hub.sent(weight_etag(hub)) == len(hub.repos["org/name"].files["model.safetensors"])
    assert len(hub.asked(cdn=True)) == 1


def test_the_lock_of_huggingface_hub_is_waited_for(world, hub):
    lock = world.cache / ".locks/models--org--name" / (weight_etag(hub) + ".lock")
    program = f"""
import pathlib, time
from huggingface_hub.utils import WeakFileLock
path = pathlib.Path({str(lock)!r})
path.parent.mkdir(parents=True)
with WeakFileLock(path):
    print("held", flush=True)
    input()
"""
    holder = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                              env=world.environment)
    try:
        assert holder.stdout.readline() == "held\n"
        process = world.start("download", "org/name")
        deadline = time.time() + 20
        while len(hub.asked(on="resolve")) < 2 and time.time() < deadline:
            time.sleep(0.05)
        time.sleep(0.5)
        assert process.poll() is None and not hub.asked(cdn=True)
        holder.communicate("\n", timeout=20)
        _, error = process.communicate(timeout=20)
        assert process.returncode == 0 and "another process" in error
        assert len(hub.asked(cdn=True)) == 1
    finally:
        holder.kill()


# ---------------------------------------------------------------- beside huggingface_hub and transformers


def test_huggingface_hub_finds_what_lissom_downloaded(world, hub):
    world.good("download", "org/llama")
    hub.requests.clear()
    repo = hub.repos["org/llama"]
    found = json.loads(world.python(f"""
import json
from huggingface_hub import hf_hub_download, snapshot_download, try_to_load_from_cache, _CACHED_NO_EXIST, scan_cache_dir
assert try_to_load_from_cache("org/llama", "added_tokens.json") is _CACHED_NO_EXIST
assert try_to_load_from_cache("org/llama", "unheard-of.json") is None
info = scan_cache_dir()
assert not info.warnings, info.warnings
print(json.dumps([snapshot_download("org/llama", local_files_only=True),
                  try_to_load_from_cache("org/llama", "model.safetensors"),
                  hf_hub_download("org/llama", "config.json", local_files_only=True),
                  [r.repo_id for r in info.repos], sorted(f.file_name for r in info.repos for v in r.revisions for f in v.files)]))
"""))
    snapshot = world.repo("org/llama") / "snapshots" / repo.commit
    assert found == [str(snapshot), str(snapshot / "model.safetensors"), str(snapshot / "config.json"), ["org/llama"],
                     sorted(repo.files)]
    assert hub.requests == []
    assert world.python("from huggingface_hub import snapshot_download; print(snapshot_download('org/llama'))") == str(
        snapshot)
    assert hub.asked(cdn=True) == []  # all blobs were there


def test_transformers_loads_what_lissom_downloaded(world, hub):
    world.good("download", "org/llama")
    assert world.python("""
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained("org/llama")
print(type(model).__name__, len(AutoTokenizer.from_pretrained("org/llama")("hello").input_ids) > 0)
""", HF_HUB_OFFLINE="1") == "LlamaForCausalLM True"


def test_lissom_finds_what_huggingface_hub_downloaded(world, hub):
    world.python("from huggingface_hub import snapshot_download; snapshot_download('org/llama')")
    hub.requests.clear()
    world.good("download", "org/llama", HF_HUB_OFFLINE="1")
    assert hub.requests == []
    world.good("download", "org/llama")
    assert [r["path"] for r in hub.requests] == ["/api/models/org/llama/revision/main?blobs=true"]
    assert not list(world.repo("org/llama").rglob("*.incomplete"))


def test_lissom_completes_what_huggingface_hub_began(world, hub):
    world.python("from huggingface_hub import hf_hub_download; hf_hub_download('org/llama', 'config.json')")
    assert "lacks model.safetensors" in world.bad("download", "org/llama", HF_HUB_OFFLINE="1")
    hub.requests.clear()
    world.good("download", "org/llama")
    assert not hub.asked(on="resolve/" + hub.repos["org/llama"].commit + "/config.json")
    assert len(hub.asked(cdn=True)) == 1
