"""Is a question a repeat of an earlier one? Equal words, or nearly all runs of words in common with the same numbers and the same answer.

Two questions of one wording with other numbers are two questions, and so are two that differ in a word and in the answer. Near repeats
are found exactly: two sets of runs with Jaccard similarity s share one of the first ⌊(1 - s)·n⌋ + 1 of each, in any one order, so only
those are looked up.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reasonrl.data.question_words import drawing_of, ngrams, numbers_of, plain_answer, plain_words, question_words
from reasonrl.rl.records import Question

_RUN_WORDS = 3
_LEAST_PLAIN_WORDS = 12


@dataclass(frozen=True, slots=True)
class Repeat:
    """`first` is the id of the question that is kept. `similarity` is 1 for equal words. `same_answer`: the answers are the same text."""

    first: str
    similarity: float
    same_answer: bool


class KnownQuestions:
    """The questions met so far. Memory: about 2 kB for a question of 60 words, most of it its runs as 64-bit hashes."""

    def __init__(self, *, near: float | None) -> None:
        self._near = near
        self._equal: dict[bytes, int] = {}
        self._ids: list[str] = []
        self._answers: list[str] = []
        self._drawings: list[bytes] = []
        self._numbers: list[bytes] = []
        self._runs: list[NDArray[np.uint64]] = []
        self._by_run: dict[int, list[int]] = defaultdict(list)

    def repeat_of(self, question: Question) -> Repeat | None:
        """The earlier question that this one repeats; a question that repeats none is remembered."""
        words = question_words(question.text)
        # A text of other signs alone, such as "∑", has no words to be compared by.
        drawing = drawing_of(question.text)
        # Under a short sentence ("What is the area of the shaded region?") the picture is the question.
        telling_drawing = drawing if plain_words(words) < _LEAST_PLAIN_WORDS else ""
        # A text of other signs alone, such as "∑", has no words to be compared by.
        text = " ".join(words) or question.text
        answer = plain_answer(question.answer)
        exact = _digest(f"{text}\n{telling_drawing}")
        if exact in self._equal:
            first = self._equal[exact]
            if self._answers[first] == answer or self._drawings[first] == _digest(drawing):
                return Repeat(self._ids[first], 1.0, self._answers[first] == answer)
            # Another picture and another answer: another question, known by both.
            exact = _digest(f"{text}\n{drawing}\n{answer}")
            if exact in self._equal:
                return Repeat(self._ids[self._equal[exact]], 1.0, same_answer=True)
        runs = np.array(sorted({_hash(run) for run in ngrams(words, _RUN_WORDS)}), dtype=np.uint64)
        numbers = _digest(f"{sorted(numbers_of(words).items())} {telling_drawing}")
        prefix = self._prefix(runs)
        near = self._nearest(runs, prefix, numbers, answer)
        if near is not None:
            return near
        place = len(self._ids)
        self._equal[exact] = place
        self._ids.append(question.id)
        self._answers.append(answer)
        self._drawings.append(_digest(drawing))
        if self._near is not None:
            self._numbers.append(numbers)
            self._runs.append(runs)
            for run in prefix:
                self._by_run[run].append(place)
        return None

    def _prefix(self, runs: NDArray[np.uint64]) -> list[int]:
        if self._near is None:
            return []
        return [int(run) for run in runs[: math.floor((1.0 - self._near) * len(runs) + 1e-9) + 1]]

    def _nearest(self, runs: NDArray[np.uint64], prefix: list[int], numbers: bytes, answer: str) -> Repeat | None:
        if self._near is None:
            return None
        for place in sorted({place for run in prefix for place in self._by_run.get(run, ())}):
            if self._numbers[place] != numbers or self._answers[place] != answer:
                continue
            other = self._runs[place]
            shared = len(np.intersect1d(runs, other, assume_unique=True))
            similarity = shared / (len(runs) + len(other) - shared)
            if similarity >= self._near:
                return Repeat(self._ids[place], similarity, same_answer=True)
        return None


def _hash(run: tuple[str, ...]) -> int:
    return int.from_bytes(hashlib.blake2b("\x1f".join(run).encode(), digest_size=8).digest(), "big")


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()
