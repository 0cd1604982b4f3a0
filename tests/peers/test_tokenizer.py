"""Our tokenizers against the `tokenizers` package: the same ids and the same text, without one difference."""

import copy
import json
import subprocess

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizer_strings import strings

from conftest import run

GENERATED = 100_000
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace("{1,3}", "")


def lines(program, model, items, *flags):
    """`lissom tokenize --json-lines`: one JSON value in, one out."""
    text = "\n".join(map(json.dumps, items)) + "\n"
    done = subprocess.run([str(program), "tokenize", str(model), "--json-lines", *flags], input=text.encode(),
                          capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    out = [json.loads(line) for line in done.stdout.decode().split("\n")[:-1]]
    assert len(out) == len(items)
    return out


def load(path):
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def compare(program, peer, model, texts, pairs=1000, special=True):
    """Encode and decode every text; returns how many were compared."""
    texts = list(texts)
    expected = [e.ids for e in peer.encode_batch_fast(texts, add_special_tokens=special)]
    got = lines(program, model, texts, *([] if special else ["--no-special"]))
    differing = [(t, a, b) for t, a, b in zip(texts, expected, got) if a != b]
    assert not differing, f"{len(differing)} of {len(texts)} differ: {differing[0]!a}"
    for skip in (False, True):
        wanted = peer.decode_batch(expected, skip_special_tokens=skip)
        back = lines(program, model, expected, "--decode", *(["--no-special"] if skip else []))
        differing = [(t, a, b) for t, a, b in zip(texts, wanted, back) if a != b]
        assert not differing, f"decode: {len(differing)} of {len(texts)} differ: {differing[0]!a}"
    both = list(zip(texts[:pairs], reversed(texts[:pairs])))
    if both:
        got = lines(program, model, both, "--type-ids", *([] if special else ["--no-special"]))
        for (a, b), ours in zip(both, got):
            theirs = peer.encode(a, b, add_special_tokens=special)
            assert ours == {"ids": theirs.ids, "type_ids": theirs.type_ids}, ascii((a, b))
    return len(texts)


def specials(peer):
    return [t.content for t in peer.get_added_tokens_decoder().values()][:12]


CORPUS = ["the quick brown fox jumps over the lazy dog 123 times, doesn't it? Hello World!", "naïve café déjà vu 你好 мир"]


def trained_bpe(pre_tokenizer, normalizer=None, specials=("<|endoftext|>",), size=3000, **model):
    tokenizer = Tokenizer(models.BPE(**model))
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    text = CORPUS * 3 + list(strings(3000, seed=5))
    tokenizer.train_from_iterator(text, trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(specials), show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return tokenizer


def split_bytes(pattern):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"),
                                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


@pytest.fixture(scope="session")
def gpt2(tmp_path_factory):
    """GPT-2's own tokenizer where the data folder is there, else one of its kind, trained here."""
    from conftest import SHARED
    real = SHARED / "data/tokenizers/gpt2.tokenizer.json"
    if real.exists():
        return real
    path = tmp_path_factory.mktemp("gpt2") / "tokenizer.json"
    trained_bpe(pre_tokenizers.ByteLevel(add_prefix_space=False), size=8000).save(str(path))
    return path


@pytest.fixture(scope="session")
def smollm2_tokenizer(smollm2_gguf, tmp_path_factory):
    """SmolLM2's tokenizer.json, from the GGUF's vocabulary and merges through gguf-py."""
    from gguf import GGUFReader
    fields = GGUFReader(smollm2_gguf).fields
    tokens, merges, types = (fields["tokenizer.ggml." + k].contents() for k in ("tokens", "merges", "token_type"))
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, [tuple(m.split(" ")) for m in merges]))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([t for t, k in zip(tokens, types) if k == 3])
    path = tmp_path_factory.mktemp("smollm2-tokenizer") / "tokenizer.json"
    tokenizer.save(str(path))
    return path


@pytest.fixture(scope="session")
def bert(minilm):
    return minilm / "tokenizer.json"


@pytest.mark.parametrize("name", ["gpt2", "smollm2_tokenizer", "bert"])
def test_generated_strings(lissom, request, name):
    path = request.getfixturevalue(name)
    peer = load(path)
    assert compare(lissom, peer, path, strings(GENERATED, 1, specials(peer))) == GENERATED


@pytest.mark.parametrize("name", ["gpt2", "smollm2_tokenizer", "bert"])
def test_real_text(lissom, request, shared, name):
    path = request.getfixturevalue(name)
    peer = load(path)
    wiki = (shared / "data/wikitext2/wiki.valid.raw").read_text()
    snips = [(shared / f"data/snips/{part}.seq.in").read_text() for part in ("train", "valid")]
    compare(lissom, peer, path, wiki.split("\n") + [line for part in snips for line in part.split("\n")])
    compare(lissom, peer, path, [wiki, *snips], pairs=0)


def test_bert_vocabulary(lissom, shared, tmp_path):
    """The shared BERT vocabulary, cased and uncased."""
    words = (shared / "data/tokenizers/bert_uncased_vocab.txt").read_text().split("\n")[:-1]
    for lowercase, accents in ((True, None), (False, None), (True, False), (False, True)):
        peer = Tokenizer(models.WordPiece({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
        peer.normalizer = normalizers.BertNormalizer(lowercase=lowercase, strip_accents=accents)
        peer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        peer.decoder = decoders.WordPiece()
        peer.post_processor = processors.BertProcessing(("[SEP]", 102), ("[CLS]", 101))
        peer.save(str(tmp_path / "tokenizer.json"))
        compare(lissom, peer, tmp_path / "tokenizer.json", strings(5000, 2))


def byte_bpe_kinds():
    byte_level = pre_tokenizers.ByteLevel
    yield "llama3", split_bytes(LLAMA3), None, {"ignore_merges": True}
    yield "qwen2", split_bytes(QWEN2), normalizers.NFC(), {}
    yield "prefix space", byte_level(add_prefix_space=True), None, {}
    yield "digits", pre_tokenizers.Sequence([pre_tokenizers.Digits(False), byte_level(False)]), None, {}
    yield "o200k", split_bytes(
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
        r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"), None, {}
    yield "deepseek", pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"\p{N}{1,3}"), "isolated"),
         pre_tokenizers.Split(Regex("[一-龥\u3040-ゟ゠-ヿ]+"), "isolated"),
         pre_tokenizers.Split(Regex(r"[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"),
                              "isolated"), byte_level(False, use_regex=False)]), None, {}
    yield "bytes in between", pre_tokenizers.Sequence([byte_level(False), pre_tokenizers.Digits(True)]), None, {}


@pytest.mark.parametrize("kind", list(byte_bpe_kinds()), ids=lambda k: k[0])
def test_trained_byte_level(lissom, tmp_path, kind):
    name, pre_tokenizer, normalizer, options = kind
    peer = trained_bpe(pre_tokenizer, normalizer, ("<|begin|>", "<|end|>"), **options)
    peer.add_tokens([AddedToken("quick brown", single_word=True), AddedToken("[left]", lstrip=True, normalized=False),
                     AddedToken("[right]", rstrip=True), AddedToken("[both]", lstrip=True, rstrip=True, special=True)])
    begin, end = peer.token_to_id("<|begin|>"), peer.token_to_id("<|end|>")
    peer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), processors.TemplateProcessing(
        single="<|begin|> $A", pair="<|begin|> $A <|end|> $B:1",
        special_tokens=[("<|begin|>", begin), ("<|end|>", end)])])
    path = tmp_path / "tokenizer.json"
    peer.save(str(path))
    compare(lissom, peer, path, strings(12_000, 3, specials(peer) + ["quick brown"]))
    # The same file with the older form of merges.
    old = json.loads(path.read_text())
    old["model"]["merges"] = [" ".join(m) for m in old["model"]["merges"] if not any(" " in t for t in m)]
    (tmp_path / "old.json").write_text(json.dumps(old))
    compare(lissom, load(tmp_path / "old.json"), tmp_path / "old.json", strings(500, 4), pairs=0)


PIECES = [
    ("normalizers", n) for n in (
        normalizers.NFC(), normalizers.NFD(), normalizers.NFKC(), normalizers.NFKD(), normalizers.Lowercase(),
        normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()]), normalizers.Strip(),
        normalizers.Strip(left=False), normalizers.Replace("a", "ab"), normalizers.Replace(Regex(r"\p{Lu}+|\s"), "_"),
        normalizers.Prepend("x"), normalizers.BertNormalizer(handle_chinese_chars=False, clean_text=False))
] + [
    ("pre_tokenizers", p) for p in [
        pre_tokenizers.Whitespace(), pre_tokenizers.WhitespaceSplit(), pre_tokenizers.BertPreTokenizer(),
        pre_tokenizers.CharDelimiterSplit("e"), pre_tokenizers.Digits(False), pre_tokenizers.Digits(True)] + [
        pre_tokenizers.Punctuation(b) for b in ("isolated", "removed", "merged_with_previous", "merged_with_next",
                                                "contiguous")] + [
        pre_tokenizers.Split(p, b, invert) for p in (Regex(r"[aeiou\s]"), Regex("x*"), " ", Regex(r"[^\W\d]+"), Regex(r"\p{S}|\P{L}"))
        for b in ("isolated", "removed", "merged_with_previous", "merged_with_next", "contiguous")
        for invert in (False, True)]
]


def test_every_kind_of_stage(lissom, tmp_path):
    """Each normalizer and pre-tokenizer alone, in front of a BPE whose merges show every boundary."""
    base = trained_bpe(pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False), size=2000)
    plain = json.loads(base.to_str())
    for kind, stage in PIECES:
        file = copy.deepcopy(plain)
        stages = [json.loads(stage.__getstate__())]
        if kind == "pre_tokenizers":
            file["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": stages + [plain["pre_tokenizer"]]}
        else:
            file["normalizer"] = stages[0]
        (tmp_path / "tokenizer.json").write_text(json.dumps(file))
        compare(lissom, load(tmp_path / "tokenizer.json"), tmp_path / "tokenizer.json", list(strings(1200, 6))[500:],
                pairs=20)


def test_characters_with_unknowns_and_fallback(lissom, tmp_path):
    """BPE over characters: unknowns, fused or not, byte fallback, prefix and suffix."""
    letters = {c: i for i, c in enumerate(["?", "a", "b", "ab", "#b", "#a", "a@", "b@", "é"])}
    bytes_too = {**letters, **{f"<0x{b:02X}>": 9 + b for b in range(256)}}
    for options in ({"unk_token": "?"}, {"unk_token": "?", "fuse_unk": True}, {}, {"unk_token": "?", "end_of_word_suffix": "@"},
                    {"unk_token": "?", "continuing_subword_prefix": "#"}, {"byte_fallback": True, "unk_token": "?"}):
        vocab = bytes_too if options.get("byte_fallback") else letters
        merges = [("a", "#b")] if "continuing_subword_prefix" in options else [("a", "b")]
        peer = Tokenizer(models.BPE(vocab, merges, **options))
        peer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        peer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse(), decoders.Strip("a", 1, 0)])
        peer.save(str(tmp_path / "tokenizer.json"))
        compare(lissom, peer, tmp_path / "tokenizer.json", ["ab ba é aé? 😀ab", "aab b", "", "zzz a zz"] + list(strings(300, 8)))


def test_post_processors(lissom, tmp_path, bert):
    plain = json.loads(bert.read_text())
    for post in ({"type": "RobertaProcessing", "sep": ["[SEP]", 102], "cls": ["[CLS]", 101], "trim_offsets": True,
                  "add_prefix_space": False},
                 {"type": "BertProcessing", "sep": ["[SEP]", 102], "cls": ["[CLS]", 101]}, None, plain["post_processor"]):
        (tmp_path / "tokenizer.json").write_text(json.dumps({**plain, "post_processor": post}))
        peer = load(tmp_path / "tokenizer.json")
        for special in (True, False):
            compare(lissom, peer, tmp_path / "tokenizer.json", strings(300, 9), pairs=300, special=special)


# ---------------------------------------------------------------- GGUF

def test_gguf_of_smollm2(lissom, smollm2_gguf, smollm2_tokenizer):
    """The GGUF's own tokenizer is the one of tokenizer.json."""
    peer = load(smollm2_tokenizer)
    compare(lissom, peer, smollm2_gguf, strings(10_000, 10, specials(peer)), pairs=0)


def write_gguf(path, metadata):
    """A GGUF of metadata alone, by gguf-py."""
    import gguf
    writer = gguf.GGUFWriter(path, "llama")
    for key, value in metadata.items():
        if isinstance(value, list):
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


def test_folder_to_gguf_and_back(lissom, tool, smollm2_gguf, smollm2_tokenizer, bert, tmp_path):
    """tokenizer.json → GGUF metadata → tokenizer.json: the same ids at each step, as transformers reads them too."""
    from transformers import AutoTokenizer
    llama3 = trained_bpe(split_bytes(LLAMA3), None, ("<|begin|>", "<|end|>"), ignore_merges=True)
    begin = llama3.token_to_id("<|begin|>")
    llama3.post_processor = processors.TemplateProcessing(
        single="<|begin|> $A", pair="<|begin|> $A <|begin|>:1 $B:1", special_tokens=[("<|begin|>", begin)])
    qwen2 = trained_bpe(split_bytes(QWEN2), normalizers.NFC())
    for name, text, pre, more in (
            ("smollm", smollm2_tokenizer.read_text(), "smollm", 0), ("bert", bert.read_text(), "jina-v2-en", 3),
            ("llama3", llama3.to_str(), "llama-bpe", 5), ("qwen2", qwen2.to_str(), "qwen2", 1)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "tokenizer.json").write_text(text)
        if name == "bert":
            for file in ("tokenizer_config.json", "config.json"):
                (folder / file).write_text((bert.parent / file).read_text())
        peer = load(folder / "tokenizer.json")
        rows = peer.get_vocab_size() + more
        metadata = json.loads(run(tool("tokenizer_tool"), "gguf", folder, rows).stdout)
        assert metadata["tokenizer.ggml.pre"] == pre
        assert len(metadata["tokenizer.ggml.tokens"]) == rows
        assert metadata["tokenizer.ggml.tokens"][rows - more:] == [
            ("\u2581" if name == "bert" else "") + f"[PAD{i}]" for i in range(rows - more, rows)]
        write_gguf(tmp_path / f"{name}.gguf", metadata)
        compare(lissom, peer, tmp_path / f"{name}.gguf", strings(2000, 11, specials(peer)))
        back = tmp_path / f"{name}-back"
        back.mkdir()
        run(tool("tokenizer_tool"), "hf", tmp_path / f"{name}.gguf", back)
        texts = list(strings(2000, 12, specials(peer)))
        assert [e.ids for e in load(back / "tokenizer.json").encode_batch(texts)] == [
            e.ids for e in peer.encode_batch(texts)]
        (back / "config.json").write_text('{"model_type": "llama"}')
        loaded = AutoTokenizer.from_pretrained(back)
        assert loaded(texts[:300])["input_ids"] == [peer.encode(t).ids for t in texts[:300]]


def test_invalid_utf8(lissom, gpt2):
    peer = load(gpt2)
    for raw in (b"a\xffz", b"\xe2\x82", b"\xed\xa0\x80x", b"\xc0\xaf", b"\xf4\x90\x80\x80", b"ok \xf0\x9f\x98 end"):
        done = run(lissom, "tokenize", gpt2, "--json", input=raw)
        assert json.loads(done.stdout)["ids"] == peer.encode(raw.decode(errors="replace")).ids


def test_long_words_end(lissom, gpt2):
    """A word of a megabyte, a megabyte of spaces: no quadratic behaviour."""
    peer = load(gpt2)
    for unit in ("a", "ab\u00e9", " "):
        word = unit * (200_000 // len(unit))
        assert lines(lissom, gpt2, [word]) == [peer.encode(word).ids]
        done = subprocess.run([lissom, "tokenize", gpt2], input=(word * 5).encode(), capture_output=True, timeout=60)
        assert done.returncode == 0


def test_errors_name_file_and_field(lissom, gpt2, tmp_path):
    bad = json.loads(gpt2.read_text())
    bad["pre_tokenizer"]["type"] = "Magic"
    (tmp_path / "bad.json").write_text(json.dumps(bad))
    done = subprocess.run([lissom, "tokenize", tmp_path / "bad.json", "x"], capture_output=True)
    assert done.returncode == 2 and b"bad.json: pre_tokenizer.type: unknown pre-tokenizer 'Magic'" in done.stderr
