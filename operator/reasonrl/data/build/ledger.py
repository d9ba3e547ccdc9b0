"""What became of every row: counts by rule, some examples, and a line for each dropped row in a file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TextIO

from reasonrl.rl.records import Question

_EXAMPLES = 3
_SHOWN = 160
_REPEATED = "duplicate"

RULES: Mapping[str, str] = {
    "unusable": "no question or no answer in the row",
    "proof": "asks for a proof",
    "multipleChoice": "offers options",
    "multiPart": "has several parts that each ask something",
    "yesNo": "is answered by yes or no",
    "openEnded": "asks for an explanation, an example, a concept",
    "figure": "needs a picture that the text does not hold",
    "answer": "the answer is not one number",
    "text": "language or length",
    "duplicate": "repeats an earlier question",
    "nearDuplicate": "nearly repeats an earlier question, numbers and answer included",
    "benchmark": "is a question of a benchmark",
    "benchmarkOtherNumbers": "is a benchmark's question with other numbers",
    "longPrompt": "the prompt is longer than the model of the pass rate may be asked",
    "ungraded": "no answer of the model could be graded",
    "tooHard": "the model's share of right answers is too low",
    "tooEasy": "the model's share of right answers is too high",
}
"""Every rule that can drop a row, in the order in which they work, and what it means."""


@dataclass(frozen=True, slots=True)
class Example:
    """A dropped row, cut to a length that a person reads."""

    id: str
    text: str
    answer: str
    reason: str


@dataclass(slots=True)
class Ledger:
    """`dropped_file` is open for writing. `examples` holds the first few of each rule. `other_answers` are repeats whose answer is another
    text than that of the question which was kept: one of the two keys may be wrong."""

    dropped_file: TextIO
    read: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    dropped_by_source: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[Example]] = field(default_factory=dict)
    other_answers: list[tuple[str, str]] = field(default_factory=list)

    def drop(self, question: Question, rule: str, reason: str, **more: object) -> None:
        self._note(question.source, rule, Example(question.id, question.text, question.answer, reason), more)

    def drop_row(self, source: str, place: str, reason: str) -> None:
        """A row that is no question."""
        self._note(source, "unusable", Example(f"{source}, {place}", "", "", reason), {})

    @property
    def total_read(self) -> int:
        return self.read.total()

    @property
    def total_dropped(self) -> int:
        return self.dropped.total()

    def _note(self, source: str, rule: str, example: Example, more: Mapping[str, object]) -> None:
        if rule not in RULES:
            raise ValueError(f"{rule!r} is no rule of a build")
        self.dropped[rule] += 1
        self.dropped_by_source[source] += 1
        shown = self.examples.setdefault(rule, [])
        if len(shown) < _EXAMPLES:
            shown.append(Example(example.id, _cut(example.text), _cut(example.answer), _cut(example.reason)))
        line = {
            "id": example.id,
            "rule": rule,
            "reason": example.reason,
            "source": source,
            "question": example.text,
            "answer": example.answer,
            **more,
        }
        self.dropped_file.write(json.dumps(line, ensure_ascii=False) + "\n")


def _cut(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= _SHOWN else f"{plain[: _SHOWN - 1]}…"
