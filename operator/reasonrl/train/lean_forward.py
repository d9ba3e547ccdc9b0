"""A forward pass of our own for Llama-shaped policies on a CPU, on the Hugging Face model's own parameters.

The library's forward pass pads, computes a group's prompt once for every response, and makes some forty trips to memory a layer. This one
lays real tokens out one after another, a shared prompt once, and walks each half of a layer in stretches that fit a core's cache.
Optimizer, checkpoints and export see the same model as before. It is used only after it reproduced the library's hidden states on the
model at hand; any other architecture, and any other device than a CPU, keeps the library's.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from reasonrl.train.lean_attention import attention
from reasonrl.train.lean_blocks import Embedding, FinalNorm, InputBlock, OutputBlock, Rotations
from reasonrl.train.lean_layout import Heads, Layout, lay_out
from reasonrl.train.protocol import TrainingSequence

logger = logging.getLogger(__name__)

LeanForward = Callable[[Sequence[TrainingSequence]], Tensor]

TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 5e-2}
"""Largest difference of a hidden state from the library's, relative to the largest hidden state, by compute dtype."""


def lean_forward_for(model: Any, *, compute_dtype: torch.dtype, gradient_checkpointing: bool = False) -> LeanForward | None:
    """Sequences in, hidden states `[responseTokens, hidden]` (float32) out, or None when the model does not fit.

    `compute_dtype` is that of the matrix products with weights; attention, norms and the residual stream are float32 always, because
    attention in bfloat16 is several times slower backwards on a CPU.
    """
    reason = misfit(model)
    if reason is None:
        lean = _LeanForward(model, compute_dtype=compute_dtype, gradient_checkpointing=gradient_checkpointing)
        gap = _gap(lean, model)
        if gap <= TOLERANCE[compute_dtype]:
            return lean
        reason = f"its hidden states differ by {gap:.2g} of the largest"
    logger.info("the lean forward pass is not used: %s", reason)
    return None


def misfit(model: Any) -> str | None:
    """Why the model is not one that this module can compute, or None."""
    config = model.config
    if next(model.parameters()).device.type != "cpu":
        return "the model is not on a CPU"
    if config.model_type not in ("llama", "qwen2"):
        return f"model_type is {config.model_type}, not llama or qwen2"
    if getattr(config, "hidden_act", "silu") != "silu":
        return f"the activation is {config.hidden_act}"
    if getattr(config, "use_sliding_window", False):
        return "it attends to a sliding window"
    layer = model.model.layers[0]
    if layer.self_attn.o_proj.bias is not None or layer.mlp.down_proj.bias is not None:
        return "its output projections have biases"
    if layer.self_attn.head_dim % 2:
        return "its heads have an odd size"
    return None


class _LeanForward:
    def __init__(self, model: Any, *, compute_dtype: torch.dtype, gradient_checkpointing: bool) -> None:
        self._model = model
        self._dtype = compute_dtype
        self._checkpointing = gradient_checkpointing
        config, attention_layer = model.config, model.model.layers[0].self_attn
        self._heads = Heads(config.num_attention_heads, config.num_key_value_heads, attention_layer.head_dim)
        self._epsilon: float = config.rms_norm_eps
        self._turns = torch.empty(0)

    def __call__(self, sequences: Sequence[TrainingSequence]) -> Tensor:
        layout = lay_out(sequences, heads=self._heads)
        turns = self._turns_until(int(layout.positions.max()) + 1).index_select(0, layout.positions)
        rotations = Rotations(turns, turns.conj().resolve_conj())
        inner = self._model.model
        hidden: Tensor = Embedding.apply(inner.embed_tokens.weight, layout.tokens)  # type: ignore[no-untyped-call]
        for layer in inner.layers:
            if self._checkpointing and torch.is_grad_enabled():
                hidden = checkpoint(self._layer, layer, hidden, layout, rotations, use_reentrant=False)
            else:
                hidden = self._layer(layer, hidden, layout, rotations)
        found: Tensor = FinalNorm.apply(hidden, inner.norm.weight, self._epsilon, layout.predictors)  # type: ignore[no-untyped-call]
        return found

    def _layer(self, layer: Any, hidden: Tensor, layout: Layout, rotations: Rotations) -> Tensor:
        heads, attend, mlp = self._heads, layer.self_attn, layer.mlp
        weight = _joined(attend.q_proj.weight, attend.k_proj.weight, attend.v_proj.weight, size=heads.size).to(self._dtype)
        biases = (attend.q_proj.bias, attend.k_proj.bias, attend.v_proj.bias)
        bias = None if biases[0] is None else _joined(*(each[:, None] for each in biases), size=heads.size).flatten()
        qkv = InputBlock.apply(  # type: ignore[no-untyped-call]
            hidden, layer.input_layernorm.weight, self._epsilon, weight, bias, rotations, heads.query + heads.key_value
        )
        attended = attention(qkv, layout, scale=attend.scaling)
        found: Tensor = OutputBlock.apply(  # type: ignore[no-untyped-call]
            hidden,
            attended,
            attend.o_proj.weight.to(self._dtype),
            layer.post_attention_layernorm.weight,
            self._epsilon,
            mlp.gate_proj.weight.to(self._dtype),
            mlp.up_proj.weight.to(self._dtype),
            mlp.down_proj.weight.to(self._dtype),
        )
        return found

    def _turns_until(self, count: int) -> Tensor:
        """Rotations `[count, size / 2]`, complex, of the positions from 0: the model's own, whatever its rotary scaling."""
        if self._turns.shape[0] < count:
            cos, sin = self._model.model.rotary_emb(torch.empty(0), torch.arange(count)[None])
            half = self._heads.size // 2
            self._turns = torch.complex(cos[0, :, :half].contiguous(), sin[0, :, :half].contiguous())
        return self._turns


def _joined(query: Tensor, key: Tensor, value: Tensor, *, size: int) -> Tensor:
    """The three projections as one, `[allHeads · size, columns]`.

    The library keeps the two coordinates that rotary turns together half a head apart; here they are neighbours, so that a turn is a
    product of complex numbers. Queries and keys are reordered alike, which leaves their inner products as they were.
    """
    half, columns = size // 2, query.shape[1]
    pairs = [each.view(-1, 2, half, columns).transpose(1, 2) for each in (query, key)]
    return torch.cat((*pairs, value.view(-1, half, 2, columns))).reshape(-1, columns)


@torch.no_grad()
def _gap(lean: LeanForward, model: Any) -> float:
    """Largest difference from the library's hidden states, relative to the largest, over ragged sequences of which two share a prompt."""
    generator = torch.Generator().manual_seed(0)
    vocabulary: int = model.config.vocab_size
    drawn = [torch.randint(0, vocabulary, (length,), generator=generator) for length in (3, 5, 9, 4, 7)]
    starts = [(drawn[0], drawn[1]), (drawn[0], drawn[2]), (drawn[3], drawn[4])]
    sequences = [_sequence(prompt, response) for prompt, response in starts]
    expected = []
    for sequence in sequences:
        hidden = model.base_model(input_ids=sequence.tokens[None], use_cache=False).last_hidden_state[0]
        expected.append(hidden[sequence.prompt_length - 1 : -1])
    wanted = torch.cat(expected).float()
    found = lean(sequences).float()
    return float((found - wanted).abs().max() / wanted.abs().max().clamp(min=1e-30))


def _sequence(prompt: Tensor, response: Tensor) -> TrainingSequence:
    zeros = torch.zeros(len(response))
    return TrainingSequence(
        tokens=torch.cat([prompt, response]), prompt_length=len(prompt), advantages=zeros, mask=zeros, sampler_logprobs=zeros
    )
