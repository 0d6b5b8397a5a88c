"""The hinge: a question, an answer template and typed fields. It alone knows how fields become an answer, and an answer fields.

Targets, prompts, parsing, baselines, metrics and pages are derived from a Task. It knows nothing of photos or tokens.

The law, held by a property test: `task.read(task.write(values)) == Reading(values, problems=())` for all valid values.
How it is kept, although a title may hold ", Category: ": `write` first writes the plain sentence and reads it back.
Only when that does not give the same values does it put a backslash before whatever could be mistaken for the template.
`read` always takes a backslash as "the next character is itself".
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from .errors import TaskError
from .field import MAX_DIGITS, Field, Kind, field_dict, field_of, from_words, to_words, valid_value
from .files import yaml_text
from .grammar import Slot, grammar
from .record import Value

__all__ = ["ANSWER", "MAX_DIGITS", "QUESTION", "Field", "Kind", "Reading", "Task", "task_columns", "valid_value"]

QUESTION = "What is shown in this image?"
ANSWER = "Product: {title}, Category: {category3_code}, Full Price: {full_price}"


@dataclass(frozen=True)
class Reading:
    """What was read from an answer: values by field name, and in words what was wrong with it.

    A field that could not be read is absent from `values`; it never has a made-up value.
    """

    values: Mapping[str, Value]
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task:
    """A question, an answer template over fields, and the fields with their types.

    Fields named in the question but not in the answer are given to the model, not asked of it.
    Raises TaskError when the template cannot be read back, e.g. two fields with nothing between them.
    """

    question: str = QUESTION
    answer: str = ANSWER
    fields: tuple[Field, ...] = (Field("title"), Field("category3_code", "category"), Field("full_price", "number", "USD"))
    _literals: tuple[str, ...] = field(init=False, repr=False, compare=False)
    _names: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        literals, names = _split_template(self.answer)
        asked = _split_template(self.question)[1]
        known = [one.name for one in self.fields]
        for name in (*names, *asked):
            if name not in known:
                raise TaskError(f"the template names {{{name}}}, but the fields are {', '.join(known) or 'none'}: add it under fields")
        if not names:
            raise TaskError(f"the answer {self.answer!r} names no field: write at least one, as in 'Product: {{title}}'")
        for twice in (known, names):
            if len(set(twice)) != len(twice):
                raise TaskError(f"each field stands once, found {', '.join(sorted(twice))}")
        unused = set(known) - set(names) - set(asked)
        if unused:
            raise TaskError(f"field {', '.join(sorted(unused))} stands in neither question nor answer: remove it or use it")
        if any(not literal for literal in literals[1:-1]):
            raise TaskError(f"the answer {self.answer!r} has two fields with nothing between them: it could not be read back")
        if "\\" in self.answer:
            raise TaskError(f"the answer {self.answer!r} holds a backslash, which marks a quoted character: use another sign")
        literals[0], literals[-1] = literals[0].lstrip(), literals[-1].rstrip()
        object.__setattr__(self, "_literals", tuple(literals))
        object.__setattr__(self, "_names", tuple(names))

    @cached_property
    def answer_fields(self) -> tuple[Field, ...]:
        """The fields asked of the model, in the order of the answer."""
        by_name = {one.name: one for one in self.fields}
        return tuple(by_name[name] for name in self._names)

    @property
    def question_fields(self) -> tuple[Field, ...]:
        """The fields given to the model, in the order of the question."""
        by_name = {one.name: one for one in self.fields}
        return tuple(by_name[name] for name in dict.fromkeys(_split_template(self.question)[1]))

    def of_kind(self, kind: Kind) -> tuple[Field, ...]:
        """The answer fields of one kind."""
        return tuple(one for one in self.answer_fields if one.kind == kind)

    def prompt(self, values: Mapping[str, Any] | None = None) -> str:
        """The question in words, with the fields it names filled in. Raises TaskError when one is missing."""
        literals, names = _split_template(self.question)
        by_name = {one.name: one for one in self.fields}
        words = [to_words(by_name[name], _need(values or {}, name)) for name in names]
        return "".join(a + b for a, b in zip(literals, [*words, ""], strict=True))

    def write(self, values: Mapping[str, Any]) -> str:
        """The answer in words. Raises TaskError when a field is missing or its value is not valid.

        Valid: text and category hold at least one character that is not white space, a category is one of its
        choices, a number is finite with at most 15 digits.
        """
        clean = {one.name: valid_value(one, _need(values, one.name)) for one in self.answer_fields}
        words = [to_words(one, clean[one.name]) for one in self.answer_fields]
        plain = self._join(words)
        if self.read(plain) == Reading(clean):
            return plain
        return self._join([self.quote(word) for word in words])

    def read(self, text: str) -> Reading:
        """The fields in an answer. Never raises: what is wrong is told in `problems`."""
        values: dict[str, Value] = {}
        problems: list[str] = []
        text = _strip(text)
        lead = self._literals[0]
        if not text.startswith(lead):
            return Reading({}, (f"the answer does not start with {lead!r}: {text[:40]!r}",))
        for one, start, end in self._places(text):
            if end is None:
                problems.append(f"{one.name}: the words {self.after(one.name)!r} after it are missing")
                break
            value, problem = from_words(one, _unquote(text[start:end]))
            if problem:
                problems.append(f"{one.name}: {problem}")
            else:
                values[one.name] = value
        return Reading(values, tuple(problems))

    def spans(self, text: str) -> dict[str, tuple[int, int]]:
        """Where each field's words stand in an answer that `read` finds no problem in, no white space around it: name -> (start, end)."""
        return {one.name: (start, end) for one, start, end in self._places(text) if end is not None}

    def after(self, name: str) -> str:
        """The template's words behind a field of the answer, up to the next one or to the end."""
        return self._literals[self._names.index(name) + 1]

    def under_way(self, text: str) -> tuple[Field, int]:
        """The field that the beginning of an answer has come to, and where its words start."""
        *_, (one, start, _) = self._places(text)
        return one, start

    def _places(self, text: str) -> Iterator[tuple[Field, int, int | None]]:
        """Each field, where it starts and where it ends; None for the end of one behind which the template's words are missing."""
        position = len(self._literals[0])
        for one in self.answer_fields:
            literal = self.after(one.name)
            end = _find(text, literal, position, at_end=one.name == self._names[-1])
            yield one, position, end
            if end is None:
                return
            position = end + len(literal)

    def grammar(self, *, before: str = "") -> str:
        """What an answer may be, in Lark's notation as llguidance reads it: all that `write` writes, and nothing that `read` finds
        a problem in. A category with choices is one of them.

        Args:
            before: words in front of the answer, e.g. the space that a tokenizer puts there.
        """
        slots = [Slot(one.kind == "number", one.choices, self.after(one.name)) for one in self.answer_fields]
        return grammar(before + self._literals[0], slots, marks=self._marks(), max_digits=MAX_DIGITS)

    def with_choices(self, values: Iterable[Mapping[str, Value]]) -> Task:
        """The same task, its open categories limited to the words that these values have. A category that none of them has stays open."""
        seen: dict[str, dict[str, None]] = {one.name: {} for one in self.of_kind("category") if one.choices is None}
        for row in values:
            for name, words in seen.items():
                if isinstance(word := row.get(name), str) and word.strip():
                    words[word] = None
        return self._with({name: tuple(words) for name, words in seen.items() if words})

    def without_choices(self) -> Task:
        """The same task with every category open."""
        return self._with({one.name: None for one in self.of_kind("category")})

    def _with(self, choices: Mapping[str, tuple[str, ...] | None]) -> Task:
        fields = [replace(one, choices=choices[one.name]) if one.name in choices else one for one in self.fields]
        return replace(self, fields=tuple(fields))

    def _join(self, words: list[str]) -> str:
        return "".join(a + b for a, b in zip(self._literals, [*words, ""], strict=True))

    def quote(self, word: str) -> str:
        """A word in the quoted form: what could be mistaken for the template has a backslash before it."""
        marks = self._marks()
        return "".join("\\" + char if char in marks or char.isspace() else char for char in word)

    def _marks(self) -> set[str]:
        """Characters that the quoted form puts a backslash before, white space apart."""
        return {literal[0] for literal in self._literals if literal} | {"\\"}

    def to_dict(self) -> dict[str, Any]:
        """Plain data for YAML and JSON; `from_dict` is its inverse."""
        return {"question": self.question, "answer": self.answer, "fields": [field_dict(one) for one in self.fields]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], where: object = "the task") -> Task:
        """A task from plain data. `fields` may be left out: every name in braces is then text.

        Raises TaskError that names `where` and the key at fault.
        """
        if not isinstance(data, Mapping):
            raise TaskError(f"{where}: expected question, answer and fields, found {type(data).__name__}")
        strange = sorted(map(str, set(data) - {"question", "answer", "fields"}))
        if strange:
            raise TaskError(f"{where}: unknown {', '.join(strange)}; a task has question, answer and fields")
        question, answer = data.get("question", QUESTION), data.get("answer", ANSWER)
        if not isinstance(question, str) or not isinstance(answer, str):
            raise TaskError(f"{where}: question and answer are text, found {type(question).__name__} and {type(answer).__name__}")
        if data.get("fields") is None and answer == ANSWER:
            return cls(question=question)
        rows = data.get("fields")
        if rows is None:
            rows = [{"name": name} for name in dict.fromkeys(_split_template(answer)[1] + _split_template(question)[1])]
        if not isinstance(rows, list | tuple):
            raise TaskError(f"{where}: fields is a list of name, kind, unit and choices, found {type(rows).__name__}")
        return cls(question, answer, tuple(field_of(row, where) for row in rows))

    @classmethod
    def load(cls, path: Path) -> Task:
        """A task from a YAML file. Raises TaskError that names the file."""
        data = _task_file(path)
        return cls.from_dict({key: one for key, one in data.items() if key != "columns"} if isinstance(data, dict) else data, path)

    def save(self, path: Path) -> None:
        """Write what `load` reads."""
        path.write_text(yaml_text(self.to_dict()), encoding="utf-8")


def task_columns(path: Path) -> dict[str, str]:
    """The `columns:` of a task file, which say where an import finds fields and photo: field or role -> column; {} when it has none.

    Raises TaskError that names the file.
    """
    data = _task_file(path)
    columns = (data.get("columns") if isinstance(data, dict) else None) or {}
    if not isinstance(columns, dict) or not all(isinstance(one, str) for pair in columns.items() for one in pair):
        raise TaskError(f"{path}: columns is a list of `field: column`, both words, found {str(columns)[:80]!r}")
    return columns


def _task_file(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as problem:
        raise TaskError(f"{path}: expected a YAML task file: {problem}") from problem


def _find(text: str, literal: str, start: int, at_end: bool) -> int | None:
    """Where the unquoted `literal` first stands at or after `start`; with `at_end`, where it closes the text.

    An answer that breaks off right behind a literal has lost the literal's last white space to stripping; it counts.
    """
    position, bare = start, literal.rstrip()
    if "\\" not in text:  # nothing is quoted: the same without looking at each place
        found = text.find(literal, start) if not at_end else len(text) - len(literal) if text.endswith(literal) else -1
        broken_off = len(text) - len(bare) if bare and text.endswith(bare) else -1
        return min((one for one in (found, broken_off) if one >= start), default=None)
    while position <= len(text):
        if text.startswith(literal, position) and (not at_end or position + len(literal) == len(text)):
            return position
        if bare and position + len(bare) == len(text) and text.endswith(bare):
            return position
        position += 2 if text.startswith("\\", position) else 1
    return None


def _strip(text: str) -> str:
    """Strip white space at both ends, but not a white space that a backslash quotes."""
    text = text.lstrip()
    bare = text.rstrip()
    backslashes = len(bare) - len(bare.rstrip("\\"))
    return text[: len(bare) + 1] if backslashes % 2 else bare


def _unquote(text: str) -> str:
    """Strip, then take every backslash away, keeping the character after it."""
    return re.sub(r"\\(.)", r"\1", _strip(text), flags=re.DOTALL)


def _split_template(template: str) -> tuple[list[str], list[str]]:
    """ "a {x} b" -> (["a ", " b"], ["x"])."""
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as problem:
        raise TaskError(f"the template {template!r} is not well formed: {problem}; write {{{{ for a brace") from problem
    literals, names = [""], []
    for literal, name, form, conversion in parts:
        literals[-1] += literal
        if name is None:
            continue
        if form or conversion or not name.isidentifier():
            raise TaskError(f"the template {template!r} holds {{{name}}}: expected a plain field name, as in {{title}}")
        names.append(name)
        literals.append("")
    return literals, names


def _need(values: Mapping[str, Any], name: str) -> Any:
    if name not in values:
        raise TaskError(f"{name}: is missing; the values are {', '.join(values) or 'none'}")
    return values[name]
