"""Our chat templates against Python's jinja2, set up as transformers does it: the same text, or an error on both sides."""

import json
import subprocess
import sys
import time

import jinja2
import pytest
from chat_templates import CONVERSATIONS, FAMILIES, VARIABLES, Generator
from transformers.utils.chat_template_utils import _compile_jinja_template

NOW = int(time.time())
# Errors that are ours alone.
DOCUMENTED = ("64 bits", "is not printed", "not supported", "complex number", "out of range", "too much", "a precision of")


def ours(tool, requests):
    """Each request is (template, variables); each answer the text, or None and the error."""
    text = "".join(json.dumps({"template": t, "variables": v, "now": NOW}) + "\n" for t, v in requests)
    done = subprocess.run([str(tool("chat_tool"))], input=text.encode(), capture_output=True)
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    answers = [json.loads(line) for line in done.stdout.decode().split("\n")[:-1]]
    assert len(answers) == len(requests)
    return [(a.get("text"), a.get("error")) for a in answers]


def theirs(template, variables):
    try:
        return _compile_jinja_template(template).render(**variables), None
    except RecursionError:
        raise
    except Exception as error:  # noqa: BLE001: whatever Python raises is an error of the template
        return None, f"{type(error).__name__}: {error}"


def differences(tool, requests):
    out = []
    for (template, variables), (mine, my_error) in zip(requests, ours(tool, requests)):
        text, error = theirs(template, variables)
        if mine != text:
            out.append((template, variables, text, error, mine, my_error))
    return out


@pytest.mark.parametrize("family", FAMILIES)
def test_family(tool, family):
    requests = [(FAMILIES[family], {"messages": m, **v}) for m in CONVERSATIONS for v in VARIABLES]
    found = differences(tool, requests)
    assert not found, f"{len(found)}: {found[0][2:]!a}\n{found[0][1]}"
    assert any(theirs(t, v)[0] for t, v in requests), "no conversation renders"


def test_generated_templates(tool):
    """Thousands of random templates. Where an error is ours alone, it must be one of the limits that docs/chat.md names."""
    generator = Generator(7)
    requests = [(generator.template(), Generator.VARIABLES) for _ in range(2500)]
    rendered = 0
    for template, variables, text, error, mine, my_error in differences(tool, requests):
        assert mine is None and any(d in my_error for d in DOCUMENTED), ascii((template, text, error, mine, my_error))
    for template, variables in requests[:500]:
        rendered += theirs(template, variables)[0] is not None
    assert rendered > 150


def test_generated_expressions(tool):
    """Single expressions, where an error hides nothing behind it."""
    generator = Generator(11)
    requests = [("{{ " + generator.expression(3) + " }}", Generator.VARIABLES) for _ in range(6000)]
    for template, variables, text, error, mine, my_error in differences(tool, requests):
        assert mine is None and any(d in my_error for d in DOCUMENTED), ascii((template, text, error, mine, my_error))


def test_white_space(tool):
    """Every mix of signs, line ends and blanks around tags."""
    import itertools
    requests = []
    for before, open_sign, close_sign, after in itertools.product(
            ["", "a", "\n", " \n ", "a \n  ", "\t", "x\r\n  "], ["", "-", "+"], ["", "-", "+"], ["", "b", "\n", "\n\n c", " \n d", " \r\n"]):
        for tag in ("{%" + open_sign + " if true " + close_sign + "%}" + after + "{%" + open_sign + " endif " + close_sign + "%}",
                    "{#" + open_sign + " c " + close_sign + "#}", "{{" + open_sign.replace("+", "") + " 1 " + close_sign.replace("+", "") + "}}",
                    "{%" + open_sign + " raw %}" + after + "{%" + open_sign + " endraw " + close_sign + "%}"):
            requests.append((before + tag + after, {}))
    assert not differences(tool, requests)[:1]


def test_text_methods(tool):
    """Python's str methods over awkward characters."""
    texts = ["", " ", "ß", "ΑΣ ΑΣΑ Σ", "ǆ ǅ Ǆ", "İstanbul ıI", "ŉ ﬁ", "a\u0301B c", "don't stop", "x\x1cy\u2028z\x85", "\xa0 a \u3000", "日本", "😀é", "'\"\\\x07\x7f\u200b\ud7ff", "1٣²Ⅷ"]
    calls = ["s.upper()", "s.lower()", "s.title()", "s.capitalize()", "s.strip()", "s.split()", "s.rsplit(none, 1)", "s.splitlines()", "s.splitlines(true)", "s | title", "s | capitalize",
             "s | upper", "s | reverse", "s | length", "s | list", "[s]", "s | tojson", "s | tojson(ensure_ascii=true)", "s.center(9, '·')", "s.zfill(5)", "s.isspace()", "s.replace('', '-')",
             "s.split(none, 1)", "s.find('')", "s.count('')", "s.startswith('', 99)", "s[1:-1]", "s[-2]", "s.partition(' ')", "s | trim | string", "s | indent(2, true, true)", "s * 2", "{s: s}"]
    requests = [("{{ " + c + " }}", {"s": t}) for c in calls for t in texts]
    found = differences(tool, requests)
    assert not found, ascii([(f[0], f[1], f[2], f[4:]) for f in found[:5]])


@pytest.mark.parametrize("template,where,what", [
    ("{{ a | wobble }}", "1:8", "no filter named 'wobble'"), ("\n{% if a is wobbly %}{% endif %}", "2:9", "no test named 'wobbly'"),
    ("a\n  {% include 'x' %}", "2:6", "unknown tag 'include'"), ("{% for x in y %}", "1:17", "endfor"), ("é{{ a.b.c.d }}", "1:10", "no attribute"),
    ("{{ raise_exception('no ' + 'way') }}", "1:19", "the template says: no way"), ("{{ 'x }}", "1:4", "does not end"), ("{{ 1 +", "1:", ""),
    ("{% for i in range(100) %}{% for j in range(100) %}{% for k in range(100) %}{% for l in range(99) %}{% endfor %}{% endfor %}{% endfor %}{% endfor %}", "1:", "the template"),
    ("{% set x = namespace(v=['aaaaaaaaaa']) %}{% for i in range(99) %}{% set x.v = x.v + x.v %}{% endfor %}", "1:", "too much"),
    ("{% set x = namespace(v=[]) %}{% for i in range(9999) %}{% set x.v = [x.v] %}{% endfor %}", "1:", "nested"),
    ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "1:", "nested too deep"), ("{{ 'a' * 10000000000 }}", "1:8", "too much"),
    ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "1:", "nested too deep"), ("{{ x" + ".a" * 9000 + " }}", "1:", "nested too deep"),
    ("{{ 'aaaa'.replace('a', 'b' * 1000000).replace('b', 'c' * 1000000) }}", "1:", "too much"), ("{{ '%s' % 1 }}", "1:9", "not supported"),
    ("{{ [].append(1) }}", "1:6", "not supported"), ("{{ ''.__class__ }}", "1:6", "not supported"),
])
def test_errors_and_limits(tool, template, where, what):
    begin = time.monotonic()
    [(text, error)] = ours(tool, [(template, {"a": {"b": 1} if "a.b" in template else 1} if "x.a" not in template else {"x": 1})])
    assert text is None and error.startswith("template:" + where) and what in error, error
    assert time.monotonic() - begin < 60


if __name__ == "__main__":  # test_chat_templates.py TOOL SEED: look for differences without end
    generator = Generator(int(sys.argv[2]))
    while True:
        some = [(generator.template(), Generator.VARIABLES) for _ in range(2000)]
        for difference in differences(lambda _: sys.argv[1], some):
            print(ascii(difference[0]), *map(ascii, difference[2:]), sep="\n  ")
