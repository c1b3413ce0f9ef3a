"""Seeded draws of names, numbers and phrases that keep training and evaluation apart.

In: a `random.Random` and a value kind of `schema.py`. Out: strings. Every invented name, number, key and phrase belongs
to one split for ever, by the hash of its own text, so that a model which answers about the evaluation split must have
read the passage: it never saw that entity or number while it was trained.
"""

import hashlib
import random
from functools import lru_cache
from typing import Literal

from tasks.demo.schema import Names, Numbers, Phrases, Value, YesNo

Split = Literal["training", "evaluation"]

# Of 256 hash values those below this one belong to evaluation: a quarter of all names and numbers.
EVALUATION_SHARE_OF_256 = 64

SYLLABLES: dict[str, tuple[tuple[str, ...], ...]] = {
    "place": (
        (
            "Al", "Bram", "Carn", "Dun", "El", "Fen", "Gal", "Har", "Ivel", "Jor", "Kel", "Lang", "Mar", "Nor", "Ost",
            "Pen", "Quar", "Rad", "Sel", "Tor", "Ul", "Ver", "Wal", "Yar", "Zen", "Brook", "Stan", "Thorn",
            "Whit", "Ash",
        ),
        ("", "a", "en", "er", "ing", "le", "o", "un", "i"),
        (
            "ford", "mere", "wick", "holm", "stead", "vale", "gate", "by", "ton", "bury", "dale", "moor",
            "haven", "cliff",
            "bridge", "field", "port", "marsh", "wood", "ley",
        ),
    ),
    "brand": (
        (
            "Zor", "Vel", "Mak", "Tri", "Quan", "Lum", "Ner", "Op", "Pex", "Ral", "Sim", "Tal", "Ur", "Vim",
            "Wex", "Xan",
            "Yel", "Bar", "Cor", "Del", "Eb", "Fal", "Gor", "Hel", "Ist", "Jul", "Kor", "Lor", "Mul", "Nav",
        ),
        ("", "a", "e", "i", "o", "u", "an", "er", "im"),
        (
            "tex", "na", "dix", "do", "lo", "vex", "ron", "mart", "co", "zen", "lux", "pro", "sta", "via", "dor", "kit",
            "mox", "net", "rim", "tec",
        ),
    ),
    "first": (
        (
            "Ad", "Ber", "Cal", "Dor", "Ed", "Fio", "Ger", "Han", "Il", "Jas", "Kat", "Leo", "Mir", "Nad", "Ol", "Per",
            "Ros", "Sil", "Tam", "Ulr", "Vin", "Wil", "Yas", "Zel",
        ),
        ("a", "an", "ek", "el", "ia", "ic", "in", "ine", "is", "o", "on", "or", "ra", "us", "wyn", "eth"),
    ),
    "last": (
        (
            "Ack", "Bol", "Cran", "Dray", "Ells", "Fern", "Gran", "Hask", "Ing", "Jess", "Kirk", "Lund", "Marl", "Nash",
            "Oak", "Pren", "Quill", "Rook", "Stro", "Tins", "Und", "Vosk", "Wend", "York",
        ),
        ("er", "son", "man", "ham", "low", "well", "ard", "ov", "ley", "wood", "smith", "ing", "ett", "more", "ridge"),
    ),
    "term": (
        (
            "tar", "bol", "fim", "gru", "hes", "jat", "kro", "lim", "mur", "nel", "pav", "rin", "sko", "tul",
            "ves", "wob",
            "yan", "zil", "cha", "dre", "flo", "gan", "hul", "kip",
        ),
        ("", "a", "e", "i", "o", "u"),
        ("mel", "dock", "fin", "gar", "kel", "let", "mot", "nik", "pel", "rond", "sten", "tow", "vin",
        "zet", "bit", "cor"),
    ),
}  # fmt: skip


def random_for(*parts: str | int) -> random.Random:
    """Return a generator whose draws depend on `parts` alone, whatever the process, machine or order of calls."""
    digest = hashlib.sha256("\x1f".join(str(part) for part in parts).encode()).digest()
    return random.Random(int.from_bytes(digest[:8], "big"))


@lru_cache(maxsize=200_000)
def split_of(text: str) -> Split:
    """Return the split that a name, number, key or phrase belongs to for ever."""
    first_byte = hashlib.sha256(text.lower().replace(",", "").encode()).digest()[0]
    return "evaluation" if first_byte < EVALUATION_SHARE_OF_256 else "training"


def draw_number(numbers: Numbers, split: Split, source: random.Random) -> str:
    """Draw a number of the split, without the text around it; from 1,000 dollars on with commas, years without."""
    while True:
        drawn = source.randrange(numbers.low, numbers.high + 1, numbers.step)
        is_grouped = "$" in numbers.pattern
        scaled = drawn / 10**numbers.decimals
        text = f"{scaled:,.{numbers.decimals}f}" if is_grouped else f"{scaled:.{numbers.decimals}f}"
        if split_of(text) == split:
            return text


def draw_name(kind: str, split: Split, source: random.Random) -> str:
    """Draw an invented name of the split; a person has a first and a last name, each of the split."""
    if kind == "person":
        return f"{draw_name('first', split, source)} {draw_name('last', split, source)}"
    while True:
        name = "".join(source.choice(part) for part in SYLLABLES[kind])
        if split_of(name) == split:
            return name


def draw_phrase(phrases: Phrases, split: Split, source: random.Random) -> str:
    """Draw a phrase of the split: its words may be known from training, their combination is not."""
    while True:
        text = phrases.pattern.format(*(source.choice(part) for part in phrases.parts))
        if split_of(text) == split:
            return text


def draw_value(values: Value, split: Split, source: random.Random) -> str:
    """Draw a value of any kind as it stands in a passage."""
    if isinstance(values, YesNo):
        return source.choice(("Yes", "No"))
    if isinstance(values, Numbers):
        return values.pattern.format(draw_number(values, split, source))
    if isinstance(values, Names):
        return values.pattern.format(draw_name(values.kind, split, source))
    return draw_phrase(values, split, source)
