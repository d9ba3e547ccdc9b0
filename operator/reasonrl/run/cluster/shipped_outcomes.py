"""Outcomes on their way from an engine's process to the run's: a few arrays instead of thousands of small tensors.

Pickling a tensor costs as much as decoding several tokens does, and in the engine's process it would be the engine that waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy
import torch

from reasonrl.rl.records import FinishReason, Response
from reasonrl.rollout.engine_session import Collected
from reasonrl.rollout.task import TaskOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class ShippedCollected:
    """`tokens` int64 and `logprobs` float32 `[all tokens]`, `lengths` int64 `[responses]`; each entry of `outcomes` is an outcome without
    its groups, and how many responses each of its groups has."""

    outcomes: list[tuple[TaskOutcome, tuple[int, ...] | None]]
    tokens: Any
    logprobs: Any
    lengths: Any
    stopped: list[bool]
    versions: list[int]
    texts: list[str]
    unfinished: int
    unwritten: int
    steps: int
    weight_version: int


def ship(collected: Collected) -> ShippedCollected:
    responses = [response for outcome in collected.outcomes for group in outcome.groups or () for response in group]
    return ShippedCollected(
        outcomes=[(_bare(outcome), _sizes(outcome)) for outcome in collected.outcomes],
        tokens=_joined([response.tokens for response in responses], numpy.int64),
        logprobs=_joined([response.sampler_logprobs for response in responses], numpy.float32),
        lengths=numpy.array([(len(response.tokens), len(response.sampler_logprobs)) for response in responses], dtype=numpy.int64),
        stopped=[response.finish is FinishReason.STOP for response in responses],
        versions=[response.weight_version for response in responses],
        texts=[response.text for response in responses],
        unfinished=collected.unfinished,
        unwritten=collected.unwritten,
        steps=collected.steps,
        weight_version=collected.weight_version,
    )


def unship(shipped: ShippedCollected) -> Collected:
    """Every tensor has memory of its own: the arrays lie in the object store, which must get them back."""
    lengths = shipped.lengths.reshape(-1, 2)
    tokens = _parts(shipped.tokens, lengths[:, 0])
    logprobs = _parts(shipped.logprobs, lengths[:, 1])
    responses = iter(
        [
            Response(
                tokens=tokens[index],
                sampler_logprobs=logprobs[index],
                finish=FinishReason.STOP if shipped.stopped[index] else FinishReason.LENGTH,
                weight_version=shipped.versions[index],
                text=shipped.texts[index],
            )
            for index in range(len(lengths))
        ]
    )
    outcomes = []
    for bare, sizes in shipped.outcomes:
        groups = None if sizes is None else [tuple(next(responses) for _ in range(size)) for size in sizes]
        outcomes.append(
            TaskOutcome(call=bare.call, number=bare.number, groups=groups, error=bare.error, refused=bare.refused),
        )
    return Collected(
        outcomes=outcomes,
        unfinished=shipped.unfinished,
        unwritten=shipped.unwritten,
        steps=shipped.steps,
        weight_version=shipped.weight_version,
    )


def _bare(outcome: TaskOutcome) -> TaskOutcome:
    return TaskOutcome(call=outcome.call, number=outcome.number, groups=None, error=outcome.error, refused=outcome.refused)


def _sizes(outcome: TaskOutcome) -> tuple[int, ...] | None:
    return None if outcome.groups is None else tuple(len(group) for group in outcome.groups)


def _joined(tensors: Sequence[torch.Tensor], dtype: Any) -> Any:
    if not tensors:
        return numpy.empty(0, dtype=dtype)
    return torch.cat([tensor.cpu() for tensor in tensors]).numpy().astype(dtype, copy=False)


def _parts(array: Any, lengths: Any) -> list[torch.Tensor]:
    ends = numpy.cumsum(lengths)
    return [torch.from_numpy(array[end - length : end].copy()) for length, end in zip(lengths, ends, strict=True)]
