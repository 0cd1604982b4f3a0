"""Models of the hub, from a hub on this machine (hub_server.py): what is downloaded and where it lies, what happens when
things go wrong, and that huggingface_hub and transformers share the cache both ways."""

import hashlib
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import threading
import time

import pytest
from conftest import ROOT
from hub_server import TOKEN, Hub, Repo, status

LLAMA = ROOT / "tests/golden/llama"
MEBIBYTE = 1 << 20


def read_folder(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.suffix in (".json", ".safetensors")
            and not p.name.startswith("expected")}


def safetensors_bytes(size, seed=0):
    header = json.dumps({"x": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
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


# ---------------------------------------------------------------- the plain way


def test_downloads_what_is_needed_into_the_standard_layout(world, hub):
    done = world.good("info", "org/name", "--json")
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
    world.good("info", "org/name")
    hub.requests.clear()
    done = world.good("info", "org/name")
    assert [r["path"] for r in hub.requests] == ["/api/models/org/name/revision/main?blobs=true"]
    assert "download" not in done.stderr


@pytest.mark.parametrize("words", [["run", "{}", "-p", "hello", "-n", "2"], ["bench", "{}", "--prompt", "4",
                                   "--generate", "2", "--repeats", "1"], ["convert", "{}", "out.gguf"],
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
    world.run("info", "org/sharded")
    snapshot = world.repo("org/sharded") / "snapshots" / hub.repos["org/sharded"].commit
    assert {p.name for p in snapshot.iterdir()} == set(files) - {"consolidated.safetensors"}
    assert hub.most_busy >= 3


def test_ggufs_by_name_and_by_tag(world, hub, tmp_path):
    world.good("convert", LLAMA, "m.gguf")
    data = (tmp_path / "m.gguf").read_bytes()
    names = ["m-Q4_K.gguf", "m-Q4_K_M.gguf", "sub/m-F32.gguf"]
    hub.repos["org/ggufs"] = Repo({n: data + b"\0" * i for i, n in enumerate(names)} | {"README.md": b"x"}, lfs=names)
    error = world.bad("info", "org/ggufs")
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
    world.good("info", "org/name")
    world.bad("info", "org/absent.gguf")
    assert hub.requests == []


# ---------------------------------------------------------------- revisions, redirects of renamed repositories


def test_revisions(world, hub):
    repo = hub.repos["org/name"]
    repo.revisions |= {"v1.0": repo.commit, "refs/pr/7": repo.commit}
    world.good("info", "org/name", "--revision", "v1.0")
    world.good("info", "org/name", "--revision", "refs/pr/7")
    world.good("info", "org/name@v1.0")
    refs = world.repo() / "refs"
    assert sorted(str(p.relative_to(refs)) for p in refs.rglob("*") if p.is_file()) == ["refs/pr/7", "v1.0"]
    assert len(hub.asked(cdn=True)) == 1
    hub.requests.clear()
    world.good("info", "org/name", "--revision", repo.commit)
    assert hub.requests == []  # a commit never changes
    error = world.bad("info", "org/name", "--revision", "dev")
    assert "org/name: has no revision 'dev'" in error


def test_a_renamed_repository_is_found(world, hub):
    hub.moved["old/name"] = "org/name"
    world.good("info", "old/name")
    assert world.blobs("old/name")


def test_a_listing_without_sizes_is_completed_by_head_requests(world, hub):
    hub.bare = True
    world.good("info", "org/name")
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
    world.good("info", "org/secret", **variables)
    assert authorizations(hub.asked(cdn=False)) == {f"Bearer {TOKEN}"}
    assert len(hub.asked(cdn=True)) == 1
    for record in hub.asked(cdn=True):
        assert TOKEN not in json.dumps(record)


def test_without_a_token_none_is_sent(world, hub):
    world.good("info", "org/name")
    assert authorizations(hub.requests) == {None}


def test_a_redirect_of_the_listing_does_not_take_the_token_along(world, hub):
    hub.fail("/api/", times=9, cdn=False, handle=lambda h: h.send(302, Location=hub.cdn_url + "/stolen"))
    world.bad("info", "org/name", HF_TOKEN=TOKEN)
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
    world.good("info", "org/secret", HF_TOKEN=TOKEN)
    assert authorizations(hub.asked(cdn=True)) == {None}


def test_the_token_is_never_printed(world, hub):
    for variables in ({"HF_TOKEN": TOKEN}, {"HF_TOKEN": TOKEN + "\r\nX-Evil: 1"}):
        done = world.run("info", "org/absent", **variables)
        assert done.returncode == 2 and TOKEN not in done.stderr + done.stdout
    assert not any("x-evil" in r["headers"] for r in hub.requests)


# ---------------------------------------------------------------- connections that break


def test_a_dropped_connection_goes_on_where_it_broke(world, hub):
    size = len(hub.repos["org/name"].files["model.safetensors"])
    hub.fail(weight_etag(hub), drop_after=MEBIBYTE)
    hub.fail(weight_etag(hub), drop_after=MEBIBYTE)
    world.good("info", "org/name")
    ranges = [r["headers"].get("range") for r in hub.asked(cdn=True)]
    assert ranges == [None, f"bytes={MEBIBYTE}-", f"bytes={2 * MEBIBYTE}-"]
    assert hub.sent(weight_etag(hub)) == size  # no byte twice
    # The content network's own entity tags are not the hub's: a condition would never hold there.
    assert all("if-range" not in r["headers"] for r in hub.asked(cdn=True))


def test_a_small_file_is_resumed_under_its_entity_tag(world, hub):
    repo = hub.repos["org/name"]
    repo.files["tokenizer.json"] = json.dumps(list(range(10000))).encode()
    hub.fail("tokenizer.json", cdn=False, drop_after=1000)
    world.good("info", "org/name")
    asked = hub.asked(cdn=False, on="tokenizer.json")
    assert [r["headers"].get("range") for r in asked] == [None, "bytes=1000-"]
    assert asked[1]["headers"]["if-range"] == f'"{repo.etag("tokenizer.json")}"'
    assert hub.sent("tokenizer.json") == len(repo.files["tokenizer.json"])


def stop_in_the_middle(world, hub, how):
    """Ends `info` with a signal when the half of the weights is there; the path of what is left."""
    left = world.repo() / "blobs" / (weight_etag(hub) + ".incomplete")
    event = threading.Event()
    hub.fail(weight_etag(hub), drop_after=MEBIBYTE, wait=event, wait_s=30)
    process = world.start("info", "org/name")
    deadline = time.time() + 20
    while not (left.exists() and left.stat().st_size == MEBIBYTE):
        assert time.time() < deadline and process.poll() is None
        time.sleep(0.02)
    process.send_signal(how)
    out, error = process.communicate(timeout=20)
    event.set()
    return left, process.returncode, error


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_next_run_goes_on_where_a_signal_ended_this_one(world, hub, how):
    left, code, error = stop_in_the_middle(world, hub, how)
    assert code == (-9 if how == signal.SIGKILL else 130), error
    assert left.stat().st_size == MEBIBYTE
    assert not (world.repo() / "refs").exists()  # a branch never names half a snapshot
    world.good("info", "org/name")
    assert hub.asked(cdn=True)[-1]["headers"]["range"] == f"bytes={MEBIBYTE}-"
    assert hub.sent(weight_etag(hub)) == len(hub.repos["org/name"].files["model.safetensors"])
    assert not left.exists()


def test_what_an_older_huggingface_hub_left_is_taken_up(world, hub):
    blobs = world.repo() / "blobs"
    blobs.mkdir(parents=True)
    data = hub.repos["org/name"].files["model.safetensors"]
    (blobs / (weight_etag(hub) + ".incomplete")).write_bytes(data[:12345])
    world.good("info", "org/name")
    assert hub.sent(weight_etag(hub)) == len(data) - 12345


def test_a_server_without_ranges_sends_the_file_again(world, hub):
    hub.fail(weight_etag(hub), drop_after=MEBIBYTE)
    hub.fail(weight_etag(hub), no_ranges=True)
    world.good("info", "org/name")
    assert hub.sent(weight_etag(hub)) == MEBIBYTE + len(hub.repos["org/name"].files["model.safetensors"])


def test_a_connection_that_never_gets_further_is_given_up(world, hub):
    hub.fail(weight_etag(hub), times=99, drop_after=0)
    error = world.bad("info", "org/name")
    assert "org/name: model.safetensors" in error and "goes on from there" in error
    assert 3 <= len(hub.asked(cdn=True)) <= 6


# ---------------------------------------------------------------- wrong bytes


def test_a_wrong_checksum_is_downloaded_again(world, hub):
    hub.fail(weight_etag(hub), corrupt=True)
    done = world.good("info", "org/name")
    assert "warning: model.safetensors: wrong checksum" in done.stderr
    blob = world.repo() / "blobs" / weight_etag(hub)
    assert hashlib.sha256(blob.read_bytes()).hexdigest() == weight_etag(hub)


@pytest.mark.parametrize("path", ["model.safetensors", "tokenizer.json"])
def test_a_wrong_checksum_twice_is_an_error_and_leaves_nothing(world, hub, path):
    etag = hub.repos["org/name"].etag(path)
    hub.fail(etag if path.startswith("model") else path, times=99, corrupt=True)
    error = world.bad("info", "org/name")
    assert f"org/name: {path}" in error and etag in error
    assert etag not in world.blobs() and etag + ".incomplete" not in world.blobs()
    assert not (world.repo() / "snapshots" / hub.repos["org/name"].commit / path).exists()


def test_a_body_longer_than_announced_is_cut_off(world, hub):
    def endless(handler):
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        for _ in range(100000):
            handler.wfile.write(chunk)
            handler.record["sent"] += 65536
    hub.fail(weight_etag(hub), times=99, handle=endless)
    error = world.bad("info", "org/name")
    assert "model.safetensors" in error and "announced" in error
    assert hub.sent(weight_etag(hub)) < 100 * MEBIBYTE


@pytest.mark.parametrize("header,value", [("X_Repo_Commit", "0" * 40), ("X_Linked_Etag", '"' + "0" * 64 + '"'),
                                          ("X_Linked_Size", "5")])
def test_headers_that_contradict_the_listing_are_refused(world, hub, header, value):
    location = f"{hub.cdn_url}/{weight_etag(hub)}"
    hub.fail("resolve/" + hub.repos["org/name"].commit + "/model.safetensors", times=9,
             handle=lambda h: h.send(302, Location=location, **{header: value}))
    error = world.bad("info", "org/name")
    assert header.replace("_", "-") in error and "model.safetensors" in error


# ---------------------------------------------------------------- answers that are no success


@pytest.mark.parametrize("code", [408, 500, 502, 503, 504])
def test_the_server_has_a_bad_moment(world, hub, code):
    hub.fail("/api/", handle=status(code))
    hub.fail(weight_etag(hub), handle=status(code))
    world.good("info", "org/name")


def test_retry_after_is_obeyed(world, hub):
    times = []
    def limited(handler):
        times.append(time.time())
        handler.send(429, Retry_After="2")
    hub.fail("/api/", handle=limited)
    world.good("info", "org/name")
    assert time.time() - times[0] >= 2


def test_a_limit_of_an_hour_is_not_waited_for(world, hub):
    hub.fail("/api/", times=99, handle=status(429, Retry_After="3600"))
    error = world.bad("info", "org/name")
    assert "org/name" in error and "3600 seconds" in error and "HF_TOKEN" in error
    assert len(hub.requests) == 1


def test_a_server_that_stays_broken_is_given_up(world, hub):
    hub.fail(weight_etag(hub), times=99, handle=status(503))
    error = world.bad("info", "org/name")
    assert "org/name: model.safetensors" in error and "503" in error
    assert len(hub.asked(cdn=True)) == 5


def test_messages_of_refusals(world, hub):
    hub.repos["org/gated"] = weights_repo(1000, gated=True)
    hub.repos["org/private"] = weights_repo(1000, private=True)
    gated = world.bad("info", "org/gated")
    assert f"accept its terms on {hub.url}/org/gated" in gated and "HF_TOKEN" in gated
    for name in ("org/private", "org/absent"):
        error = world.bad("info", name)
        assert name in error and "no such file or folder here" in error and "HF_TOKEN" in error
    assert "does not open it" in world.bad("info", "org/private", HF_TOKEN="hf_wrong")
    hub.fail("/api/", handle=status(403))
    assert "forbids" in world.bad("info", "org/name", HF_TOKEN=TOKEN)
    hub.fail("/api/", handle=status(404))
    assert "does not know it" in world.bad("info", "org/name")
    hub.fail("/api/", handle=status(418))
    assert "answers 418" in world.bad("info", "org/name")


def test_a_name_that_is_neither_gives_one_clear_error(world, hub):
    for name in ("nothing", "a/b/c", "./org/name", "out/model.gguf", "org/na me"):
        error = world.bad("info", name)
        assert name in error and "no such file or folder" in error
    assert hub.requests == []


# ---------------------------------------------------------------- without the hub


def test_offline(world, hub):
    error = world.bad("info", "org/name", HF_HUB_OFFLINE="1")
    assert "org/name" in error and "HF_HUB_OFFLINE" in error and str(world.cache) in error
    world.good("info", "org/name")
    hub.requests.clear()
    world.good("info", "org/name", HF_HUB_OFFLINE="1")
    world.good("info", "org/name", TRANSFORMERS_OFFLINE="true")
    assert hub.requests == []


def test_a_hub_that_cannot_be_reached(world, hub):
    nobody = "http://localhost:1"
    world.good("info", "org/name")
    done = world.good("info", "org/name", HF_ENDPOINT=nobody)
    assert "warning" in done.stderr and "in the cache is used" in done.stderr
    error = world.bad("info", "org/other", HF_ENDPOINT=nobody)
    assert "org/other: no such file or folder here" in error and "localhost:1" in error


def test_a_broken_hub_does_not_keep_the_cache_from_being_used(world, hub):
    world.good("info", "org/name")
    hub.fail("/api/", times=99, handle=status(503))
    done = world.good("info", "org/name")
    assert "in the cache is used" in done.stderr


# ---------------------------------------------------------------- hostile answers


def listing(commit="c" * 40, siblings=(), **more):
    return json.dumps({"sha": commit, "siblings": list(siblings), **more}).encode()


def body_of(text):
    return lambda handler: handler.send(200, text)


def endless_listing(handler):
    handler.send_response(200)
    handler.send_header("Connection", "close")
    handler.end_headers()
    handler.close_connection = True
    while True:
        handler.put(b'{"a":"' + b"x" * 65536)


def endless_headers(handler):
    handler.send_response(200)
    handler.flush_headers()
    for i in range(1000000):
        handler.wfile.write(b"X-%d: y\r\n" % i)


HOSTILE = {
    "no JSON": body_of(b"<html>"),
    "empty": body_of(b""),
    "not an object": body_of(b"[]"),
    "no commit": body_of(listing(commit="../../x")),
    "up": body_of(listing(siblings=[{"rfilename": "../../../escaped.json", "size": 2, "blobId": "1" * 40}])),
    "absolute": body_of(listing(siblings=[{"rfilename": "/tmp/escaped.json", "size": 2, "blobId": "1" * 40}])),
    "control": body_of(listing(siblings=[{"rfilename": "\x1b]0;x\x07.json"}])),
    "NUL": body_of(listing(siblings=[{"rfilename": "a\0.json"}])),
    "checksum": body_of(listing(siblings=[{"rfilename": "config.json", "size": 2, "blobId": "../../escaped"}])),
    "too many": body_of(listing(siblings=[{"rfilename": f"{i}"} for i in range(100001)])),
    "huge size": body_of(listing(siblings=[{"rfilename": "config.json", "size": 1 << 63, "blobId": "1" * 40}])),
    "deep": body_of(b"[" * 100000),
    "endless body": endless_listing,
    "endless headers": endless_headers,
    "redirect loop": lambda handler: handler.send(302, Location=handler.path),
    "redirect to a file": lambda handler: handler.send(302, Location="file:///etc/passwd"),
    "redirect to nothing": lambda handler: handler.send(302, Location="http://"),
    "no status line": lambda handler: handler.wfile.write(b"\r\n\r\n"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_listings(world, hub, case):
    hub.fail("/api/", times=99, handle=HOSTILE[case])
    error = world.bad("info", "org/name")
    assert len(error) < 1000 and error.isprintable()
    assert not list(world.folder.rglob("*escaped*")) and not pathlib.Path("/tmp/escaped.json").exists()
    assert not list(world.folder.rglob("blobs/*"))


def test_a_hostile_index_names_no_file_outside(world, hub):
    index = {"weight_map": {"x": "../../../escaped.safetensors"}}
    hub.repos["org/bad"] = Repo({"config.json": b"{}", "model.safetensors.index.json": json.dumps(index).encode()})
    error = world.bad("info", "org/bad")
    assert "weight_map" in error and "escaped" in error


def test_more_than_the_disk_holds_is_not_begun(world, hub):
    huge = [{"rfilename": "config.json", "size": 2, "blobId": "1" * 40},
            {"rfilename": "model.safetensors", "lfs": {"sha256": "2" * 64, "size": 1 << 49}}]
    hub.fail("/api/", handle=body_of(listing(siblings=huge)))
    error = world.bad("info", "org/name")
    assert "org/name" in error and "room for" in error
    assert not hub.asked(on="resolve")


# ---------------------------------------------------------------- https


def certificate(folder):
    path = folder / "hub.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", path, "-out",
                    folder / "certificate.pem", "-days", "2", "-subj", "/CN=localhost", "-addext",
                    "subjectAltName=DNS:localhost"], check=True, capture_output=True)
    path.write_text(path.read_text() + (folder / "certificate.pem").read_text())
    return path, folder / "certificate.pem"


def test_https_is_checked_and_never_left(lissom, tmp_path):
    both, public = certificate(tmp_path)
    hub = Hub(certificate=both)
    try:
        hub.repos["org/small"] = Repo(read_folder(LLAMA))
        hub.repos["org/name"] = weights_repo(1000)
        world = World(lissom, hub, tmp_path)
        assert "certificate" in world.bad("info", "org/small", SSL_CERT_FILE="")
        world.good("info", "org/small", SSL_CERT_FILE=str(public))
        error = world.bad("info", "org/name", SSL_CERT_FILE=str(public), HF_TOKEN=TOKEN)
        assert "from https to http" in error and "model.safetensors" in error
        assert not hub.asked(cdn=True)
    finally:
        hub.close()


# ---------------------------------------------------------------- several processes


def test_processes_that_start_at_once_download_once(world, hub):
    hub.delay = 0.4
    processes = [world.start("info", "org/name") for _ in range(4)]
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
        process = world.start("info", "org/name")
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
    world.good("info", "org/llama")
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
    world.good("info", "org/llama")
    assert world.python("""
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained("org/llama")
print(type(model).__name__, len(AutoTokenizer.from_pretrained("org/llama")("hello").input_ids) > 0)
""", HF_HUB_OFFLINE="1") == "LlamaForCausalLM True"


def test_lissom_finds_what_huggingface_hub_downloaded(world, hub):
    world.python("from huggingface_hub import snapshot_download; snapshot_download('org/llama')")
    hub.requests.clear()
    world.good("info", "org/llama", HF_HUB_OFFLINE="1")
    assert hub.requests == []
    world.good("info", "org/llama")
    assert [r["path"] for r in hub.requests] == ["/api/models/org/llama/revision/main?blobs=true"]
    assert not list(world.repo("org/llama").rglob("*.incomplete"))


def test_lissom_completes_what_huggingface_hub_began(world, hub):
    world.python("from huggingface_hub import hf_hub_download; hf_hub_download('org/llama', 'config.json')")
    assert "lacks model.safetensors" in world.bad("info", "org/llama", HF_HUB_OFFLINE="1")
    hub.requests.clear()
    world.good("info", "org/llama")
    assert not hub.asked(on="resolve/" + hub.repos["org/llama"].commit + "/config.json")
    assert len(hub.asked(cdn=True)) == 1
