"""A forward pass of our own for Llama-shaped policies on a CPU, on the Hugging Face model's own parameters.

The library's forward pass pads, computes a group's prompt once for every response, and makes some forty trips to memory a layer. This one
lays real tokens out one after another, a shared prompt once, and walks each half of a layer in stretches that fit a core's cache.
Optimizer, checkpoints and export see the same model as before. It is used only after it reproduced the library's hidden states and
gradients on the model at hand; any other architecture, and any other device than a CPU, keeps the library's.
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
from reasonrl.train.lean_check import TOLERANCE, disagreement
from reasonrl.train.lean_family import misfit
from reasonrl.train.lean_layout import Heads, Layout, lay_out
from reasonrl.train.protocol import TrainingSequence

logger = logging.getLogger(__name__)

LeanForward = Callable[[Sequence[TrainingSequence]], Tensor]


def lean_forward_for(model: Any, *, compute_dtype: torch.dtype, gradient_checkpointing: bool = False) -> LeanForward | None:
    """Sequences in, hidden states `[responseTokens, hidden]` (float32) out, sequence after sequence; None when the model does not fit.

    `compute_dtype` is that of the matrix products with weights; attention, norms and the residual stream are float32 always, because
    attention in bfloat16 is several times slower backwards on a CPU. `gradient_checkpointing` keeps only what goes into each layer and
    computes the layer again in backward.
    """
    reason = misfit(model)
    if reason is None:
        # In float32, where a difference is a mistake and not rounding.
        gap = disagreement(_LeanForward(model, compute_dtype=torch.float32, gradient_checkpointing=gradient_checkpointing), model)
        if gap <= TOLERANCE:
            return _LeanForward(model, compute_dtype=compute_dtype, gradient_checkpointing=gradient_checkpointing)
        reason = f"it differs from the library's by {gap:.2g} of the largest number"
    logger.info("the lean forward pass is not used: %s", reason)
    return None


class _LeanForward:
    """Reads the model's parameters anew at each call, so that training and loading need not tell it."""

    def __init__(self, model: Any, *, compute_dtype: torch.dtype, gradient_checkpointing: bool) -> None:
        self._model = model
        self._dtype = compute_dtype
        self._checkpointing = gradient_checkpointing
        config, first = model.config, model.model.layers[0].self_attn
        self._heads = Heads(config.num_attention_heads, config.num_key_value_heads, first.head_dim)
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
        found: Tensor = FinalNorm.apply(hidden, inner.norm.weight, layout.predictors, self._epsilon)  # type: ignore[no-untyped-call]
        return found

    def _layer(self, layer: Any, hidden: Tensor, layout: Layout, rotations: Rotations) -> Tensor:
        heads, attend, mlp = self._heads, layer.self_attn, layer.mlp
        biases = (attend.q_proj.bias, attend.k_proj.bias, attend.v_proj.bias)
        qkv = InputBlock.apply(  # type: ignore[no-untyped-call]
            hidden,
            layer.input_layernorm.weight,
            _joined(attend.q_proj.weight, attend.k_proj.weight, attend.v_proj.weight, size=heads.size),
            None if biases[0] is None else _joined(*(each[:, None] for each in biases), size=heads.size).flatten(),
            _head_norm(attend, heads),
            rotations,
            heads.rotated,
            self._epsilon,
            self._dtype,
        )
        found: Tensor = OutputBlock.apply(  # type: ignore[no-untyped-call]
            hidden,
            attention(qkv, layout, scale=attend.scaling),
            attend.o_proj.weight,
            layer.post_attention_layernorm.weight,
            mlp.gate_proj.weight,
            mlp.up_proj.weight,
            mlp.down_proj.weight,
            self._epsilon,
            self._dtype,
        )
        return found

    def _turns_until(self, count: int) -> Tensor:
        """Rotations `[count, size / 2]`, complex, of the positions from 0: the model's own, whatever its rotary scaling."""
        if self._turns.shape[0] < count:
            cosine, sine = self._model.model.rotary_emb(torch.empty(0), torch.arange(count)[None])
            half = self._heads.size // 2
            self._turns = torch.complex(cosine[0, :, :half].contiguous(), sine[0, :, :half].contiguous())
        return self._turns


def _joined(query: Tensor, key: Tensor, value: Tensor, *, size: int) -> Tensor:
    """The three projections as one, `[allHeads · size, columns]`.

    The library keeps the two coordinates that rotate together half a head apart; here they are neighbours, so that a rotation is a
    product of complex numbers. Queries and keys are reordered alike, which leaves their inner products as they were.
    """
    half, columns = size // 2, query.shape[1]
    pairs = [each.view(-1, 2, half, columns).transpose(1, 2) for each in (query, key)]
    return torch.cat((*pairs, value.view(-1, half, 2, columns))).reshape(-1, columns)


def _head_norm(attend: Any, heads: Heads) -> Tensor | None:
    """Qwen3's norm weights of each query and key head, `[rotatedHeads, size]`, reordered as the heads are; None for a model without."""
    if not hasattr(attend, "q_norm"):
        return None
    query, key = (norm.weight.view(1, 2, -1).transpose(1, 2).flatten(1) for norm in (attend.q_norm, attend.k_norm))
    return torch.cat((query.expand(heads.query, -1), key.expand(heads.key_value, -1)))
