"""From token sequences to the hidden states that predict each response token.

The language-model head is left out on purpose: logits of a whole batch are the largest tensor of a training step (tokens × vocabulary),
so `rl.logprobs` takes the hidden states from here and walks the head in chunks. `head_of` refuses models whose logits are more than
a linear map of the last hidden state (soft caps, scaling), because skipping that would be silently wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from transformers import PreTrainedModel

from reasonrl.train.lean_forward import lean_forward_for
from reasonrl.train.protocol import TrainerError, TrainingSequence


@dataclass(frozen=True, slots=True)
class PackedTokens:
    """A micro-batch: `tokens` int64 `[batch, time]`, right-padded; `positions` int64 `[responseTokens]` are the flat places whose hidden
    state predicts a response token, sequence after sequence; `targets` int64 `[responseTokens]` those tokens; `lengths` the
    response length of each sequence."""

    tokens: torch.Tensor
    positions: torch.Tensor
    targets: torch.Tensor
    lengths: list[int]


def pack(sequences: Sequence[TrainingSequence], *, device: torch.device) -> PackedTokens:
    # Causal attention over right padding needs no mask: no real token looks at a later place.
    width = max(int(sequence.tokens.numel()) for sequence in sequences)
    tokens = torch.zeros(len(sequences), width, dtype=torch.long)
    positions, targets = [], []
    for row, sequence in enumerate(sequences):
        length = int(sequence.tokens.numel())
        tokens[row, :length] = sequence.tokens
        start = row * width
        positions.append(torch.arange(start + sequence.prompt_length - 1, start + length - 1))
        targets.append(sequence.tokens[sequence.prompt_length :])
    return PackedTokens(
        tokens=tokens.to(device),
        positions=torch.cat(positions).to(device),
        targets=torch.cat(targets).to(device),
        lengths=[sequence.response_length for sequence in sequences],
    )


PolicyForward = Callable[[Sequence[TrainingSequence]], torch.Tensor]
"""Sequences in, hidden states `[responseTokens, hidden]` out, sequence after sequence in the order given."""


def policy_forward(model: PreTrainedModel, *, dtype: torch.dtype, gradient_checkpointing: bool) -> PolicyForward:
    """The forward pass of this model with matrix products in `dtype`; the weights are float32 and stay so.

    The lean pass where the model fits it, and otherwise the library's.
    """
    lean = lean_forward_for(model, compute_dtype=dtype, gradient_checkpointing=gradient_checkpointing)
    if lean is not None:
        return lean
    return library_forward(model, dtype=dtype, gradient_checkpointing=gradient_checkpointing)


def library_forward(model: PreTrainedModel, *, dtype: torch.dtype, gradient_checkpointing: bool) -> PolicyForward:
    """The library's own forward pass, through the modules: what hooks on modules need. Weights that are not in `dtype` are cast to it by
    autocast, product by product."""
    if gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    mixed = next(model.parameters()).dtype != dtype

    def forward(sequences: Sequence[TrainingSequence]) -> torch.Tensor:
        device = next(model.parameters()).device
        packed = pack(sequences, device=device)
        with torch.autocast(device.type, dtype=dtype, enabled=mixed):
            return response_hidden_states(model, packed)

    return forward


def response_hidden_states(model: PreTrainedModel, packed: PackedTokens) -> torch.Tensor:
    """Last hidden states `[responseTokens, hidden]` at the places that predict the response tokens."""
    hidden: torch.Tensor = model.base_model(input_ids=packed.tokens, use_cache=False).last_hidden_state
    return hidden.reshape(-1, hidden.shape[-1]).index_select(0, packed.positions)


def head_of(model: PreTrainedModel) -> tuple[nn.Parameter, nn.Parameter | None]:
    """Weight `[vocabulary, hidden]` and bias of the language-model head.

    Raises TrainerError for a model whose logits are not exactly that linear map, found by trying it on a few tokens.
    """
    head = model.get_output_embeddings()
    if head is None:
        raise TrainerError(f"spec.model: {type(model).__name__} has no language-model head; a causal language model is needed")
    bias = getattr(head, "bias", None)
    device = head.weight.device
    probe = torch.arange(1, min(8, head.weight.shape[0]), device=device)[None]
    training = model.training
    model.eval()
    with torch.no_grad():
        expected = model(input_ids=probe, use_cache=False).logits.float()
        hidden = model.base_model(input_ids=probe, use_cache=False).last_hidden_state
        found = nn.functional.linear(hidden, head.weight, bias).float()
    model.train(training)
    if not torch.allclose(expected, found, rtol=1e-3, atol=1e-3 * float(expected.abs().max())):
        raise TrainerError(
            f"spec.model: the logits of {type(model).__name__} are not a linear map of its last hidden state "
            "(a soft cap or a scale, perhaps); this trainer reads them in chunks and would be wrong for it"
        )
    return head.weight, bias
