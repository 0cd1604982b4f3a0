"""Downloads from a hub (hub_server.py) that drops, lies, refuses and attacks: what goes on, what is said, what is left."""

import hashlib
import json
import pathlib
import signal
import subprocess
import threading
import time

import pytest
from hub_server import TOKEN, Hub, Repo, status
from hub_world import LLAMA, MEBIBYTE, World, hub, read_folder, weight_etag, weights_repo, world


# ---------------------------------------------------------------- connections that break


def test_a_dropped_connection_goes_on_where_it_broke(world, hub):
    size = len(hub.repos["org/name"].files["model.safetensors"])
    hub.fail(weight_etag(hub), drop_after=MEBIBYTE)
    hub.fail(weight_etag(hub), drop_after=MEBIBYTE)
    world.good("download", "org/name")
    ranges = [r["headers"].get("range") for r in hub.asked(cdn=True)]
    assert ranges == [None, f"bytes={MEBIBYTE}-", f"bytes={2 * MEBIBYTE}-"]
    assert hub.sent(weight_etag(hub)) == size  # no byte twice
    # The content network's own entity tags are not the hub's: a condition would never hold there.
    assert all("if-range" not in r["headers"] for r in hub.asked(cdn=True))


def test_a_small_file_is_resumed_under_its_entity_tag(world, hub):
    repo = hub.repos["org/name"]
    repo.files["tokenizer.json"] = json.dumps(list(range(10000))).encode()
    hub.fail("tokenizer.json", cdn=False, drop_after=1000)
    world.good("download", "org/name")
    asked = hub.asked(cdn=False, on="tokenizer.json")
    assert [r["headers"].get("range") for r in asked] == [None, "bytes=1000-"]
    assert asked[1]["headers"]["if-range"] == f'"{repo.etag("tokenizer.json")}"'
    assert hub.sent("tokenizer.json") == len(repo.files["tokenizer.json"])


def stop_in_the_middle(world, hub, how):
    """Ends `info` with a signal when the half of the weights is there; the path of what is left."""
    left = world.repo() / "blobs" / (weight_etag(hub) + ".incomplete")
    event = threading.Event()
    hub.fail(weight_etag(hub), drop_after=MEBIBYTE, wait=event, wait_s=30)
    process = world.start("download", "org/name")
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
    world.good("download", "org/name")
    assert hub.asked(cdn=True)[-1]["headers"]["range"] == f"bytes={MEBIBYTE}-"
    assert hub.sent(weight_etag(hub)) == len(hub.repos["org/name"].files["model.safetensors"])
    assert not left.exists()


def test_what_an_older_huggingface_hub_left_is_taken_up(world, hub):
    blobs = world.repo() / "blobs"
    blobs.mkdir(parents=True)
    data = hub.repos["org/name"].files["model.safetensors"]
    (blobs / (weight_etag(hub) + ".incomplete")).write_bytes(data[:12345])
    world.good("download", "org/name")
    assert hub.sent(weight_etag(hub)) == len(data) - 12345


def test_a_server_without_ranges_sends_the_file_again(world, hub):
    hub.fail(weight_etag(hub), drop_after=MEBIBYTE)
    hub.fail(weight_etag(hub), no_ranges=True)
    world.good("download", "org/name")
    assert hub.sent(weight_etag(hub)) == MEBIBYTE + len(hub.repos["org/name"].files["model.safetensors"])


def test_a_connection_that_never_gets_further_is_given_up(world, hub):
    hub.fail(weight_etag(hub), times=99, drop_after=0)
    error = world.bad("download", "org/name")
    assert "org/name: model.safetensors" in error and "goes on from there" in error
    assert 3 <= len(hub.asked(cdn=True)) <= 6


# ---------------------------------------------------------------- wrong bytes


def test_a_wrong_checksum_is_downloaded_again(world, hub):
    hub.fail(weight_etag(hub), corrupt=True)
    done = world.good("download", "org/name")
    assert "warning: model.safetensors: wrong checksum" in done.stderr
    blob = world.repo() / "blobs" / weight_etag(hub)
    assert hashlib.sha256(blob.read_bytes()).hexdigest() == weight_etag(hub)


@pytest.mark.parametrize("path", ["model.safetensors", "tokenizer.json"])
def test_a_wrong_checksum_twice_is_an_error_and_leaves_nothing(world, hub, path):
    etag = hub.repos["org/name"].etag(path)
    hub.fail(etag if path.startswith("model") else path, times=99, corrupt=True)
    error = world.bad("download", "org/name")
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
    error = world.bad("download", "org/name")
    assert "model.safetensors" in error and "announced" in error
    assert hub.sent(weight_etag(hub)) < 100 * MEBIBYTE


@pytest.mark.parametrize("header,value", [("X_Repo_Commit", "0" * 40), ("X_Linked_Etag", '"' + "0" * 64 + '"'),
                                          ("X_Linked_Size", "5")])
def test_headers_that_contradict_the_listing_are_refused(world, hub, header, value):
    location = f"{hub.cdn_url}/{weight_etag(hub)}"
    hub.fail("resolve/" + hub.repos["org/name"].commit + "/model.safetensors", times=9,
             handle=lambda h: h.send(302, Location=location, **{header: value}))
    error = world.bad("download", "org/name")
    assert header.replace("_", "-") in error and "model.safetensors" in error


# ---------------------------------------------------------------- answers that are no success


@pytest.mark.parametrize("code", [408, 500, 502, 503, 504])
def test_the_server_has_a_bad_moment(world, hub, code):
    hub.fail("/api/", handle=status(code))
    hub.fail(weight_etag(hub), handle=status(code))
    world.good("download", "org/name")


def test_retry_after_is_obeyed(world, hub):
    times = []
    def limited(handler):
        times.append(time.time())
        handler.send(429, Retry_After="2")
    hub.fail("/api/", handle=limited)
    world.good("download", "org/name")
    assert time.time() - times[0] >= 2


def test_a_limit_of_an_hour_is_not_waited_for(world, hub):
    hub.fail("/api/", times=99, handle=status(429, Retry_After="3600"))
    error = world.bad("download", "org/name")
    assert "org/name" in error and "3600 seconds" in error and "HF_TOKEN" in error
    assert len(hub.requests) == 1


def test_a_server_that_stays_broken_is_given_up(world, hub):
    hub.fail(weight_etag(hub), times=99, handle=status(503))
    error = world.bad("download", "org/name")
    assert "org/name: model.safetensors" in error and "503" in error
    assert len(hub.asked(cdn=True)) == 5


def test_messages_of_refusals(world, hub):
    hub.repos["org/gated"] = weights_repo(1000, gated=True)
    hub.repos["org/private"] = weights_repo(1000, private=True)
    gated = world.bad("download", "org/gated")
    assert f"accept its terms on {hub.url}/org/gated" in gated and "HF_TOKEN" in gated
    for name in ("org/private", "org/absent"):
        error = world.bad("download", name)
        assert name in error and "no such file or folder here" in error and "HF_TOKEN" in error
    assert "does not open it" in world.bad("download", "org/private", HF_TOKEN="hf_wrong")
    hub.fail("/api/", handle=status(403))
    assert "forbids" in world.bad("download", "org/name", HF_TOKEN=TOKEN)
    hub.fail("/api/", handle=status(404))
    assert "does not know it" in world.bad("download", "org/name")
    hub.fail("/api/", handle=status(418))
    assert "answers 418" in world.bad("download", "org/name")


def test_a_name_that_is_neither_gives_one_clear_error(world, hub):
    for name in ("nothing", "a/b/c", "./org/name", "out/model.gguf", "org/na me"):
        error = world.bad("download", name)
        assert name in error and "no such file or folder" in error
    assert hub.requests == []


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
    error = world.bad("download", "org/name")
    assert len(error) < 1000 and error.isprintable()
    assert not list(world.folder.rglob("*escaped*")) and not pathlib.Path("/tmp/escaped.json").exists()
    assert not list(world.folder.rglob("blobs/*"))


def test_a_hostile_index_names_no_file_outside(world, hub):
    index = {"weight_map": {"x": "../../../escaped.safetensors"}}
    hub.repos["org/bad"] = Repo({"config.json": b"{}", "model.safetensors.index.json": json.dumps(index).encode()})
    error = world.bad("download", "org/bad")
    assert "weight_map" in error and "escaped" in error


def test_more_than_the_disk_holds_is_not_begun(world, hub):
    huge = [{"rfilename": "config.json", "size": 2, "blobId": "1" * 40},
            {"rfilename": "model.safetensors", "lfs": {"sha256": "2" * 64, "size": 1 << 49}}]
    hub.fail("/api/", handle=body_of(listing(siblings=huge)))
    error = world.bad("download", "org/name")
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
        assert "certificate" in world.bad("download", "org/small", SSL_CERT_FILE="")
        world.good("download", "org/small", SSL_CERT_FILE=str(public))
        error = world.bad("download", "org/name", SSL_CERT_FILE=str(public), HF_TOKEN=TOKEN)
        assert "from https to http" in error and "model.safetensors" in error
        assert not hub.asked(cdn=True)
    finally:
        hub.close()
