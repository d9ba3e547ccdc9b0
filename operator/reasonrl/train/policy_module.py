"""A policy as one module whose call covers everything that touches its weights, the language-model head included.

DeepSpeed brings weights together while a module runs and takes them apart after it. The trainers here walk the head in chunks, past its
own module; so the walk happens inside this module's call, handed in as a function of hidden states and head.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from reasonrl.train.micro_batch_loss import Head
from reasonrl.train.policy_forward import PolicyForward
from reasonrl.train.protocol import TrainingSequence

HeadUse = Callable[[Tensor, Head], Tensor]
"""`(hidden [responseTokens, hidden], head) -> tensor`: what is wanted of a micro-batch, a loss or log-probs."""


class PolicyModule(nn.Module):
    """`forward_pass` gives the hidden states of `model`; `dtype` is what the head is computed in, `chunk_tokens` at a time."""

    def __init__(self, model: PreTrainedModel, forward_pass: PolicyForward, *, dtype: torch.dtype, chunk_tokens: int) -> None:
        super().__init__()
        self.model = model
        self._forward_pass = forward_pass
        self._dtype = dtype
        self._chunk_tokens = chunk_tokens

    def head_parameters(self) -> list[nn.Parameter]:
        head = self.model.get_output_embeddings()
        return [each for each in (head.weight, getattr(head, "bias", None)) if each is not None]

    def forward(self, sequences: Sequence[TrainingSequence], use: HeadUse) -> Tensor:
        hidden = self._forward_pass(sequences).to(self._dtype)
        head = self.model.get_output_embeddings()
        return use(hidden, Head(head.weight, getattr(head, "bias", None), self._chunk_tokens))


def padding_sequences() -> list[TrainingSequence]:
    """The smallest micro-batch there is: two tokens."""
    nothing = torch.zeros(1)
    return [
        TrainingSequence(
            tokens=torch.zeros(2, dtype=torch.long), prompt_length=1, advantages=nothing, mask=nothing, sampler_logprobs=nothing
        )
    ]


def no_loss(hidden: Tensor, head: Head) -> Tensor:
    """Zero, with a gradient of zero for every parameter: a rank that has nothing to compute keeps step with those that have."""
    touched = hidden.float().sum() + head.weight[:1].float().sum()
    if head.bias is not None:
        touched = touched + head.bias.float().sum()
    return touched * 0.0
