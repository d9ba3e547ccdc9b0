"""The demo's task: chains of signed digits, made on the spot, small enough for a model of half a million weights.

A question is a chain such as `Q a 7 b + 9 c - 5 : <think>`; its answer is the value at the end, and the value stays within 0 … 99 all
along. The terms carry letters so that a worked solution can say where it stands: `b 7 + 9 = 16 ; c 16 - 5 = 11 ;`. Working term by term
is long and mostly right, guessing is short and mostly wrong: what reinforcement learning has to find out is that thinking pays, and the
length of responses grows as it does.

The task is ours, not the report's.
"""

from __future__ import annotations

import hashlib
import random
import string
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from reasonrl.data.errors import DataError
from reasonrl.rl.records import Question

NAME = "chainedDigits"
LARGEST_VALUE = 99
LARGEST_DIGIT = 9
SEED_CLASSES = 8
"""Every possible question belongs to one of so many classes, and a seed draws from the class `seed mod 8` only. So sets whose seeds
differ modulo 8 have no question in common: that is how a held-out set is made."""

GUESS_SHARE = 0.45
"""Share of the warm start's traces that guess."""
CHUNK_SIZES = (1, 1, 2)
"""A worked trace takes so many terms at a time, drawn anew for each line."""

THINK, END_THINK, ANSWER, END_ANSWER = "<think>", "</think>", "<answer>", "</answer>"
WORDS = (
    *(str(value) for value in range(LARGEST_VALUE + 1)),
    *string.ascii_lowercase,
    *("+", "-", "=", ";", ":", "Q"),
    *(THINK, END_THINK, ANSWER, END_ANSWER),
)
"""All words of questions and traces: one token each."""

_MOST_TERMS = len(string.ascii_lowercase)
_MISSES_ALLOWED = 2_000
"""Draws in a row that give no new question before the set is taken to be exhausted."""
_LAST_TERM_DRAWS = 16


@dataclass(frozen=True, slots=True)
class Chain:
    """`digits` with their `signs` (+1 or −1); the first sign is +1."""

    digits: tuple[int, ...]
    signs: tuple[int, ...]

    @property
    def value(self) -> int:
        return sum(sign * digit for sign, digit in zip(self.signs, self.digits, strict=True))

    @property
    def text(self) -> str:
        """The whole prompt, up to the tag that opens the thinking."""
        words = ["Q", "a", str(self.digits[0])]
        for label, sign, digit in zip(string.ascii_lowercase[1:], self.signs[1:], self.digits[1:], strict=False):
            words += (label, _sign_word(sign), str(digit))
        return " ".join((*words, ":", THINK))


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainShape:
    """Chains have `min_terms` to `max_terms` terms, each length equally often (less so where there are few different chains), and their
    digits are 1 … `largest_digit`: the fewer digits, the fewer sums a model has to know."""

    min_terms: int = 4
    max_terms: int = 14
    largest_digit: int = LARGEST_DIGIT

    def __post_init__(self) -> None:
        if not 2 <= self.largest_digit <= LARGEST_DIGIT:
            raise DataError(f"task {NAME}: largestDigit {self.largest_digit} must be between 2 and {LARGEST_DIGIT}")
        if not 2 <= self.min_terms <= self.max_terms <= _MOST_TERMS:
            raise DataError(
                f"task {NAME}: minTerms {self.min_terms} and maxTerms {self.max_terms} must satisfy 2 ≤ minTerms ≤ maxTerms ≤ {_MOST_TERMS}"
            )


def shape_of(options: Mapping[str, object]) -> ChainShape:
    """The options `minTerms`, `maxTerms` and `largestDigit` of the spec. Raises DataError for others, and for values that do not fit."""
    names = {"minTerms": "min_terms", "maxTerms": "max_terms", "largestDigit": "largest_digit"}
    unknown = sorted(set(options) - set(names))
    if unknown:
        raise DataError(f"task {NAME}: unknown options {', '.join(unknown)}; it has {', '.join(names)}")
    values: dict[str, int] = {}
    for option, value in options.items():
        if not isinstance(value, int) or isinstance(value, bool):
            raise DataError(f"task {NAME}: the option {option} must be a whole number, got {value!r}")
        values[names[option]] = value
    return ChainShape(**values)


def chains(*, size: int, seed: int, shape: ChainShape) -> Iterator[Chain]:
    """`size` different chains, the same for the same arguments. Raises DataError when there are not so many."""
    draw = random.Random(f"{NAME}/{seed}").random
    seen: set[Chain] = set()
    misses = 0
    while len(seen) < size:
        chain = _drawn(shape, wanted_class=seed % SEED_CLASSES, draw_below=lambda bound: int(draw() * bound))
        if chain is None or chain in seen:
            misses += 1
            if misses > _MISSES_ALLOWED:
                raise DataError(
                    f"task {NAME}: size {size} is too much, seed {seed} has little more than {len(seen)} different chains of "
                    f"{shape.min_terms} to {shape.max_terms} terms; lower size or raise maxTerms"
                )
            continue
        misses = 0
        seen.add(chain)
        yield chain


def seed_class(chain: Chain) -> int:
    """The class 0 … 7 that this chain belongs to, by a hash of its signed digits: nothing that a model could see."""
    return _class_of(_hashed(chain.digits, chain.signs))


def _hashed(digits: Sequence[int], signs: Sequence[int]) -> hashlib.blake2b:
    return hashlib.blake2b(bytes(sign * digit % 256 for sign, digit in zip(signs, digits, strict=True)), digest_size=1)


def _class_of(hashed: hashlib.blake2b) -> int:
    return hashed.digest()[0] % SEED_CLASSES


def questions(*, size: int, seed: int, options: Mapping[str, object]) -> list[Question]:
    """Questions whose text is the whole prompt (template `raw`); the field `terms` says how long the chain is."""
    made = chains(size=size, seed=seed, shape=shape_of(options))
    return [_question(chain, seed=seed, number=number) for number, chain in enumerate(made)]


def worked_examples(*, size: int, seed: int, options: Mapping[str, object]) -> Iterator[tuple[Question, str]]:
    """The same questions, each with a response to imitate: a guess in `GUESS_SHARE` of the cases, else worked out."""
    draw = random.Random(f"{NAME}/traces/{seed}").random
    for number, chain in enumerate(chains(size=size, seed=seed, shape=shape_of(options))):
        question = _question(chain, seed=seed, number=number)
        if draw() < GUESS_SHARE:
            yield question, guess(chain)
            continue
        remaining, chunks = len(chain.digits) - 1, []
        while remaining:
            chunks.append(min(CHUNK_SIZES[int(draw() * len(CHUNK_SIZES))], remaining))
            remaining -= chunks[-1]
        yield question, worked(chain, chunks=chunks)


def _question(chain: Chain, *, seed: int, number: int) -> Question:
    return Question(
        id=f"{NAME}-{seed}-{number}",
        text=chain.text,
        answer=str(chain.value),
        source=NAME,
        fields={"terms": len(chain.digits)},
    )


def guess(chain: Chain) -> str:
    """The value at once. The thinking is not empty: the format reward asks for some."""
    return " ".join(("=", str(chain.value), *_closing(chain)))


def worked(chain: Chain, *, chunks: list[int]) -> str:
    """Line by line, `chunks` terms a line (their sum is the number of terms after the first): label, value so far, terms, new value."""
    words: list[str] = []
    value, place = chain.digits[0], 1
    for size in chunks:
        words += (string.ascii_lowercase[place], str(value))
        for sign, digit in zip(chain.signs[place : place + size], chain.digits[place : place + size], strict=True):
            words += (_sign_word(sign), str(digit))
            value += sign * digit
        words += ("=", str(value), ";")
        place += size
    return " ".join((*words, *_closing(chain)))


def _closing(chain: Chain) -> tuple[str, ...]:
    return (END_THINK, ANSWER, str(chain.value), END_ANSWER)


def _drawn(shape: ChainShape, *, wanted_class: int, draw_below: Callable[[int], int]) -> Chain | None:
    """A random chain of the class, or None: the last term is drawn anew a few times, which is cheaper than whole chains."""
    terms = shape.min_terms + draw_below(shape.max_terms - shape.min_terms + 1)
    value = 1 + draw_below(shape.largest_digit)
    digits, signs = [value], [1]
    for _ in range(terms - 2):
        digit, sign = _term(value, shape.largest_digit, draw_below)
        value += sign * digit
        digits.append(digit)
        signs.append(sign)
    hashed = _hashed(digits, signs)
    for _ in range(_LAST_TERM_DRAWS):
        digit, sign = _term(value, shape.largest_digit, draw_below)
        whole = hashed.copy()
        whole.update(bytes((sign * digit % 256,)))
        if _class_of(whole) == wanted_class:
            return Chain((*digits, digit), (*signs, sign))
    return None


def _term(value: int, largest: int, draw_below: Callable[[int], int]) -> tuple[int, int]:
    """Digit and sign of a term that keeps the value after it within bounds."""
    digit = 1 + draw_below(largest)
    sign = 1 if draw_below(2) else -1
    return digit, sign if 0 <= value + sign * digit <= LARGEST_VALUE else -sign


def _sign_word(sign: int) -> str:
    return "+" if sign > 0 else "-"
