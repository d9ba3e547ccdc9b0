"""Does the lean forward pass agree with the library's on this very model? Asked once, before training with it.

Architectures grow options, and weights come with configurations that nobody here has seen: a check on a few tokens costs
milliseconds and turns a silently wrong gradient into a slower step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from reasonrl.train.protocol import TrainingSequence

TOLERANCE = 1e-3
"""Largest difference allowed between two passes in float32, relative to the largest number compared. Rounding gives about 1e-6 for a few
layers and grows with their number; a mistake gives 1e-1 and more."""


def disagreement(lean: Callable[[Sequence[TrainingSequence]], Tensor], model: Any) -> float:
    """Largest difference from the library's hidden states, and from its gradients of the first layer and the last norm, each relative to
    the largest number in the tensor compared. The sequences are ragged, and two of them share a prompt."""
    sequences = _probe(model.config.vocab_size)
    training = model.training
    model.eval()
    with torch.set_grad_enabled(any(parameter.requires_grad for parameter in model.parameters())):
        found, expected = lean(sequences).float(), _library(model, sequences).float()
        pairs = [(found.detach(), expected.detach())]
        if expected.requires_grad:
            watched = [each for each in (*model.model.layers[0].parameters(), model.model.norm.weight) if each.requires_grad]
            slope = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1))
            pairs += zip(torch.autograd.grad(found, watched, slope), torch.autograd.grad(expected, watched, slope), strict=True)
    model.train(training)
    return max(_relative(mine, theirs) for mine, theirs in pairs)


def _relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-30))


def _library(model: Any, sequences: Sequence[TrainingSequence]) -> Tensor:
    states = []
    for sequence in sequences:
        hidden = model.base_model(input_ids=sequence.tokens[None], use_cache=False).last_hidden_state[0]
        states.append(hidden[sequence.prompt_length - 1 : -1])
    return torch.cat(states)


def _probe(vocabulary: int) -> list[TrainingSequence]:
    generator = torch.Generator().manual_seed(0)
    shared, lone, *responses = (torch.randint(0, vocabulary, (length,), generator=generator) for length in (3, 4, 5, 9, 7))
    return [_sequence(shared, responses[0]), _sequence(shared, responses[1]), _sequence(lone, responses[2])]


def _sequence(prompt: Tensor, response: Tensor) -> TrainingSequence:
    zeros = torch.zeros(len(response))
    return TrainingSequence(
        tokens=torch.cat([prompt, response]), prompt_length=len(prompt), advantages=zeros, mask=zeros, sampler_logprobs=zeros
    )
