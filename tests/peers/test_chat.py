"""`lissom chat` and `tokenize --chat`: the template's text, the cache kept between turns, the way out without a template."""

import json
import subprocess

import pytest
from conftest import run
from transformers.utils.chat_template_utils import _compile_jinja_template

TURNS = ["What is two plus two?", "And three plus three? Say it in one sentence."]


def chat(lissom, model, turns, *flags, predict=24):
    text = "".join(t + "\n" for t in turns)
    done = run(lissom, "chat", model, "--json", "--quiet", "--temperature", "0", "-n", predict, *flags, input=text.encode())
    return [json.loads(line) for line in done.stdout.decode().splitlines()]


@pytest.fixture(scope="session")
def template(smollm2_gguf):
    from gguf import GGUFReader
    return GGUFReader(smollm2_gguf).fields["tokenizer.chat_template"].contents()


def test_turns_keep_what_was_read(lissom, smollm2_gguf, template):
    """The second answer is the one that reading the whole conversation afresh gives."""
    first, second = chat(lissom, smollm2_gguf, ["", TURNS[0], "  ", TURNS[1]], "--system", "Be brief.", "--exact")
    assert first["reused_tokens"] == 0 and first["content"]
    assert second["reused_tokens"] >= first["prompt_tokens"] + first["generated_tokens"] - 2
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": TURNS[0]},
                {"role": "assistant", "content": first["content"]}, {"role": "user", "content": TURNS[1]}]
    text = _compile_jinja_template(template).render(messages=messages, add_generation_prompt=True, bos_token="<|im_start|>", eos_token="<|im_end|>")
    fresh = json.loads(run(lissom, "run", smollm2_gguf, "-p", text, "--no-special", "--json", "--temperature", "0", "-n", "24", "--exact").stdout)
    assert fresh["prompt_tokens"] == second["prompt_tokens"]
    assert second["content"] == fresh["text"]


def test_answers_are_streamed_to_standard_output(lissom, smollm2_gguf):
    done = run(lissom, "chat", smollm2_gguf, "--temperature", "0", "-n", "8", input=b"Hello!\n")
    answer = chat(lissom, smollm2_gguf, ["Hello!"], predict=8)[0]
    assert done.stdout.decode() == answer["content"] + "\n"
    assert b"stopped: " in done.stderr
    assert run(lissom, "chat", smollm2_gguf, input=b"").stdout == b""


def test_tokenize_chat(lissom, smollm2_gguf, template, tmp_path):
    messages = [{"role": "user", "content": " é <|im_end|>\n"}, {"role": "assistant", "content": "b"}]
    for given in (messages, {"messages": messages, "add_generation_prompt": False}):
        (tmp_path / "m.json").write_text(json.dumps(given))
        ours = json.loads(run(lissom, "tokenize", smollm2_gguf, "--chat", tmp_path / "m.json", "--json").stdout)
        variables = given if isinstance(given, dict) else {"messages": given, "add_generation_prompt": True}
        assert ours["text"] == _compile_jinja_template(template).render(bos_token="<|im_start|>", eos_token="<|im_end|>", **variables)
        plain = json.loads(run(lissom, "tokenize", smollm2_gguf, ours["text"], "--no-special", "--json").stdout)
        assert ours["ids"] == plain["ids"]


def test_template_of_a_file(lissom, smollm2_gguf, tmp_path):
    (tmp_path / "t.jinja").write_text("{{ messages[0].content }}")
    [answer] = chat(lissom, smollm2_gguf, ["one two three"], "--chat-template", tmp_path / "t.jinja")
    ids = json.loads(run(lissom, "tokenize", smollm2_gguf, "one two three", "--no-special", "--json").stdout)["ids"]
    assert answer["prompt_tokens"] == len(ids)


@pytest.mark.parametrize("source,message", [("{% if %}", b"t.jinja:1:7: "), ("{{ messages[9].content.x }}", b"t.jinja:1:")])
def test_bad_templates(lissom, smollm2_gguf, tmp_path, source, message):
    (tmp_path / "t.jinja").write_text(source)
    done = subprocess.run([lissom, "chat", smollm2_gguf, "--chat-template", tmp_path / "t.jinja"], input=b"hi\n", capture_output=True)
    assert done.returncode == 2 and message in done.stderr and done.stdout == b""


def test_long_conversations_and_models_without_a_template(lissom, smollm2_gguf, minilm, tmp_path):
    done = subprocess.run([lissom, "chat", smollm2_gguf, "--ctx", "16"], input=b"hi\n", capture_output=True)
    assert done.returncode == 2 and b"longer than the context of 16" in done.stderr
    # The key's name is changed in place: no template, and nothing else moves.
    model = tmp_path / "plain.gguf"
    model.write_bytes(smollm2_gguf.read_bytes().replace(b"tokenizer.chat_template", b"tokenizer.chat_tumplate", 1))
    done = subprocess.run([lissom, "chat", model], input=b"hi\n", capture_output=True)
    assert done.returncode == 2 and b"no chat template" in done.stderr and b"--chat-template" in done.stderr
    done = subprocess.run([lissom, "chat", minilm], input=b"hi\n", capture_output=True)
    assert done.returncode == 2 and b"an encoder does not converse" in done.stderr
