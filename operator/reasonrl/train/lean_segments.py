"""Which tokens of a micro-batch have to be computed, in which order, and what each may attend to.

Real tokens follow one another. A prompt that several sequences start with is laid out once, as responses that are sampled in groups
have it; the last token of a response, which predicts nothing, is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from reasonrl.train.protocol import TrainingSequence

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Segment:
    """Places `[start, start + length)`, attending to all of `[prefix_start, prefix_start + prefix)` and causally to themselves: a prompt,
    a response behind a shared prompt, or a whole sequence."""

    start: int
    length: int
    prefix_start: int
    prefix: int


@dataclass(slots=True)
class Placement:
    """Token ids and their positions in their sequences, as parts to be joined, and the segments that they form. `predictors` are for each
    sequence the places whose hidden state predicts its response tokens."""

    predictors: list[Ints]
    tokens: list[Ints] = field(default_factory=list)
    positions: list[Ints] = field(default_factory=list)
    segments: list[Segment] = field(default_factory=list)
    end: int = 0

    def add(self, tokens: Ints, *, prefix_start: int = 0, prefix: int = 0) -> int:
        """Lays tokens out behind a prefix that is there already, and says where they start."""
        start = self.end
        self.tokens.append(tokens)
        self.positions.append(np.arange(prefix, prefix + len(tokens)))
        self.segments.append(Segment(start, len(tokens), prefix_start, prefix))
        self.end += len(tokens)
        return start


def place(sequences: Sequence[TrainingSequence]) -> Placement:
    tokens = [sequence.tokens.numpy() for sequence in sequences]
    placement = Placement(predictors=[np.empty(0, dtype=np.int64)] * len(sequences))
    for prompt, members in _by_prompt(sequences, tokens):
        if len(members) == 1:
            whole = tokens[members[0]]
            start = placement.add(whole[: max(len(whole) - 1, len(prompt))])
            placement.predictors[members[0]] = np.arange(start + len(prompt) - 1, start + len(whole) - 1)
            continue
        prompt_start = placement.add(prompt)
        last = prompt_start + len(prompt) - 1
        for index in members:
            response = tokens[index][len(prompt) :]
            predictors = np.full(len(response), last)
            if len(response) > 1:
                start = placement.add(response[:-1], prefix_start=prompt_start, prefix=len(prompt))
                predictors[1:] = np.arange(start, start + len(response) - 1)
            placement.predictors[index] = predictors
    return placement


def _by_prompt(sequences: Sequence[TrainingSequence], tokens: Sequence[Ints]) -> list[tuple[Ints, list[int]]]:
    members: dict[bytes, list[int]] = {}
    for index, sequence in enumerate(sequences):
        members.setdefault(tokens[index][: sequence.prompt_length].tobytes(), []).append(index)
    return [(tokens[group[0]][: sequences[group[0]].prompt_length], group) for group in members.values()]
