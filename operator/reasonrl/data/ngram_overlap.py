"""Is a question of a training set also one of a benchmark's? Found by shared runs of words, whatever the typesetting.

A benchmark that was trained on measures memory. Copies are seldom letter by letter: formulas are set anew, a sentence is put in front, the
question at the end is turned ("express it as m/n and find m + n"). What they keep is many runs of three words, rare ones above all, and
their numbers. A run that many questions have ("relatively prime positive integers") says little, so each run counts by its rarity; and as
two questions on one subject share their wording too, half of the runs are enough only beside a second sign: a shared number of two digits
or more, or the same answer, with which two fifths are enough.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from reasonrl.data.question_words import drawing_of, ngrams, numbers_of, plain_answer, plain_words, question_words, without_numbers
from reasonrl.rl.records import Question

NGRAM_WORDS = 3
SAME_QUESTION = 0.5
"""Least weighed share of the runs of one text that the other has as well, beside a second sign: the default of the build."""
WORDING_ALONE = 0.85
"""The same without a second sign."""
OTHER_NUMBERS = 0.8
"""Least share of all runs of both texts that they have in common once numbers are blotted out: the default of the build."""
_LEAST_NUMBERS = 0.85
_WITH_SAME_ANSWER = 0.8
_LEAST_WORDS = 8
"""A shorter question has too few runs to be known by a share of them."""
_SHORTEST_PART = 5
"""A question of the benchmark with fewer words has to be equal; one of so many may stand within another text, if the answer is the same."""
_LEAST_PLAIN_WORDS = 12
"""Words that are no numbers and no signs. "What is the remainder when # is divided by #" is no wording of anybody's."""

Ngram = tuple[str, ...]


class Likeness(StrEnum):
    """How a training question is like one of a benchmark."""

    EQUAL = "equal"
    """The same words, numbers and signs."""
    SAME = "same"
    """Most of the rare runs of words of one are in the other, and so are its numbers."""
    OTHER_NUMBERS = "otherNumbers"
    """The same wording with other numbers."""


@dataclass(frozen=True, slots=True)
class Overlap:
    """`benchmark` is the set's name, `held_out` its question; `share` (0 to 1) is what `likeness` was decided by."""

    benchmark: str
    held_out: Question
    likeness: Likeness
    share: float


@dataclass(frozen=True, slots=True)
class _Read:
    """A question as it is compared. `runs` are runs of words, `blotted` the same without numbers; `drawing` is the code of its picture."""

    question: Question
    words: tuple[str, ...]
    drawing: str
    answer: str
    runs: frozenset[Ngram]
    blotted: frozenset[Ngram]


def _read(question: Question) -> _Read:
    words = tuple(question_words(question.text))
    return _Read(
        question=question,
        words=words,
        drawing=drawing_of(question.text),
        answer=plain_answer(question.answer),
        runs=ngrams(words, NGRAM_WORDS),
        blotted=ngrams(without_numbers(words), NGRAM_WORDS),
    )


class BenchmarkIndex:
    """The benchmarks' questions by their runs of words. Memory grows with the benchmarks alone, about 25 kB a question."""

    def __init__(self, benchmarks: Iterable[tuple[str, Iterable[Question]]]) -> None:
        self._entries: list[tuple[str, _Read]] = []
        self._by_run: dict[Ngram, list[int]] = defaultdict(list)
        self._by_blotted: dict[Ngram, list[int]] = defaultdict(list)
        self._seen: Counter[Ngram] = Counter()
        for name, questions in benchmarks:
            for question in questions:
                self._add(name, question)

    def __len__(self) -> int:
        return len(self._entries)

    def count(self, question: Question) -> None:
        """Tells how common runs are. Every training question is counted before the first is matched: the answer must not depend on the
        order of the rows."""
        for run in ngrams(question_words(question.text), NGRAM_WORDS):
            if run in self._by_run:
                self._seen[run] += 1

    def overlaps(
        self, question: Question, *, same_question: float = SAME_QUESTION, other_numbers: float | None = OTHER_NUMBERS
    ) -> list[Overlap]:
        """Every question of a benchmark that is like this one, the most alike first."""
        mine = _read(question)
        found: dict[int, Overlap] = {}
        for place in self._sharing(mine.runs, self._by_run):
            name, held_out = self._entries[place]
            same = self._same(mine, held_out, same_question)
            if same is not None:
                found[place] = Overlap(name, held_out.question, *same)
        if other_numbers is not None and plain_words(mine.words) >= _LEAST_PLAIN_WORDS:
            for place in self._sharing(mine.blotted, self._by_blotted):
                name, held_out = self._entries[place]
                share = len(mine.blotted & held_out.blotted) / len(mine.blotted | held_out.blotted)
                if place not in found and share >= other_numbers and plain_words(held_out.words) >= _LEAST_PLAIN_WORDS:
                    found[place] = Overlap(name, held_out.question, Likeness.OTHER_NUMBERS, share)
        return sorted(found.values(), key=lambda each: (list(Likeness).index(each.likeness), -each.share, each.held_out.id))

    def _add(self, name: str, question: Question) -> None:
        held_out = _read(question)
        place = len(self._entries)
        self._entries.append((name, held_out))
        for run in held_out.runs:
            self._by_run[run].append(place)
        for run in held_out.blotted:
            self._by_blotted[run].append(place)

    def _same(self, mine: _Read, held_out: _Read, same_question: float) -> tuple[Likeness, float] | None:
        same_answer = bool(mine.answer) and mine.answer == held_out.answer
        # Two pictures may stand under one sentence: "What is the area of the shaded region?"
        wording_tells = same_answer or mine.drawing == held_out.drawing
        if mine.words == held_out.words and wording_tells:
            return Likeness.EQUAL, 1.0
        if not _numbers_agree(mine.words, held_out.words):
            return None
        if min(len(mine.words), len(held_out.words)) < _LEAST_WORDS:
            within = len(held_out.words) >= _SHORTEST_PART and held_out.runs <= mine.runs
            return (Likeness.SAME, 1.0) if within and same_answer else None
        share = self._weighed_share(mine.runs, held_out.runs)
        if same_answer:
            enough = share >= _WITH_SAME_ANSWER * same_question
        elif _share_a_long_number(mine.words, held_out.words):
            enough = share >= same_question
        else:
            enough = wording_tells and share >= max(same_question, WORDING_ALONE)
        return (Likeness.SAME, share) if enough else None

    def _sharing(self, runs: frozenset[Ngram], index: dict[Ngram, list[int]]) -> list[int]:
        shared = Counter(place for run in runs for place in index.get(run, ()))
        return sorted(place for place, count in shared.items() if count >= min(3, len(runs)))

    def _weighed_share(self, one: frozenset[Ngram], other: frozenset[Ngram]) -> float:
        """The larger of the two shares: one text may be part of the other."""
        shared = math.fsum(self._weight(run) for run in one & other)
        return max(shared / math.fsum(self._weight(run) for run in one), shared / math.fsum(self._weight(run) for run in other))

    def _weight(self, run: Ngram) -> float:
        return 1.0 / (1.0 + math.log1p(self._seen[run] + len(self._by_run.get(run, ()))))


def _numbers_agree(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether nearly all numbers of the text with fewer are in the other as well."""
    mine, theirs = numbers_of(one), numbers_of(other)
    fewer = min(mine.total(), theirs.total())
    return (mine & theirs).total() >= _LEAST_NUMBERS * fewer


def _share_a_long_number(one: Sequence[str], other: Sequence[str]) -> bool:
    return any(len(number) > 1 for number in numbers_of(one).keys() & numbers_of(other).keys())
