"""The curriculum order: which questions a step takes.

A stream of positions 0, 1, 2, … runs through the questions, epoch after epoch; a step takes the next `count` of them. What a position
holds is a function of (order, seed, step size) alone, so a checkpoint needs nothing but the cursor, and a resumed run meets the same
questions in the same order.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import Any, Literal

from reasonrl.data.errors import DataError
from reasonrl.rl.records import Question

OrderName = Literal["shuffled", "given", "sortedBy"]


class ShuffledEpochs:
    """Permutations of `range(size)`, one for each epoch, from the seed.

    A step may hold the tail of one epoch and the head of the next, and should not meet a question twice. So epochs after the first are
    shuffled with a *gap*: two occurrences of one item are at least `gap` positions apart (`gap ≤ size`). An item at place j of one
    epoch may come at place i of the next when `i ≥ j − (size − gap)`; drawing uniformly among these, place by place, never runs dry.
    The permutations made so far are kept; they are a cache, not state.
    """

    def __init__(self, size: int, *, seed: int, gap: int) -> None:
        self._seed = seed
        self._slack = size - min(gap, size)
        self._epochs = [self._shuffled(list(range(size)), epoch=0, slack=size)]

    def order(self, epoch: int) -> Sequence[int]:
        while len(self._epochs) <= epoch:
            self._epochs.append(self._shuffled(self._epochs[-1], epoch=len(self._epochs), slack=self._slack))
        return self._epochs[epoch]

    def _shuffled(self, previous: Sequence[int], *, epoch: int, slack: int) -> list[int]:
        # Only random() is promised to give the same numbers in every Python version.
        digest = hashlib.sha256(f"{self._seed}/order/{epoch}".encode()).digest()
        draw = random.Random(int.from_bytes(digest[:8], "big")).random
        eligible = list(previous[:slack])
        result = []
        for place in range(len(previous)):
            if place + slack < len(previous):
                eligible.append(previous[place + slack])
            chosen = int(draw() * len(eligible))
            eligible[chosen], eligible[-1] = eligible[-1], eligible[chosen]
            result.append(eligible.pop())
        return result


class PositionOrder:
    """The index in `range(size)` at each position of the stream, for steps of `count` positions.

    Steps of up to half the set share one shuffle, whatever their size, so that a phase may change the step size without a question
    being met twice in an epoch or not at all. Larger steps need a larger gap, hence a shuffle of their own.
    """

    def __init__(self, size: int, *, shuffle_seed: int | None) -> None:
        """`shuffle_seed` None keeps the order as given in every epoch. Raises ValueError when `size` is not positive."""
        if size < 1:
            raise ValueError(f"an order needs at least one item, got {size}")
        self._size = size
        self._seed = shuffle_seed
        self._by_gap: dict[int, ShuffledEpochs] = {}

    def indices(self, cursor: int, count: int) -> list[int]:
        """The indices at positions `cursor … cursor + count − 1`. Distinct when `count ≤ size`."""
        if cursor < 0 or count < 0:
            raise ValueError(f"cursor and count must not be negative, got {cursor} and {count}")
        places = (divmod(position, self._size) for position in range(cursor, cursor + count))
        if self._seed is None:
            return [place for _, place in places]
        gap = min(max(self._size // 2, count), self._size)
        if gap not in self._by_gap:
            self._by_gap[gap] = ShuffledEpochs(self._size, seed=self._seed, gap=gap)
        epochs = self._by_gap[gap]
        return [epochs.order(epoch)[place] for epoch, place in places]


class QuestionStream:
    """The questions of a run in their order. Holds no position: the cursor belongs to the caller."""

    def __init__(
        self,
        questions: Sequence[Question],
        *,
        order: OrderName = "shuffled",
        seed: int,
        sort_field: str | None = None,
        sort_descending: bool = False,
    ) -> None:
        """Raises DataError for an empty set, or when `sortedBy` meets a question that cannot be placed."""
        if not questions:
            raise DataError("spec.data: no questions are left to train on; look at the sources, their limits and spec.data.filters")
        if order == "sortedBy":
            if sort_field is None:
                raise DataError("spec.data.sortField: order sortedBy needs the name of a field")
            questions = sorted_by(questions, sort_field, descending=sort_descending)
        self._questions = tuple(questions)
        self._order = PositionOrder(len(questions), shuffle_seed=seed if order == "shuffled" else None)

    def __len__(self) -> int:
        return len(self._questions)

    def epoch(self, cursor: int) -> int:
        """The epoch, from 0, that the position `cursor` belongs to."""
        return cursor // len(self._questions)

    def take(self, cursor: int, count: int) -> tuple[list[Question], int]:
        """The `count` questions from position `cursor` on, and the cursor after them.

        No question comes twice while `count` is at most the number of questions.
        """
        return [self._questions[index] for index in self._order.indices(cursor, count)], cursor + count


def sorted_by(questions: Sequence[Question], field: str, *, descending: bool) -> list[Question]:
    """Stable sort by a source field: numbers by value, texts by code point. Raises DataError for missing or mixed values."""
    missing = [question.id for question in questions if question.fields.get(field) is None]
    if missing:
        raise DataError(
            f"spec.data.sortField: {len(missing)} of {len(questions)} questions have no field {field!r} (first: {missing[0]}); "
            f"this one has {', '.join(sorted(_first(questions, missing[0]).fields)) or 'no fields'}. "
            "Use a field that every row of every source has, or filter those rows out"
        )
    kinds = {_kind(question.fields[field]) for question in questions}
    if len(kinds) > 1 or not kinds <= {"number", "text"}:
        raise DataError(
            f"spec.data.sortField: the values of {field!r} cannot be put in one order: they are {' and '.join(sorted(kinds))}; "
            "make them all numbers or all texts"
        )

    def value(question: Question) -> Any:
        return question.fields[field]

    return sorted(questions, key=value, reverse=descending)


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "truth values"
    if isinstance(value, int | float):
        return "number" if value == value else "not-a-number values"
    return "text" if isinstance(value, str) else type(value).__name__


def _first(questions: Sequence[Question], identifier: str) -> Question:
    return next(question for question in questions if question.id == identifier)
