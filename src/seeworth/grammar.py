"""What may be said in an answer, as one regular expression in Lark's notation as llguidance reads it.

`Task.grammar` hands the template's parts over; here they become a pattern. It has two forms, as `Task.write` has two: the plain one, in
which no word holds what follows it and no backslash stands, and the quoted one, in which every character that could be mistaken for
the template has its backslash. Whatever the pattern lets through, `Task.read` reads without a problem; whatever `Task.write`
writes, it lets through. Knows nothing of tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .errors import TaskError

# What str.isspace() says yes to, and str.strip() takes away.
SPACES = "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
SOME = "/(?s:.)+/"
ALL = "/(?s:.)*/"


@dataclass(frozen=True)
class Slot:
    """One field's place: what may stand there, and the literal words after it.

    Attributes:
        number: whether it holds a number, else words. choices: all words that are allowed; None leaves them free.
        after: the template up to the next field, or to its end.
    """

    number: bool
    choices: tuple[str, ...] | None
    after: str


def grammar(lead: str, slots: Sequence[Slot], *, marks: Iterable[str], max_digits: int) -> str:
    """The pattern of a whole answer, with `start` as its rule.

    Args:
        lead: words before the first field. marks: characters that the quoted form puts a backslash before, white space apart.
        max_digits: of a number.

    Raises TaskError when a category has no choice that is more than white space.
    """
    forms, lines = [], []
    for form, special in (("P", ""), ("Q", "".join(sorted({*marks, *SPACES, "\\"})))):
        names = [f"{form}{place}" for place in range(len(slots))]
        inside = [_number(special, max_digits) if slot.number else _words(slot.choices, special) for slot in slots]
        if not all(inside):
            continue
        for name, words, slot in zip(names, inside, slots, strict=True):
            lines.append(f"{name}: {_ended(words, slot.after, special, last=slot is slots[-1])}")
        forms.append(" ".join(names))
    if not forms:
        raise TaskError(f"{lead!r}: of one of the categories behind these words no choice can be said: none is a word")
    start = f"{_literal(lead)} " if lead else ""
    return "\n".join(["start: ANSWER", f"ANSWER: {start}({' | '.join(forms)})", *lines, ""])


def _ended(inside: str, after: str, special: str, last: bool) -> str:
    """A field's pattern and what follows it. In the plain form what follows stands there for the first time, but at the answer's end,
    where only the end counts; in the quoted form its first character cannot stand in a field without a backslash."""
    if not after:
        return inside
    whole = f"{inside} {_literal(after)}"
    return whole if last or special else f"({whole}) & ~({ALL} {_literal(after)} {SOME})"


def _words(choices: tuple[str, ...] | None, special: str) -> str:
    """Free words, or one of the choices; "" when no choice can be said in this form. None is blank, and none of the plain ones begins or
    ends with white space."""
    if choices is not None:
        fit = [word for word in dict.fromkeys(choices) if word.strip() and (special or (word == word.strip() and "\\" not in word))]
        if not fit:
            return ""
        return f"/{'|'.join(''.join(_one_of(char, special) for char in word) for word in fit)}/"
    back = _set(BACKSLASH)
    if not special:
        solid = f"[^{_set(SPACES)}{back}]"
        return f"/{solid}(?:[^{back}]*{solid})?/"
    plain, solid = f"[^{_set(special)}]", _set("".join(char for char in special if char not in SPACES))
    any_char = f"(?:{plain}|{back}[{_set(special)}])"
    return f"/{any_char}*(?:{plain}|{back}[{solid}]){any_char}*/"


def _number(special: str, max_digits: int) -> str:
    """A number as the task writes it: no sign but a minus, no needless zeros, at most `max_digits` digits."""
    digit, upper = _one_of("0123456789", special), _one_of("123456789", special)
    zero, point, minus = (_one_of(char, special) for char in "0.-")
    whole = f"(?:{zero}|{upper}{digit}*)"
    form = f"{zero}|{minus}?{upper}{digit}*|{minus}?{whole}{point}{digit}*{upper}"
    return f"(/{form}/ & /{minus}?{digit}(?:{point}?{digit}){{0,{max_digits - 1}}}/)"


def _one_of(chars: str, special: str) -> str:
    """One of these characters, with a backslash where it is special."""
    bare, marked = ("".join(char for char in chars if (char in special) is yes) for yes in (False, True))
    parts = ([f"[{_set(bare)}]"] if bare else []) + ([f"{_set(BACKSLASH)}[{_set(marked)}]"] if marked else [])
    return f"(?:{'|'.join(parts)})"


BACKSLASH = "\\"


def _set(chars: str) -> str:
    """Characters by their numbers, so that none means anything in a pattern; in or out of brackets."""
    return "".join(char if char.isascii() and char.isalnum() else f"\\x{{{ord(char):x}}}" for char in chars)


def _literal(words: str) -> str:
    return f"/{_set(words)}/"
