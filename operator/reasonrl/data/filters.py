"""Filters: which questions of the sources are kept. Each is a rule in a registry, found by its type in the spec."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from reasonrl.data.errors import DataError
from reasonrl.data.numeric_form import is_number
from reasonrl.rl.records import Question

_EXAMPLES = 3

Keep = Callable[[Question], bool]


@dataclass(frozen=True, slots=True)
class FilterReport:
    """What one filter did. `examples` are the first dropped questions, as `id: answer`."""

    type: str
    kept: int
    dropped: int
    examples: tuple[str, ...]

    def __str__(self) -> str:
        shown = f" (such as {'; '.join(self.examples)})" if self.examples else ""
        return f"filter {self.type}: {self.kept} kept, {self.dropped} dropped{shown}"


def numeric_answer(question: Question) -> bool:
    """Keeps questions whose answer is one number, as the report did (§2)."""
    return is_number(question.answer)


FILTERS: Mapping[str, Keep] = {"numericAnswer": numeric_answer}


def apply_filters(questions: Sequence[Question], types: Sequence[str]) -> tuple[list[Question], list[FilterReport]]:
    """The questions that every filter keeps, in order, and what each dropped.

    Raises DataError for an unknown type, and when a filter leaves nothing.
    """
    kept = list(questions)
    reports: list[FilterReport] = []
    for index, name in enumerate(types):
        if name not in FILTERS:
            raise DataError(f"spec.data.filters[{index}].type: unknown filter {name!r}; there is {', '.join(FILTERS)}")
        dropped = [question for question in kept if not FILTERS[name](question)]
        gone = {id(question) for question in dropped}
        kept = [question for question in kept if id(question) not in gone]
        examples = tuple(f"{question.id}: {question.answer[:60]}" for question in dropped[:_EXAMPLES])
        reports.append(FilterReport(name, kept=len(kept), dropped=len(dropped), examples=examples))
        if not kept:
            raise DataError(
                f"spec.data.filters[{index}]: {name} drops every question ({'; '.join(examples)}); is answerField the right one?"
            )
    return kept, reports
