"""Words: how a text is cut, what two texts have in common, the form of a word, and invented words of a given form.

The form of a word is the word with each letter replaced by the first of its script, "Zürich," -> "Aaaaaa,": length, case,
script and punctuation stay, what it says is gone. Knows nothing of tables.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container
from functools import lru_cache
from random import Random

CJK = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"  # written without spaces, so that each sign is a word
MARK = "\0"  # stands before a form where a word may stand, too

_TOKEN = re.compile(rf"[{CJK}]\s*|(?:(?![{CJK}])\S)+\s*")
_WORD = re.compile(rf"[{CJK}]|(?:(?![{CJK}])\w)+")
_ADDRESS = re.compile(r"(?i)://|www\.|@|(?:\d\D?){7,}")  # an address or a number that may be a person's: never kept

_SPELL = {  # consonants and vowels that take turns
    "LATIN": ("bdfglmnprstvk", "aeiou"),
    "CYRILLIC": ("бвгдзклмнпрст", "аеиоу"),
    "GREEK": ("βγδκλμνπρστ", "αειου"),
}
_SIGNS = {
    "HEBREW": "אבגדהוזחטילמנסעפקרשת",
    "ARABIC": "ابتثجحدرزسشصعغفقكلمنهوي",
    "DEVANAGARI": "कखगचजटडतदनपबमयरलवसह",
    "THAI": "กขคงจชดตทนบปพมยรลวสห",
    "HIRAGANA": "あいうえおかきくけこさしすせそたちつてとなにぬねの",
    "KATAKANA": "アイウエオカキクケコサシスセソタチツテトナニヌネノ",
    "HANGUL": "가나다라마바사아자차카타파하고노도로모보소오조",
    "CJK": "天地山水火木金土日月星風雨雪花草竹石玉金白青赤黒大小中上下左右東西南北春夏秋冬",
}
_PICTURES = "✨🌟🎁🌿🍀🌙⭐🎈🎀💫🌸🍂"


def tokens(text: str) -> list[str]:
    """The text in pieces, each a word with its punctuation and the white space behind it; joined they are the text again."""
    return _TOKEN.findall(text.strip())


def words(text: str) -> set[str]:
    """The words of a text as they are counted: runs of letters and digits, without case and accents; also a whole hyphenated one."""
    plain = _plain(text)
    found = {word for word in _WORD.findall(plain) if word.strip("_")}  # a line alone is punctuation: no invented text changes it
    return found | {core for piece in plain.split() if not re.search(rf"[{CJK}]", piece) and (core := _core(piece)).strip("_")}


def key(text: str) -> str:
    """What is left of a text when case, accents, punctuation and the order of words do not count; two equal keys are a copy."""
    found = _WORD.findall(_plain(text))
    return " ".join(sorted(found)) or text.strip()


def is_address(token: str) -> bool:
    """Whether a piece of text looks like an address, an email or a long number."""
    return _ADDRESS.search(token) is not None


def form(text: str) -> str:
    """The text with every letter and digit replaced by the first of its kind."""
    return "".join(_form(char) for char in text)


def invent(shape: str, rng: Random, avoid: Container[str] = ()) -> str:
    """A text of the same form as `shape` that holds none of the words in `avoid` (as `words` gives them).

    After 20 attempts the words grow by a letter at a time, so that it always ends.
    """
    extra = ""
    for attempt in range(400):
        if attempt and attempt % 20 == 0:
            extra += "a"
        text = re.sub(r"(\w)(\W*)$", rf"\g<1>{extra}\g<2>", shape) if extra else shape
        made = _spell(text if any(map(str.isalnum, text)) or not extra else text + extra, rng)
        if not any(word in avoid for word in words(made) or {made.strip()}):
            return made
    raise AssertionError(f"no word like {shape!r} is free")


def _spell(shape: str, rng: Random) -> str:
    made: list[str] = []
    turn = rng.randrange(2)
    for char in shape:
        script = _script(char)
        if script in _SPELL:
            letter = rng.choice(_SPELL[script][turn % 2])
            made.append(letter.upper() if char.isupper() else letter)
            turn += 1
        elif script in _SIGNS:
            made.append(rng.choice(_SIGNS[script]))
        elif script == "DIGIT":
            made.append(chr(ord(char) - unicodedata.decimal(char) + rng.randrange(10)))
        elif script == "PICTURE":
            made.append(rng.choice(_PICTURES))
        else:
            made.append(char)
    return "".join(made)


def _form(char: str) -> str:
    script = _script(char)
    if script in _SPELL:
        first = _SPELL[script][1][0]
        return first.upper() if char.isupper() else first
    if script in _SIGNS:
        return _SIGNS[script][0]
    if script == "DIGIT":
        return chr(ord(char) - unicodedata.decimal(char))
    return {"PICTURE": _PICTURES[0], "MARK": ""}.get(script, char)


@lru_cache(maxsize=8192)
def _script(char: str) -> str:
    """LATIN, CJK and so on for letters; DIGIT, PICTURE (emoji), MARK (accents, joiners) or "" for all else."""
    category = unicodedata.category(char)
    if category == "Nd":
        return "DIGIT"
    if category[0] == "L" or category in ("Nl", "No"):
        script = unicodedata.name(char, "LATIN").split()[0].removesuffix("-A")
        return script if script in _SPELL or script in _SIGNS else "LATIN"  # of a script we cannot spell, Latin letters
    if category in ("So", "Sk", "Cn", "Co"):
        return "PICTURE"
    return "MARK" if category[0] == "M" or category in ("Cf", "Cc", "Cs") else ""


def _plain(text: str) -> str:
    if text.isascii():
        return text.casefold()
    decomposed = unicodedata.normalize("NFKD", text).casefold()
    return unicodedata.normalize("NFKC", "".join(char for char in decomposed if unicodedata.category(char) != "Mn"))


def _core(piece: str) -> str:
    return re.sub(r"^\W+|\W+$", "", piece)
