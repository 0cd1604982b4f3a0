"""SentencePiece-type vocabularies against the `tokenizers` and `sentencepiece` packages: the same ids and text."""

import io
import json
import random

import numpy as np
import pytest
import sentencepiece
from test_tokenizer import compare, lines, load
from tokenizer_strings import WORDS, strings
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

GENERATED = 100_000
DECODED = 20_000
BYTES = [f"<0x{b:02X}>" for b in range(256)]


def corpus(count=3000, seed=5):
    """Sentences of known words and made-up ones of their letters, so that pieces of every length are worth having."""
    rng = random.Random(seed)
    common = "the of and to in that is was for on with as quick brown fox jumps over lazy dogs don't it's 12 2024 naïve café 你好 世界 мир".split()
    made = ["".join(rng.choice("aeioubcdlmnrst") for _ in range(rng.randrange(2, 9))) for _ in range(300)]
    return [" ".join(rng.choice(rng.choice([common, common, made, WORDS])) for _ in range(rng.randrange(3, 15))) + rng.choice(".!?") for _ in range(count)]


@pytest.fixture(scope="session")
def trained_sentencepiece(tmp_path_factory):
    """trained_sentencepiece(**options): the bytes of a small tokenizer.model."""
    known = {}
    lines_ = corpus(2000)

    def train(**options):
        key = json.dumps(options, sort_keys=True)
        if key not in known:
            out = io.BytesIO()
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(lines_), model_writer=out, minloglevel=2, hard_vocab_limit=False, num_threads=1,
                **{"vocab_size": 900, "character_coverage": 0.9995, **options})
            known[key] = out.getvalue()
        return known[key]

    return train


def fields(message):
    """(number, value) of a protobuf message: integers, bytes and raw fixed ones."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        tag = varint()
        if tag & 7 == 0:
            yield tag >> 3, varint()
        else:
            size = varint() if tag & 7 == 2 else {1: 8, 5: 4}[tag & 7]
            yield tag >> 3, message[at:at + size]
            at += size


@pytest.fixture(scope="session")
def nmt_nfkc(trained_sentencepiece):
    """SentencePiece's own character map, as T5 and XLM-R have it."""
    normalizer = dict(fields(trained_sentencepiece(model_type="unigram")))[3]
    return dict(fields(normalizer))[2]


def unigram(normalizer, pre_tokenizer, byte_fallback=False, size=1200):
    tokenizer = Tokenizer(models.Unigram())
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.train_from_iterator(corpus(), trainers.UnigramTrainer(
        vocab_size=size, show_progress=False, unk_token="<unk>", special_tokens=["<pad>", "</s>", "<unk>"]))
    if byte_fallback:
        file = json.loads(tokenizer.to_str())
        file["model"]["vocab"] += [[b, 0.0] for b in BYTES]
        file["model"]["byte_fallback"] = True
        tokenizer = Tokenizer.from_str(json.dumps(file))
    tokenizer.decoder = decoders.Metaspace() if not byte_fallback else decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    end = tokenizer.token_to_id("</s>")
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B:1 </s>:1", special_tokens=[("</s>", end)])
    return tokenizer


def sentencepiece_bpe(normalizer, pre_tokenizer, decoder, fallback=True, **options):
    """A BPE over pieces with byte fallback, as Llama 2's tokenizer.json is."""
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trained.train_from_iterator(corpus(), trainers.BpeTrainer(vocab_size=2500, show_progress=False, special_tokens=["<unk>", "<s>", "</s>"]))
    old = json.loads(trained.to_str())["model"]
    specials = ["<unk>", "<s>", "</s>"]
    tokens = specials + (BYTES if fallback else []) + [t for t in old["vocab"] if t not in specials]
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, [tuple(m) for m in old["merges"]], unk_token="<unk>",
                                     fuse_unk=True, byte_fallback=fallback, **options))
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t in specials])
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    if pre_tokenizer is not None:
        tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoder
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)])
    return tokenizer


def llama_decoder():
    return decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])


def precompiled(charsmap):
    return normalizers.Precompiled(charsmap)


def configurations(charsmap):
    replace_spaces = normalizers.Replace(Regex(" {2,}"), " ")
    yield "t5", lambda: unigram(precompiled(charsmap), pre_tokenizers.Metaspace())
    yield "t5 first", lambda: unigram(precompiled(charsmap), pre_tokenizers.Metaspace(prepend_scheme="first"))
    yield "xlm-r", lambda: unigram(normalizers.Sequence([precompiled(charsmap), replace_spaces]), pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]))
    yield "albert", lambda: unigram(normalizers.Sequence(
        [normalizers.Replace("``", '"'), normalizers.Replace("''", '"'), normalizers.NFKD(), normalizers.StripAccents(),
         normalizers.Lowercase(), precompiled(charsmap), replace_spaces]), pre_tokenizers.Metaspace())
    yield "deberta-v3", lambda: unigram(normalizers.Sequence([normalizers.Strip(), precompiled(charsmap), replace_spaces]),
                                        pre_tokenizers.Metaspace())
    yield "unigram with bytes", lambda: unigram(normalizers.NFKC(), pre_tokenizers.Metaspace(prepend_scheme="never", split=False), True)
    yield "nmt", lambda: unigram(normalizers.Nmt(), pre_tokenizers.Metaspace(split=False))
    yield "llama 2", lambda: sentencepiece_bpe(normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]), None, llama_decoder())
    yield "llama, not legacy", lambda: sentencepiece_bpe(None, pre_tokenizers.Metaspace(prepend_scheme="first", split=False), llama_decoder())
    yield "gemma", lambda: sentencepiece_bpe(normalizers.Replace(" ", "▁"), pre_tokenizers.Split(" ", "merged_with_previous"),
                                             decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]))
    yield "mistral", lambda: sentencepiece_bpe(None, pre_tokenizers.Metaspace(split=False), llama_decoder(), ignore_merges=True)
    yield "no fallback", lambda: sentencepiece_bpe(normalizers.NFC(), pre_tokenizers.Metaspace(), decoders.Metaspace(), fallback=False)


NAMES = [name for name, _ in configurations(b"")]


@pytest.fixture(scope="session")
def vocabulary(tmp_path_factory, nmt_nfkc):
    """vocabulary(name): a folder with the tokenizer.json of a configuration."""
    made = {}

    def get(name):
        if name not in made:
            folder = tmp_path_factory.mktemp("pieces")
            dict(configurations(nmt_nfkc))[name]().save(str(folder / "tokenizer.json"))
            made[name] = folder
        return made[name]

    return get


@pytest.fixture(scope="session")
def generated():
    return list(strings(GENERATED, 1, ["<s>", "</s>", "<unk>"]))


@pytest.mark.parametrize("name", NAMES)
def test_generated_strings(lissom, vocabulary, generated, name):
    path = vocabulary(name) / "tokenizer.json"
    peer = load(path)
    expected = [e.ids for e in peer.encode_batch_fast(generated)]
    got = lines(lissom, path, generated)
    differing = [(t, a, b) for t, a, b in zip(generated, expected, got) if a != b]
    assert not differing, f"{len(differing)} of {len(generated)} differ: {min(differing, key=lambda d: len(d[0]))!a}"
    for skip in (False, True):
        wanted = peer.decode_batch(expected[:DECODED], skip_special_tokens=skip)
        back = lines(lissom, path, expected[:DECODED], "--decode", *(["--no-special"] if skip else []))
        differing = [(t, a, b) for t, a, b in zip(generated, wanted, back) if a != b]
        assert not differing, f"decode: {len(differing)} differ: {min(differing, key=lambda d: len(d[0]))!a}"
    compare(lissom, peer, path, generated[-1500:], pairs=1500)
    compare(lissom, peer, path, generated[-300:], pairs=300, special=False)


@pytest.mark.parametrize("name", ["t5", "xlm-r", "llama 2", "gemma"])
def test_real_text(lissom, vocabulary, shared, name):
    path = vocabulary(name) / "tokenizer.json"
    wiki = (shared / "data/wikitext2/wiki.valid.raw").read_text()
    compare(lissom, load(path), path, wiki.split("\n"), pairs=0)
    compare(lissom, load(path), path, [wiki], pairs=0)


def test_ties_are_split_as_by_the_package(lissom, tmp_path):
    """aaa is a aa or aa a: the last bit of the sums decides, and with it how decimal digits are read."""
    rng = np.random.Generator(np.random.PCG64(3))
    letters = [chr(0x4E00 + i) for i in range(400)]
    pieces = [["<unk>", 0.0], *([x * n, float(-rng.uniform(2, 12))] for x in letters for n in (1, 2))]
    config = {"type": "Unigram", "unk_id": 0, "vocab": pieces}
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({"version": "1.0", "added_tokens": [], "model": config}))
    texts = [y + x * 3 for x, y in zip(letters, letters[1:])]
    expected = [e.ids for e in load(path).encode_batch(texts)]
    assert {ids[-2] < ids[-1] for ids in expected} == {True, False}, "both ways occur"
    assert lines(lissom, path, texts) == expected


def test_every_metaspace(lissom, vocabulary, tmp_path):
    plain = json.loads((vocabulary("t5") / "tokenizer.json").read_text())
    plain["normalizer"] = None
    texts = ["", " ", "  a", "▁a", " ▁ b", "a b", "a  b ", "</s>a b</s> c", "a</s>", "x▁▁y", "_a b"] + list(strings(1500, 6, ["</s>"]))[700:]
    path = tmp_path / "tokenizer.json"
    for mark in ("▁", "_", " "):
        for scheme in ("always", "first", "never"):
            for split in (True, False):
                stage = {"type": "Metaspace", "replacement": mark, "prepend_scheme": scheme, "split": split}
                digits = {"type": "Digits", "individual_digits": True}
                for pre in (stage, {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, stage]},
                            {"type": "Sequence", "pretokenizers": [digits, stage] if scheme == "first" else [stage, digits, stage]}):
                    path.write_text(json.dumps({**plain, "pre_tokenizer": pre, "decoder": stage}))
                    compare(lissom, load(path), path, texts, pairs=10)


def test_other_stages(lissom, vocabulary, tmp_path):
    plain = json.loads((vocabulary("t5") / "tokenizer.json").read_text())
    path = tmp_path / "tokenizer.json"
    texts = list(strings(1500, 6))[700:]
    for change in ({"pre_tokenizer": {"type": "FixedLength", "length": 3}},
                   {"decoder": {"type": "CTC", "pad_token": "<pad>", "word_delimiter_token": "▁", "cleanup": True}},
                   {"decoder": {"type": "CTC", "pad_token": "e", "word_delimiter_token": "a", "cleanup": False}}):
        path.write_text(json.dumps({**plain, **change}))
        compare(lissom, load(path), path, texts, pairs=10)


def test_long_text_ends(lissom, vocabulary):
    """Near-linear: a megabyte in one piece."""
    for name in ("llama 2", "nmt", "gemma"):
        path = vocabulary(name) / "tokenizer.json"
        for unit in ("a", "ab é", " ", "▁"):
            text = unit * (300_000 // len(unit))
            assert lines(lissom, path, [text]) == [load(path).encode(text).ids]


# ---------------------------------------------------------------- tokenizer.model

SENTENCEPIECE = {
    "unigram": {"model_type": "unigram"},
    "bpe": {"model_type": "bpe"},
    "llama": {"model_type": "bpe", "byte_fallback": True, "vocab_size": 1300, "normalization_rule_name": "identity",
              "remove_extra_whitespaces": False, "split_digits": True},
    "unigram with bytes": {"model_type": "unigram", "byte_fallback": True, "vocab_size": 1300, "add_dummy_prefix": False},
    "symbols": {"model_type": "unigram", "user_defined_symbols": ["<sep>", "fox j", "é", "--"]},
    "bpe symbols": {"model_type": "bpe", "user_defined_symbols": ["<sep>", "fox j", "é", "--"], "remove_extra_whitespaces": False},
    "case folded": {"model_type": "unigram", "normalization_rule_name": "nmt_nfkc_cf", "split_by_whitespace": False},
}


@pytest.mark.parametrize("name", SENTENCEPIECE)
def test_tokenizer_model(lissom, trained_sentencepiece, tmp_path, generated, name):
    model = trained_sentencepiece(**SENTENCEPIECE[name])
    path = tmp_path / "tokenizer.model"
    path.write_bytes(model)
    peer = sentencepiece.SentencePieceProcessor(model_proto=model)
    texts = [t for t in generated if not any(s in t for s in ("<s>", "</s>", "<unk>"))][:30_000]
    texts += ["", " ", "  a  b ", "a\u3000\u00a0 b", "x <sep>y fox jumps -- é--é", "fox j", "\0a\0"] + corpus(500, 9)
    expected = peer.encode(texts)
    got = lines(lissom, path, texts)
    differing = [(t, a, b) for t, a, b in zip(texts, expected, got) if a != b]
    assert not differing, f"{len(differing)} of {len(texts)} differ: {min(differing, key=lambda d: len(d[0]))!a}"
    wanted = peer.decode(expected)
    back = lines(lissom, path, expected, "--decode")
    differing = [(t, a, b) for t, a, b in zip(expected, wanted, back) if a != b]
    assert not differing, f"decode: {len(differing)} differ: {min(differing, key=lambda d: len(d[0]))!a}"


def test_control_tokens_are_found(lissom, trained_sentencepiece, tmp_path):
    path = tmp_path / "tokenizer.model"
    path.write_bytes(trained_sentencepiece(**SENTENCEPIECE["llama"]))
    assert lines(lissom, path, ["<s>"]) == [[1]]


# ---------------------------------------------------------------- GGUF

def peer_gguf(path, metadata):
    """A GGUF of metadata alone, by gguf-py, with arrays of the types that llama.cpp's converter writes."""
    import gguf
    writer = gguf.GGUFWriter(path, "llama")
    for key, value in metadata.items():
        if key == "lissom.tokenizer.scores":  # JSON has no infinity
            value = [float("-inf") if x is None else x for x in value]
            writer.add_key_value(key, value, gguf.GGUFValueType.ARRAY, sub_type=gguf.GGUFValueType.FLOAT64)
        elif key == "tokenizer.ggml.precompiled_charsmap":
            writer.add_array(key, bytes(value))
        elif isinstance(value, list):
            writer.add_array(key, value)
        elif isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        else:
            writer.add_string(key, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def metadata_of(tool, folder, rows):
    import subprocess
    done = subprocess.run([str(tool("tokenizer_tool")), "gguf", str(folder), str(rows)], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", NAMES)
def test_folder_to_gguf_and_back(lissom, tool, vocabulary, generated, tmp_path, name):
    """tokenizer.json → GGUF metadata → ids and tokenizer.json: without one difference."""
    import subprocess
    folder = vocabulary(name)
    peer = load(folder / "tokenizer.json")
    rows = peer.get_vocab_size() + 3
    metadata = metadata_of(tool, folder, rows)
    bpe = json.loads((folder / "tokenizer.json").read_text())["model"]["type"] == "BPE"
    assert metadata["tokenizer.ggml.model"] == ("llama" if bpe else "t5")
    assert len(metadata["tokenizer.ggml.tokens"]) == len(metadata["tokenizer.ggml.scores"]) == rows
    types = metadata["tokenizer.ggml.token_type"]
    assert types[metadata["tokenizer.ggml.unknown_token_id"]] == 2 and types[-3:] == [5, 5, 5]
    if name == "llama 2":
        assert types.count(6) == 256 and metadata["tokenizer.ggml.add_space_prefix"] and metadata["tokenizer.ggml.add_bos_token"]
    peer_gguf(tmp_path / "model.gguf", metadata)
    texts = generated[-4000:]
    compare(lissom, peer, tmp_path / "model.gguf", texts)
    back = tmp_path / "back"
    back.mkdir()
    done = subprocess.run([str(tool("tokenizer_tool")), "hf", str(tmp_path / "model.gguf"), str(back)], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    assert [e.ids for e in load(back / "tokenizer.json").encode_batch(texts)] == [e.ids for e in peer.encode_batch(texts)]


@pytest.mark.parametrize("name", ["llama 2", "t5"])
def test_gguf_of_others(lissom, tool, vocabulary, generated, tmp_path, name):
    """Without the keys that are ours, as llama.cpp's converter writes it."""
    folder = vocabulary(name)
    peer = load(folder / "tokenizer.json")
    metadata = {k: v for k, v in metadata_of(tool, folder, peer.get_vocab_size()).items() if not k.startswith("lissom.")}
    metadata.pop("tokenizer.ggml.merges", None)
    peer_gguf(tmp_path / "model.gguf", metadata)
    texts = [t for t in generated[-4000:] if "<" not in t]
    expected = [e.ids for e in peer.encode_batch(texts)]
    differing = sum(a != b for a, b in zip(expected, lines(lissom, tmp_path / "model.gguf", texts)))
    # Scores in F32, and merges in another order where a piece can be made in two ways.
    assert differing <= len(texts) // 100


@pytest.mark.parametrize("name", ["llama", "unigram", "bpe symbols", "symbols"])
def test_tokenizer_model_to_gguf(lissom, tool, trained_sentencepiece, generated, tmp_path, name):
    """A folder with nothing but a tokenizer.model."""
    folder = tmp_path / "folder"
    folder.mkdir()
    model = trained_sentencepiece(**SENTENCEPIECE[name])
    (folder / "tokenizer.model").write_bytes(model)
    (folder / "tokenizer_config.json").write_text('{"add_bos_token": true, "add_eos_token": false}')
    peer = sentencepiece.SentencePieceProcessor(model_proto=model)
    metadata = metadata_of(tool, folder, peer.vocab_size() + 2)
    assert metadata["tokenizer.ggml.tokens"][:-2] == [peer.id_to_piece(i) for i in range(peer.vocab_size())]
    assert metadata["tokenizer.ggml.scores"][:-2] == [pytest.approx(peer.get_score(i)) for i in range(peer.vocab_size())]
    peer_gguf(tmp_path / "model.gguf", metadata)
    texts = [t for t in generated[-4000:] if not any(s in t for s in ("<s>", "</s>", "<unk>"))]
    expected = [[1] + ids for ids in peer.encode(texts)]
    got = lines(lissom, tmp_path / "model.gguf", texts)
    assert [d for d in zip(texts, expected, got) if d[1] != d[2]][:1] == []


def test_truncation_and_padding(lissom, vocabulary, tmp_path):
    """As tokenizer.json gives them, over single texts and pairs."""
    import subprocess
    plain = json.loads((vocabulary("t5") / "tokenizer.json").read_text())
    path = tmp_path / "tokenizer.json"
    texts = ["", "a", "the quick brown fox jumps over the lazy dog", "of the", "naïve café " * 5, "is was for on with as"]
    pairs = [(a, b) for a in texts for b in texts]
    compared = 0
    for length in (2, 3, 5, 8, 30):  # below the special tokens the package wraps around and cuts nothing
        for strategy in ("LongestFirst", "OnlyFirst", "OnlySecond"):
            for direction in ("Right", "Left"):
                truncation = {"direction": direction, "max_length": length, "strategy": strategy, "stride": 0}
                for padding in (None, {"strategy": "BatchLongest", "direction": direction, "pad_to_multiple_of": 8, "pad_id": 1, "pad_type_id": 3, "pad_token": "</s>"},
                                {"strategy": {"Fixed": 10}, "direction": "Left", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0, "pad_token": "<pad>"}):
                    path.write_text(json.dumps({**plain, "truncation": truncation, "padding": padding}))
                    peer = Tokenizer.from_file(str(path))
                    for batch in (texts, pairs):
                        try:
                            expected = [{"ids": e.ids, "type_ids": e.type_ids, "attention_mask": e.attention_mask} for e in peer.encode_batch(batch)]
                        except BaseException:  # noqa: BLE001: what cannot be cut
                            expected = None
                        text = "\n".join(map(json.dumps, batch)) + "\n"
                        done = subprocess.run([str(lissom), "tokenize", str(path), "--batch"], input=text.encode(), capture_output=True)
                        if expected is None:
                            assert done.returncode == 2 and b"truncation." in done.stderr
                        else:
                            compared += 1
                            assert [json.loads(line) for line in done.stdout.decode().splitlines()] == expected, (truncation, padding)
    assert compared > 60
