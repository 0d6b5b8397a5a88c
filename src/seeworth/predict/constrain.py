"""Which tokens may come next, so that the answer is one that the task can read: the task's grammar over one tokenizer.

llguidance walks the grammar byte by byte, so that every way in which a tokenizer can spell a word is followed, byte tokens included.
Knows nothing of models or photos.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from secrets import token_hex

import numpy as np
from llguidance import LLMatcher, LLTokenizer
from numpy.typing import NDArray

from ..errors import TaskError
from ..phi3v import Phi3VProcessor
from ..task import Field, Task

FEW = 256  # tokens that are looked at one by one
BEFORE = " "  # these tokenizers put a space before the first word, and take it away again when they decode


class Constraint:
    """The grammar of a task's answers for one model's vocabulary.

    Args:
        task: its categories with choices are limited to them.
        vocab_size: of the model, which may be larger than the tokenizer's.
        ends: tokens that end an answer.
        max_tokens: of free words in one field. An answer then always ends: numbers and choices are finite anyway.

    Raises TaskError when the grammar cannot be built, e.g. because no choice of a category can be said.
    """

    def __init__(
        self, task: Task, processor: Phi3VProcessor, *, vocab_size: int, ends: Sequence[int], max_tokens: int | None = None
    ) -> None:
        spelled = processor.tokenizer.backend_tokenizer.to_str()
        self.task = task
        self.max_tokens = max_tokens
        self.last = task.answer_fields[-1].name
        self.ends = tuple(ends)
        self.vocab_size = vocab_size
        self.tokenizer = LLTokenizer(_words_alone(spelled), n_vocab=vocab_size, eos_token=list(ends))
        self.usual = _usual(json.loads(spelled), vocab_size, ends)
        self.at_end = np.zeros(vocab_size, dtype=bool)
        self.at_end[list(ends)] = True
        source = LLMatcher.grammar_from_lark(task.grammar(before=BEFORE))
        self._first = LLMatcher(self.tokenizer, source)
        if self._first.is_error():
            raise TaskError(f"the answer {task.answer!r} cannot be constrained: {' '.join(self._first.get_error().split())[:200]}")

    @cached_property
    def spelled(self) -> list[bytes]:
        """What each token says, by its number."""
        return [self.tokenizer.decode_bytes([token]) for token in range(self.vocab_size)]

    @cached_property
    def words(self) -> list[int]:
        """Tokens that say something and that the tokenizer itself writes."""
        return [int(token) for token in np.flatnonzero(self.usual & ~self.at_end) if self.spelled[token]]

    @cached_property
    def letters(self) -> list[int]:
        """Tokens of one letter or digit."""
        return [token for token in self.words if len(self.spelled[token]) == 1 and self.spelled[token].isalnum()]

    def after(self, one: Field) -> list[int]:
        """The template's words behind a field."""
        return list(self.tokenizer.tokenize_str(self.task.after(one.name)))

    def text(self, said: Sequence[int]) -> str:
        """The words that tokens of an answer say."""
        return b"".join(self.spelled[token] for token in said).decode().removeprefix(BEFORE)

    def walk(self) -> Walk:
        """A new answer, nothing of it said."""
        return Walk(self, self._first.deep_copy())

    def accepts(self, text: str) -> bool:
        """Whether the answer may be these words, in the tokenizer's own spelling."""
        matcher = self._first.deep_copy()
        ids = self.tokenizer.tokenize_str(BEFORE + text)
        return matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting()

    def mask(self, matcher: LLMatcher) -> NDArray[np.bool_]:
        """bool[vocabulary] of what may come; ends among them where the answer may end."""
        bits = np.frombuffer(matcher.compute_bitmask(), dtype=np.uint8)
        allowed = np.unpackbits(bits, bitorder="little")[: self.vocab_size].astype(bool)
        usual = allowed & self.usual
        return usual if usual.any() else allowed


class Walk:
    """One answer as it is said, token by token.

    Attributes:
        said: its tokens. done: nothing may follow but the end.
    """

    def __init__(self, constraint: Constraint, matcher: LLMatcher) -> None:
        self.constraint = constraint
        self.said: list[int] = []
        self.done = False
        self._matcher = matcher
        self._allowed: NDArray[np.bool_] | None = None

    def forced(self) -> list[int]:
        """Take all that can only come next: the template's words in the tokenizer's own spelling, the rest of a choice."""
        begin = len(self.said)
        while not self.done and (only := self._matcher.compute_ff_tokens() or self._cut() or self._only()):
            for token in only:
                self.take(token)
        return self.said[begin:]

    def take(self, token: int) -> None:
        """Say one token. Raises TaskError when it may not come, which is a fault of the caller."""
        self._allowed = None
        if not self._matcher.consume_token(token):
            raise TaskError(f"token {token} may not come here: {self._matcher.get_error()[:80]}")
        self.said.append(token)
        self.done = self._matcher.is_stopped()

    def allowed(self) -> NDArray[np.bool_]:
        """bool[vocabulary]: the tokens that may come next, the ends too where the answer may end."""
        if self._allowed is None:
            self._allowed = self.constraint.mask(self._matcher)
            if (one := self._overlong()) is not None:
                self._allowed &= self._last_of(one, self._allowed)
        return self._allowed

    def _only(self) -> list[int]:
        """The one token that may come, when it is one. Where only the end may come the answer is done."""
        allowed = self.allowed()
        self.done = not (allowed & ~self.constraint.at_end).any()
        return [int(allowed.argmax())] if not self.done and np.count_nonzero(allowed) == 1 else []

    def _cut(self) -> list[int]:
        """The template's words behind free words that have become too long, where they may come; at the answer's end it is done."""
        if (one := self._overlong()) is None or not self._ends_with(one, ()):
            return []
        after = self.constraint.after(one)
        self.done = not after
        return after

    def _overlong(self) -> Field | None:
        """The field under way, when its words are free and have as many tokens as they may have."""
        most = self.constraint.max_tokens
        if most is None or len(self.said) < most:
            return None
        lengths = np.cumsum([len(self.constraint.spelled[token]) for token in self.said])
        text = b"".join(self.constraint.spelled[token] for token in self.said).decode(errors="ignore").removeprefix(BEFORE)
        one, start = self.constraint.task.under_way(text)
        free = one.kind != "number" and one.choices is None
        own = np.count_nonzero(lengths > len((BEFORE + text[:start]).encode()))
        return one if free and own >= most else None

    def _last_of(self, one: Field, allowed: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """bool[vocabulary]: tokens after which an overlong field may end. All, where it must go on for more than one: within the bytes
        of a character, or behind a backslash."""
        may: list[int] = np.flatnonzero(allowed).tolist()
        tried = may if len(may) <= FEW else [token for token in self.constraint.letters if allowed[token]]
        last = np.zeros_like(allowed)
        last[[token for token in tried if self._ends_with(one, (token,))]] = True
        return last if last.any() else allowed

    def _ends_with(self, one: Field, tokens: Sequence[int]) -> bool:
        """Whether the field may end behind these tokens."""
        ahead, more = self._matcher.deep_copy(), [*tokens, *self.constraint.after(one)]
        return ahead.try_consume_tokens(more) == len(more) and (one.name != self.constraint.last or ahead.is_accepting())


def _words_alone(spelled: str) -> str:
    """The tokenizer with its control tokens under names that nobody can know, so that no word of a task becomes one."""
    data = json.loads(spelled)
    secret = token_hex(16)
    names = {one["content"]: f"{secret}{one['id']}" for one in data["added_tokens"]}
    model = data["model"]
    model["vocab"] = {names.get(piece, piece): number for piece, number in model["vocab"].items()}
    model["unk_token"] = names.get(model["unk_token"], model["unk_token"])
    data["added_tokens"] = [one | {"content": names[one["content"]], "special": True} for one in data["added_tokens"]]
    return json.dumps(data | {"post_processor": None, "truncation": None, "padding": None})


def _usual(spelled: dict[str, object], vocab_size: int, ends: Sequence[int]) -> NDArray[np.bool_]:
    """bool[vocabulary], False for what the tokenizer itself never writes in words: control tokens other than the ends, and the byte
    of a character that has a token of its own."""
    model = spelled["model"]
    added = spelled["added_tokens"]
    assert isinstance(model, dict)
    assert isinstance(added, list)
    vocab: dict[str, int] = model["vocab"]
    usual = np.zeros(vocab_size, dtype=bool)
    usual[[number for number in vocab.values() if number < vocab_size]] = True
    usual[[one["id"] for one in added]] = False
    for byte in range(128):
        char = chr(byte).replace(" ", "▁")
        if char in vocab and (number := vocab.get(f"<0x{byte:02X}>")) is not None:
            usual[number] = False
    usual[list(ends)] = True
    return usual
