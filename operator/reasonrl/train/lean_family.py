"""Which models the lean forward pass can compute: the Llama-shaped family, looked at in detail.

RMSNorm before attention and before a SwiGLU, rotary positions, grouped-query attention over everything before a token; biases in the
query, key and value projections (Qwen2) and norms of queries and keys (Qwen3) may be there. What else a model might have makes it
unfit, and whoever asks goes on with the library's forward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

FAMILY = frozenset({"llama", "mistral", "qwen2", "qwen3"})
_ROPE_INDEPENDENT_OF_LENGTH = frozenset({"default", "linear", "llama3", "yarn"})


def misfit(model: Any) -> str | None:
    """Why the lean forward pass cannot stand for this model, or None when it can."""
    config = model.config
    if next(model.parameters()).device.type != "cpu":
        return "the model is not on a CPU, and this pass is written for one"
    if any(parameter.dtype != torch.float32 for parameter in model.parameters()):
        return "its weights are not all float32"
    if config.model_type not in FAMILY:
        return f"the model type {config.model_type!r} is none of {', '.join(sorted(FAMILY))}"
    if config.hidden_act != "silu":
        return f"its activation {config.hidden_act!r} is not silu"
    if config.attention_dropout:
        return "it drops attention weights at random"
    rope = str((getattr(config, "rope_parameters", None) or {}).get("rope_type", "default"))
    if rope not in _ROPE_INDEPENDENT_OF_LENGTH:
        return f"its rotary positions {rope!r} depend on the length of a sequence"
    if any(getattr(layer.self_attn, "sliding_window", None) for layer in model.model.layers):
        return "it attends to a sliding window"
    for layer in model.model.layers:
        reason = _layer_misfit(layer)
        if reason is not None:
            return reason
    return None


def _layer_misfit(layer: Any) -> str | None:
    attention, mlp = layer.self_attn, layer.mlp
    projections = (attention.q_proj, attention.k_proj, attention.v_proj)
    others = (attention.o_proj, mlp.gate_proj, mlp.up_proj, mlp.down_proj)
    # A subclass or a wrapper (an adapter, a quantised layer) computes something else.
    if any(type(linear) is not nn.Linear for linear in (*projections, *others)):
        return "some of its projections are not plain linear layers"
    if any(linear.bias is not None for linear in others):
        return "its output or feed-forward projections have biases"
    if len({linear.bias is None for linear in projections}) > 1:
        return "some, not all, of its query, key and value projections have biases"
    if attention.head_dim % 2:
        return "its heads have an odd size"
    return None
