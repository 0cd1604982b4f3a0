"""Strings that look for differences between tokenizers: every class of character, alone and mixed. Seeded."""

import random
import sys
import unicodedata

SPACES = "\t\n\r\v\f \x1c\x85\xa0\u1680\u2000\u2003\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
CONTROLS = "".join(map(chr, range(32))) + "\x7f\x80\x9f\xad\u200b\u200c\u200d\u200e\u202e\u2060\ufeff\ufffd\ufffe\ufff9\ue000\U000e0001"
MARKS = "\u0300\u0301\u0308\u0323\u0327\u0334\u0345\u035d\u0483\u05b0\u0651\u093c\u094d\u0e38\u0f71\u1ab0\u20dd\u302a\u3099\ufe0f\ufe20\U0001d165\U0001e130"
WORDS = """the of and Hello WORLD don't I'll we've they're it's I'm he'd can't naïve café Straße İstanbul ΟΔΟΣ ſtop K Å ǅ ﬁn
 http://example.com/a?b=c&d=e x=1; foo_bar(baz) 3.14159 1,000,000 ½ Ⅷ ٣٤٥ १२३ 百二十 你好世界 日本語テスト 한국어 각 Привет мир
 مرحبا שלום สวัสดี नमस्ते বাংলা ქართული Ἀθήνα e\u0301 o\u0308\u0323 A\u030a\u0301 'S 'Re 'LL 'ſ ''ve don’t … — “quoted” «x» $5 €6 a+b C++ #1 @you""".split()
EMOJI = ["😀", "👍🏽", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", "1️⃣", "☺️", "🧑🏿‍🚀", "\U0001fae8", "\U0001f6dc"]
ASSIGNED = [c for c in range(0x20, 0x110000) if not 0xD800 <= c < 0xE000 and unicodedata.category(chr(c)) != "Cn"
            and not 0xAC00 <= c < 0xD7A4 and not 0x4E00 <= c < 0xA000 and not 0x17000 <= c < 0x19000
            and not 0x20000 <= c < 0xE0000 and not 0xE100 <= c < 0xF900 and c < 0xF0000]


def any_character(rng):
    while True:
        c = rng.randrange(0x110000)
        if not 0xD800 <= c < 0xE000:
            return chr(c)


def piece(rng, specials):
    kind = rng.randrange(16)
    if kind < 3:
        return rng.choice(WORDS)
    if kind == 3:
        return rng.choice(SPACES) * rng.choice([1, 1, 1, 2, 3, 5, 9])
    if kind == 4:
        return "".join(rng.choice(SPACES) for _ in range(rng.randrange(1, 6)))
    if kind == 5:
        return rng.choice(CONTROLS)
    if kind == 6:
        return chr(rng.choice(ASSIGNED)) + "".join(rng.choice(MARKS) for _ in range(rng.randrange(1, 4)))
    if kind == 7:
        return rng.choice(EMOJI)
    if kind == 8:
        return "".join(chr(rng.randrange(33, 127)) for _ in range(rng.randrange(1, 9)))
    if kind == 9:
        return "".join(rng.choice("0123456789٣٧९५೩𝟘𝟡Ⅷ²½᧐〇") for _ in range(rng.randrange(1, 9)))
    if kind == 10:
        return "".join(chr(rng.randrange(0x4E00, 0x9FFF)) for _ in range(rng.randrange(1, 5)))
    if kind == 11:
        return "".join(chr(rng.randrange(0xAC00, 0xD7A4)) for _ in range(rng.randrange(1, 4))) + \
            rng.choice(["", "\u1100\u1161\u11a8", "\u1112\u1161"])
    if kind == 12 and specials:
        return rng.choice(["", " ", "\n"]) + rng.choice(specials) + rng.choice(["", " ", "\t ", "x"])
    if kind == 13:
        return any_character(rng)
    if kind == 14:
        return "".join(chr(rng.choice(ASSIGNED)) for _ in range(rng.randrange(1, 6)))
    return " "


def strings(count, seed=1, specials=()):
    """`count` strings; the first hold every code point once, beside letters."""
    rng = random.Random(seed)
    specials = list(specials)
    for begin in range(0, 0x110000, 64):
        if count == 0:
            return
        codes = [chr(c) for c in range(begin, begin + 64) if not 0xD800 <= c < 0xE000]
        if codes and begin < 0x3400 or 0xA000 <= begin < 0x20000 and not 0xAC00 <= begin < 0xD780 \
                and not 0xE000 <= begin < 0xF900 and not 0x17000 <= begin < 0x18C00 or begin in (0xE0000, 0x2A6C0, 0x2FA00, 0x10FFC0):
            yield "a".join(codes) + " " + " ".join(codes)
            count -= 1
    for i in range(count):
        if i % 5000 == 77:  # a long word
            yield rng.choice(["a", "ab", "é", "字", "\u0301", " ", "\n", "x1"]) * rng.randrange(500, 3000)
        else:
            yield "".join(piece(rng, specials) for _ in range(rng.choice([1, 1, 2, 3, 4, 6, 10])))


if __name__ == "__main__":
    sys.stdout.write("\n".join(map(ascii, strings(int(sys.argv[1])))))
