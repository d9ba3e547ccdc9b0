"""The tasks that ship with ReasonRL, by their name in the spec: questions, worked examples for a warm start, and a tokenizer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from transformers import PreTrainedTokenizerFast

from reasonrl.data import chained_digits
from reasonrl.data.errors import DataError
from reasonrl.data.word_tokenizer import word_tokenizer
from reasonrl.rl.records import Question


class MakesQuestions(Protocol):
    def __call__(self, *, size: int, seed: int, options: Mapping[str, object]) -> list[Question]: ...


class MakesExamples(Protocol):
    def __call__(self, *, size: int, seed: int, options: Mapping[str, object]) -> Iterator[tuple[Question, str]]: ...


@dataclass(frozen=True, slots=True)
class Task:
    """`words` are all that questions and worked examples consist of."""

    questions: MakesQuestions
    worked_examples: MakesExamples
    words: tuple[str, ...]


TASKS: Mapping[str, Task] = {
    chained_digits.NAME: Task(chained_digits.questions, chained_digits.worked_examples, chained_digits.WORDS),
}


def task_named(name: str) -> Task:
    if name not in TASKS:
        raise DataError(f"task: unknown task {name!r}; there is {', '.join(TASKS)}")
    return TASKS[name]


def task_tokenizer(name: str, *, context_tokens: int) -> PreTrainedTokenizerFast:
    """The tokenizer of a model made from nothing for the task `name`."""
    return word_tokenizer(task_named(name).words, context_tokens=context_tokens)
