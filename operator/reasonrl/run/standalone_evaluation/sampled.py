"""What goes between the parts of a standalone evaluation: which answers are wanted, how they are sampled, and what came back.

A local engine and a server far away differ in everything else, so the words that both speak live here.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """Temperature 0 is greedy. `samples` answers to each question, each of at most `max_response_tokens`."""

    samples: int
    temperature: float
    top_p: float
    max_response_tokens: int
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Samples of one question that are not there yet. `question` is its place in the benchmark."""

    question: int
    samples: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """One answer. `length` is in tokens, end token included where an engine of ours wrote it, None when a server does not say; `finish` is
    stop, length, or a server's own word."""

    question: int
    sample: int
    text: str
    length: int | None
    finish: str


class Source(Protocol):
    """Where answers come from, ready to sample one benchmark."""

    def answers(self, wanted: list[Wanted]) -> Generator[list[Sampled], None, None]:
        """Answers as they come, in any order, each once; closing the generator ends what is under way. More than was wanted may come."""
        ...
