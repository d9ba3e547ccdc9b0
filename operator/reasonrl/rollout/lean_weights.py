"""The weights of a Llama-shaped model as the lean decoder wants them: fused, and filled from Hugging Face names.

Query, key and value become one matrix, gate and up another, so a layer is four matrix products. The two halves that rotary embedding
pairs are interleaved in the rows of query and key: the rotation is then one complex product on the activations, and since both
sides of every dot product are permuted alike, attention does not change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

FAMILY = frozenset({"llama", "mistral", "qwen2", "qwen3"})
"""Model types whose layers are RMSNorm, rotary grouped-query attention and SwiGLU; `misfit` looks at the rest."""

_ROPE_INDEPENDENT_OF_LENGTH = frozenset({"default", "linear", "llama3", "yarn"})


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of one model. `size` is an attention head's; `scale` multiplies the scores, `epsilon` is the norms'."""

    layers: int
    hidden: int
    heads: int
    key_value_heads: int
    size: int
    feed_forward: int
    vocabulary: int
    epsilon: float
    scale: float
    biased: bool
    normed_heads: bool
    tied: bool

    @classmethod
    def of(cls, model: nn.Module) -> Shape:
        config: Any = model.config
        attention = _layers(model)[0].self_attn
        return cls(
            layers=len(_layers(model)),
            hidden=config.hidden_size,
            heads=config.num_attention_heads,
            key_value_heads=config.num_key_value_heads,
            size=attention.head_dim,
            feed_forward=config.intermediate_size,
            vocabulary=_head(model).weight.shape[0],
            epsilon=config.rms_norm_eps,
            scale=float(attention.scaling),
            biased=attention.q_proj.bias is not None,
            normed_heads=hasattr(attention, "q_norm"),
            tied=_head(model).weight is model.get_input_embeddings().weight,  # type: ignore[operator]
        )


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer's matrices, each `[in, out]`, and Qwen3's norms of queries and keys, `head_norm` `[2, size]`."""

    qkv: Tensor
    qkv_bias: Tensor | None
    head_norm: Tensor | None
    output: Tensor
    gate_up: Tensor
    down: Tensor


def misfit(model: nn.Module) -> str | None:
    """Why the lean decoder cannot stand for this model, or None if it can."""
    config: Any = model.config
    if config.model_type not in FAMILY:
        return f"the model type {config.model_type!r} is none of {', '.join(sorted(FAMILY))}"
    if config.hidden_act != "silu":
        return f"its activation {config.hidden_act!r} is not silu"
    types = set(getattr(config, "layer_types", None) or ["full_attention"])
    window = getattr(config, "sliding_window", None) if config.model_type == "mistral" else None
    if types != {"full_attention"} or window is not None:
        return "it has layers of sliding attention"
    rope = str((getattr(config, "rope_parameters", None) or {}).get("rope_type", "default"))
    if rope not in _ROPE_INDEPENDENT_OF_LENGTH:
        return f"its rotary embedding {rope!r} depends on the length"
    for layer in _layers(model):
        linears = (layer.self_attn.o_proj, layer.mlp.gate_proj, layer.mlp.up_proj, layer.mlp.down_proj)
        if any(linear.bias is not None for linear in linears):
            return "its output or feed-forward projections have biases"
    if _head(model).bias is not None:
        return "its language-model head has a bias"
    return None


class LeanWeights:
    """Storage for one model. `places` says for each Hugging Face name its shape there and the storage that it fills."""

    def __init__(self, shape: Shape, *, dtype: torch.dtype, device: torch.device) -> None:
        self.places: dict[str, tuple[tuple[int, ...], Tensor]] = {}
        self.aliases = {"lm_head.weight": "model.embed_tokens.weight"} if shape.tied else {}
        self._empty = {"dtype": dtype, "device": device}
        self.embedding = self._matrix("model.embed_tokens.weight", shape.vocabulary, shape.hidden)
        self.head = self.embedding if shape.tied else self._matrix("lm_head.weight", shape.vocabulary, shape.hidden)
        self.norms = torch.ones(2 * shape.layers + 1, shape.hidden, **self._empty)  # type: ignore[call-overload]
        self.layers = [self._layer(shape, index) for index in range(shape.layers)]
        self._place("model.norm.weight", self.norms[-1])

    def fill(self, weights: Mapping[str, Tensor]) -> None:
        for name, tensor in weights.items():
            shape, place = self.places[name]
            place.copy_(tensor if shape == place.shape else tensor.reshape(place.shape))

    def _layer(self, shape: Shape, index: int) -> Layer:
        prefix = f"model.layers.{index}"
        attention, mlp = f"{prefix}.self_attn", f"{prefix}.mlp"
        rotated = shape.heads + shape.key_value_heads
        projections = {"q_proj": (0, shape.heads), "k_proj": (shape.heads, rotated), "v_proj": (rotated, rotated + shape.key_value_heads)}
        qkv = torch.zeros(rotated + shape.key_value_heads, shape.size, shape.hidden, **self._empty)  # type: ignore[call-overload]
        bias = torch.zeros(rotated + shape.key_value_heads, shape.size, **self._empty) if shape.biased else None  # type: ignore[call-overload]
        for name, (start, stop) in projections.items():
            arrange = _as_is if name == "v_proj" else _interleaved
            rows = (stop - start) * shape.size
            self.places[f"{attention}.{name}.weight"] = ((rows, shape.hidden), arrange(qkv[start:stop]))
            if bias is not None:
                self.places[f"{attention}.{name}.bias"] = ((rows,), arrange(bias[start:stop]))
        head_norm = None
        if shape.normed_heads:
            head_norm = torch.ones(2, shape.size, **self._empty)  # type: ignore[call-overload]
            for row, name in enumerate(("q_norm", "k_norm")):
                self.places[f"{attention}.{name}.weight"] = ((shape.size,), _interleaved(head_norm[row : row + 1]))
        gate_up = torch.zeros(2 * shape.feed_forward, shape.hidden, **self._empty)  # type: ignore[call-overload]
        self._place(f"{mlp}.gate_proj.weight", gate_up[: shape.feed_forward])
        self._place(f"{mlp}.up_proj.weight", gate_up[shape.feed_forward :])
        self._place(f"{prefix}.input_layernorm.weight", self.norms[2 * index])
        self._place(f"{prefix}.post_attention_layernorm.weight", self.norms[2 * index + 1])
        return Layer(
            qkv=qkv.flatten(0, 1).t(),
            qkv_bias=None if bias is None else bias.flatten(),
            head_norm=head_norm,
            output=self._matrix(f"{attention}.o_proj.weight", shape.hidden, shape.heads * shape.size).t(),
            gate_up=gate_up.t(),
            down=self._matrix(f"{mlp}.down_proj.weight", shape.hidden, shape.feed_forward).t(),
        )

    def _matrix(self, name: str, rows: int, columns: int) -> Tensor:
        return self._place(name, torch.zeros(rows, columns, **self._empty))  # type: ignore[call-overload]

    def _place(self, name: str, storage: Tensor) -> Tensor:
        self.places[name] = (tuple(storage.shape), storage)
        return storage


def _as_is(storage: Tensor) -> Tensor:
    return storage


def _interleaved(storage: Tensor) -> Tensor:
    """`[heads, size, …]` viewed as `[heads, 2, size / 2, …]`, so that filling it in Hugging Face order interleaves the halves."""
    heads, size, *rest = storage.shape
    return storage.view(heads, size // 2, 2, *rest).transpose(1, 2)


def _layers(model: nn.Module) -> Any:
    return model.model.layers  # type: ignore[union-attr]


def _head(model: nn.Module) -> Any:
    return model.get_output_embeddings()  # type: ignore[operator]
