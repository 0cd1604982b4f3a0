"""`compress org/name` while it downloads: shard by shard, within a bound of disk, killed and resumed, and always to the
bytes that the same folder gives when it lies here."""

import json
import re
import signal
import threading
import time

import pytest
from conftest import run
from hub_server import Repo
from hub_world import LLAMA, World, hub, read_folder, world

INDEX = "model.safetensors.index.json"


def tensors_of(data):
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + length])
    header.pop("__metadata__", None)
    return {name: (entry, data[8 + length:][slice(*entry["data_offsets"])]) for name, entry in header.items()}


def pack(tensors):
    header, at = {}, 0
    for name, (entry, data) in tensors.items():
        header[name] = entry | {"data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + b"".join(data for _, data in tensors.values())


def sharded(parts):
    """The files of the tiny llama, its weights in shards: parts(names) gives the names of each."""
    files = read_folder(LLAMA)
    tensors = tensors_of(files.pop("model.safetensors"))
    lists = parts(sorted(tensors, key=order))
    assert sorted(sum(lists, [])) == sorted(tensors)
    names = [f"model-{i + 1:05}-of-{len(lists):05}.safetensors" for i in range(len(lists))]
    for name, part in zip(names, lists):
        files[name] = pack({tensor: tensors[tensor] for tensor in part})
    index = {t: name for name, part in zip(names, lists) for t in part}
    files[INDEX] = json.dumps({"metadata": {}, "weight_map": index}).encode()
    return files, names


def order(name):
    """As the encoder goes: embedding, blocks, norm."""
    layer = re.search(r"layers\.(\d+)\.", name)
    parts = ["input_layernorm", "q_proj", "k_proj", "v_proj", "o_proj", "post_attention", "gate_proj", "up_proj", "down"]
    part = next((i for i, word in enumerate(parts) if word in name), 0)
    return (0,) if "embed" in name else (1, int(layer.group(1)), part) if layer else (2,)


def small_parts(names):
    """Two tensors a shard, in order."""
    return [names[i:i + 2] for i in range(0, len(names), 2)]


def there_and_back(names):
    """Every shard is needed from the first tensor to the last."""
    return [names[i::3] for i in range(3)]


def is_header(record):
    return record["headers"].get("range", "").startswith("bytes=0-")


class Sharded:
    def __init__(self, world, hub, parts, name="sharded"):
        self.world, self.hub, self.id = world, hub, f"org/{name}"
        self.files, self.names = sharded(parts)
        self.repo = hub.repos[self.id] = Repo(self.files, lfs=self.names)
        self.sizes = {n: len(self.files[n]) for n in self.names}
        self.etags = {self.repo.etag(n): n for n in self.names}
        self.local = world.folder / "here" / name
        self.local.mkdir(parents=True)
        for path, data in self.files.items():
            (self.local / path).write_bytes(data)
        self.out = world.folder / "out.gguf"
        self.most_held, self.bad = 0, []

    @property
    def words(self):
        return ("compress", self.id, "-o", self.out, "-s", "Q8_0", "--calib", "none", "--no-verify")

    def expected(self):
        out = self.world.folder / "expected.gguf"
        run(self.world.lissom, "compress", self.local, "-o", out, "-s", "Q8_0", "--calib", "none", "--no-verify")
        return out.read_bytes()

    def held(self):
        total = 0
        for path in (self.world.repo(self.id) / "blobs").glob("*"):
            if path.name.split(".")[0] in self.etags:
                try:
                    total += path.stat().st_size
                except FileNotFoundError:
                    pass
        return total

    def at_shards(self, before, name=None, after=lambda handler: None, times=10**6, **fault):
        """Calls these around each answer that is a shard (this one) and no header; so often the fault is its own."""
        left = [times]

        def handle(handler):
            handler.fault = None
            if not is_header(handler.record) and left[0] > 0:
                left[0] -= 1
                handler.fault = fault
                before(handler)
            if (handler.fault or {}).get("no_file"):
                return handler.send(404, b"no")
            handler.cdn()
            after(handler)

        self.hub.fail(self.repo.etag(name) if name else "", times=10**6, cdn=True, handle=handle)

    def watch(self):
        """Measures the cache whenever a shard is asked for and when it has been sent."""

        def measure(handler):
            self.most_held = max(self.most_held, self.held())

        self.at_shards(measure, after=measure)

    def hold_back(self, name):
        """A shard that comes only when the event is set."""
        event = threading.Event()
        self.at_shards(lambda handler: event.wait(30), name, times=1)
        return event

    def fail(self, name, times=1, **fault):
        self.at_shards(lambda handler: None, name, times=times, **fault)

    def fetched(self):
        """Whole shards by name, how often."""
        counts = dict.fromkeys(self.names, 0)
        for record in self.hub.asked(cdn=True, method="GET"):
            name = self.etags[record["path"].split("/")[1].split("?")[0]]
            counts[name] += not is_header(record)
        return counts

    def journaled(self):
        journal = self.world.folder / "out.gguf.journal"
        lines = journal.read_text().splitlines()[1:] if journal.exists() else []
        return [json.loads(line)["tensor"] for line in lines if line.endswith("}")]


@pytest.fixture
def many(world, hub):
    return Sharded(world, hub, small_parts)


def left_behind(world):
    return [p.name for p in world.folder.iterdir() if p.name.startswith("out.gguf.")]


# ---------------------------------------------------------------- the same bytes


def test_without_a_bound_the_cache_keeps_the_model(many, world, hub):
    world.good(*many.words)
    assert many.out.read_bytes() == many.expected()
    assert set(many.fetched().values()) == {1}
    snapshot = world.repo(many.id) / "snapshots" / many.repo.commit
    assert all((snapshot / n).read_bytes() == many.files[n] for n in many.names)
    assert (world.repo(many.id) / "refs/main").read_text() == many.repo.commit
    # Now it is all here, and gives the same once more without the hub.
    many.out.unlink()
    world.good(*many.words, HF_HUB_OFFLINE="1")
    assert many.out.read_bytes() == many.expected()


def test_the_encoder_begins_before_the_last_shard_is_here(many, world, hub):
    event = many.hold_back(many.names[-1])
    process = world.start(*many.words)
    deadline = time.time() + 20
    while len(many.journaled()) < 2 * len(many.names) - 4:
        assert time.time() < deadline and process.poll() is None
        time.sleep(0.02)
    event.set()
    assert process.wait(timeout=20) == 0
    assert many.out.read_bytes() == many.expected()


def test_what_needs_the_model_whole_still_works(many, world, hub):
    world.good("compress", many.id, "-o", many.out, "-s", "Q8_0", "--calib-chunks", "2", "--eval-chunks", "1",
               "--ctx", "32")
    assert set(many.fetched().values()) == {1}
    run(world.lissom, "compress", many.local, "-o", world.folder / "expected.gguf", "-s", "Q8_0", "--calib-chunks",
        "2", "--eval-chunks", "1", "--ctx", "32")
    assert many.out.read_bytes() == (world.folder / "expected.gguf").read_bytes()


def test_the_evaluation_comes_after_the_encoding(many, world, hub):
    (world.folder / "held.txt").write_text("The quick brown fox jumps over the lazy dog. " * 60)
    done = world.good(*many.words[:-1], "--eval-text", world.folder / "held.txt", "--ctx", "32", "--eval-chunks", "1",
                      "--json")
    assert many.out.read_bytes() == many.expected()
    result = json.loads(done.stdout)
    assert result["results"][0]["eval"]["kld_mean"] < 0.1
    assert result["source"]["digest"].startswith("sha256:") and set(many.fetched().values()) == {1}


def test_one_file_alone(world, hub):
    world.good("compress", "org/llama", "-o", "a.gguf", "-s", "Q8_0", "--calib", "none", "--no-verify", "--disk", "1MB")
    run(world.lissom, "compress", LLAMA, "-o", world.folder / "b.gguf", "-s", "Q8_0", "--calib", "none", "--no-verify")
    assert (world.folder / "a.gguf").read_bytes() == (world.folder / "b.gguf").read_bytes()
    assert not [b for b in world.blobs("org/llama") if len(b) >= 64]


def test_a_plan_needs_no_shard(many, world, hub):
    world.good(*many.words, "--dry-run")
    assert set(many.fetched().values()) == {0}


# ---------------------------------------------------------------- the bound


@pytest.mark.parametrize("room", [1.0, 2.5])
def test_the_bound_is_kept(many, world, hub, room):
    bound = int(max(many.sizes.values()) * room)
    many.watch()
    world.good(*many.words, "--disk", bound)
    assert many.out.read_bytes() == many.expected()
    assert set(many.fetched().values()) == {1}  # in order: nothing comes twice
    assert 0 < many.most_held <= bound < sum(many.sizes.values())
    assert many.held() == 0 and not left_behind(world)
    # Nothing that another program could take for the model.
    snapshot = world.repo(many.id) / "snapshots" / many.repo.commit
    assert not list(snapshot.glob("*.safetensors")) and not (world.repo(many.id) / "refs").exists()
    with_hub = world.python(f"from huggingface_hub import try_to_load_from_cache as t;"
                            f"print(t('{many.id}', '{many.names[0]}'))")
    assert with_hub == "None"


def test_shards_that_are_needed_throughout_come_again(world, hub):
    model = Sharded(world, hub, there_and_back)
    model.watch()
    done = world.good(*model.words, "--disk", max(model.sizes.values()))
    assert "more than once" in done.stderr and str(sum(model.sizes.values())) in done.stderr
    assert model.out.read_bytes() == model.expected()
    assert max(model.fetched().values()) > 1 and model.most_held <= max(model.sizes.values())
    # With the room that the warning names nothing does.
    hub.requests.clear()
    model.out.unlink()
    done = world.good(*model.words, "--disk", sum(model.sizes.values()))
    assert "more than once" not in done.stderr
    assert set(model.fetched().values()) == {1} and model.held() == 0


def test_a_bound_that_no_shard_fits_in(many, world, hub):
    largest = max(many.sizes, key=many.sizes.get)
    error = world.bad(*many.words, "--disk", many.sizes[largest] - 1)
    assert largest in error and f"--disk {many.sizes[largest]} would do" in error
    assert set(many.fetched().values()) == {0}


@pytest.mark.parametrize("words,named", [
    (("-s", "Q8_0", "--calib", "none"), ["--no-verify"]),
    (("-s", "Q8_0", "--no-verify"), ["--calib none", "--imatrix"]),
    (("-s", "Q8_0"), ["--no-verify", "--calib none"]),
    (("-s", "Q8_0,Q4_0", "--calib", "none", "--no-verify"), ["one at a time"])])
def test_what_needs_the_model_whole_is_refused(many, world, hub, words, named):
    error = world.bad("compress", many.id, "-o", "out/", *words, "--disk", sum(many.sizes.values()) - 1)
    assert all(name in error for name in named)
    assert set(many.fetched().values()) == {0}


def test_room_for_all_of_it_leaves_the_verbs_free(many, world, hub):
    world.good("compress", many.id, "-o", many.out, "-s", "Q8_0", "--calib", "none", "--ctx", "32", "--eval-chunks", "1",
               "--disk", sum(many.sizes.values()))


def test_a_bound_for_what_is_not_on_the_hub(many, world, hub):
    assert "no model of the hub" in world.bad("compress", many.local, "-o", "x.gguf", "--disk", "1GB")
    hub.repos["org/gguf"] = Repo({"a.gguf": b"GGUF" * 100}, lfs=("a.gguf",))
    assert "comes whole" in world.bad("compress", "org/gguf", "-o", "x.gguf", "--disk", "100")


def test_what_the_cache_has_stays(many, world, hub):
    world.good("download", many.id)
    hub.requests.clear()
    world.good(*many.words, "--disk", "10")
    assert many.out.read_bytes() == many.expected()
    assert set(many.fetched().values()) == {0} and many.held() == sum(many.sizes.values())


# ---------------------------------------------------------------- what breaks


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.parametrize("bounded", [True, False])
def test_a_killed_job_goes_on(many, world, hub, how, bounded):
    bound = ("--disk", 2 * max(many.sizes.values())) if bounded else ()
    middle = len(many.names) // 2
    event = many.hold_back(many.names[middle])
    process = world.start(*many.words, *bound)
    deadline = time.time() + 20
    while len(many.journaled()) < 2 * middle:
        assert time.time() < deadline and process.poll() is None
        time.sleep(0.02)
    process.send_signal(how)
    process.communicate(timeout=20)
    event.set()
    assert process.returncode == (-9 if how == signal.SIGKILL else 130)
    assert not many.out.exists()
    hub.requests.clear()
    many.watch()
    done = world.good(*many.words, *bound)
    assert f"of {len(tensors_of((LLAMA / 'model.safetensors').read_bytes()))} tensors were done before" in done.stderr
    assert many.out.read_bytes() == many.expected()
    again = many.fetched()
    assert sum(again[n] for n in many.names[:middle]) == 0
    if bounded:
        assert many.most_held <= bound[1] and many.held() == 0


def test_two_jobs_do_not_share_what_they_remove(many, world, hub):
    event = many.hold_back(many.names[4])
    process = world.start(*many.words, "--disk", "1MB")
    deadline = time.time() + 20
    while len(many.journaled()) < 8:
        assert time.time() < deadline and process.poll() is None
        time.sleep(0.02)
    error = world.bad("compress", many.id, "-o", "other.gguf", "-s", "Q4_0", "--calib", "none", "--no-verify", "--disk",
                      "1MB")
    assert "another process" in error
    event.set()
    assert process.wait(timeout=20) == 0 and many.out.read_bytes() == many.expected()


def test_a_smaller_bound_after_a_kill(many, world, hub):
    event = many.hold_back(many.names[4])
    process = world.start(*many.words, "--disk", sum(many.sizes.values()))
    deadline = time.time() + 20
    while len(many.journaled()) < 8:
        assert time.time() < deadline and process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.communicate(timeout=20)
    event.set()
    many.watch()
    bound = max(many.sizes.values())
    world.good(*many.words, "--disk", bound)
    assert many.out.read_bytes() == many.expected()
    assert many.most_held <= bound and many.held() == 0


def test_a_wrong_checksum_is_downloaded_once_more_and_then_refused(many, world, hub):
    many.fail(many.names[3], corrupt=True)
    done = world.good(*many.words, "--disk", "1MB")
    assert "wrong checksum" in done.stderr and many.out.read_bytes() == many.expected()
    many.out.unlink()
    hub.faults.clear()
    many.fail(many.names[3], times=2, corrupt=True)
    error = world.bad(*many.words, "--disk", "1MB")
    assert many.names[3] in error and "checksum" in error and not many.out.exists()


def test_a_dropped_connection_goes_on_where_it_broke(many, world, hub):
    name = many.names[2]
    many.fail(name, drop_after=100)
    world.good(*many.words, "--disk", 2 * max(many.sizes.values()))
    assert many.out.read_bytes() == many.expected()
    ranges = [r["headers"].get("range") for r in hub.asked(cdn=True, on=many.repo.etag(name))]
    assert ranges[-1] == "bytes=100-"


def test_a_hub_that_is_gone_costs_nothing_that_is_done(many, world, hub):
    name = many.names[5]

    def gone(handler):
        deadline = time.time() + 20
        while len(many.journaled()) < 10 and time.time() < deadline:
            time.sleep(0.02)

    many.at_shards(gone, name, times=10**6, no_file=True)
    error = world.bad(*many.words, "--disk", 2 * max(many.sizes.values()))
    assert name in error and "goes on from there" in error
    done = many.journaled()
    assert len(done) == 10 and left_behind(world)
    hub.faults.clear()
    hub.requests.clear()
    assert "tensors were done before" in world.good(*many.words, "--disk", "1MB").stderr
    assert many.out.read_bytes() == many.expected() and many.held() == 0
    assert sum(many.fetched()[n] for n in many.names[:5]) == 0


def test_a_header_that_lies_is_found_out(many, world, hub):
    name = many.names[0]
    honest = many.files[name]
    length = int.from_bytes(honest[:8], "little")
    lie = honest[:8] + honest[8:8 + length].replace(b'"F32"', b'"I32"') + honest[8 + length:]

    def handle(handler):
        handler.fault = None
        handler.file(lie, ETag='"of-the-content-network"')

    hub.fail(many.repo.etag(name), times=1, cdn=True, handle=handle)  # the first request is for its header
    error = world.bad(*many.words, "--disk", "1MB")
    assert error
    assert not many.out.exists()


def test_a_finished_result_is_taken_over(many, world, hub):
    words = ("compress", many.id, "-o", "out/", "-s", "Q8_0", "--calib", "none", "--no-verify", "--disk", "1MB", "--json")
    first = json.loads(world.good(*words).stdout)
    hub.requests.clear()
    done = world.good(*words)
    again = json.loads(done.stdout)
    assert "finished by an earlier run" in done.stderr and set(many.fetched().values()) == {0}
    assert again["source"]["digest"] == first["source"]["digest"] != "sha256:" + 64 * "0"
    # The same weights with another configuration are another model.
    config = json.loads(many.files["config.json"]) | {"rms_norm_eps": 1e-5}
    many.repo.files["config.json"] = json.dumps(config).encode()
    many.repo.commit = many.repo.revisions["main"] = 40 * "d"
    last = world.good(*words)
    assert "finished by an earlier run" not in last.stderr and set(many.fetched().values()) == {1}
    assert json.loads(last.stdout)["source"]["digest"] != first["source"]["digest"]
