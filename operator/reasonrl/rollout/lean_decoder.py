"""A decoder for the Llama-shaped family (Llama, Mistral, Qwen2, Qwen3) with as few operations a token as torch allows.

A small model on a CPU spends its decoding time in dispatch, not arithmetic: the library's forward pass makes several hundred calls a
token. Here a layer is four matrix products, one complex product for the rotary embedding, one write to the cache, and attention
over the live window as two batched products around a softmax. `agreement` holds it against the library's own forward pass
before an engine uses it.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from reasonrl.rollout.decoder import KeptPrompts, Window
from reasonrl.rollout.lean_weights import Layer, LeanWeights, Shape

_Attend = Callable[[int, Tensor], Tensor]
"""`(layer, qkv [tokens, (heads + 2 · keyValueHeads) · size]) -> [tokens, heads · size]`, queries and keys already rotated."""


class LeanDecoder:
    """Copies the weights of `model` (see `lean_weights.misfit` for which) and keeps nothing else of it but its rotary frequencies."""

    def __init__(self, model: nn.Module, *, dtype: torch.dtype, device: torch.device) -> None:
        self.shape = Shape.of(model)
        self.device = device
        self._weights = LeanWeights(self.shape, dtype=dtype, device=device)
        self._rotary: Any = copy.deepcopy(model.model.rotary_emb).to(device)  # type: ignore[union-attr]
        # Cosine and sine of each pair's angle, `[positions, 1, size / 2]`.
        self._rotations = torch.empty(0, 1, self.shape.size // 2, dtype=torch.complex64, device=device)
        self._exact = dtype == torch.float32 and device.type == "cpu"
        self._norm_scale = math.sqrt(self.shape.hidden) if self._exact else 1.0
        self._scaled_norms = torch.empty_like(self._weights.norms)
        self._norms = list(self._scaled_norms.unbind())
        self._length_floor = torch.tensor(math.sqrt(self.shape.hidden * self.shape.epsilon), device=device)
        self.load({name: tensor for name, tensor in model.state_dict().items() if name in self._weights.places})

    @property
    def vocabulary(self) -> int:
        return self.shape.vocabulary

    @property
    def expected_weights(self) -> Mapping[str, Sequence[int]]:
        return {name: shape for name, (shape, _) in self._weights.places.items()}

    @property
    def weight_aliases(self) -> Mapping[str, str]:
        return self._weights.aliases

    @torch.no_grad()
    def load(self, weights: Mapping[str, Tensor]) -> None:
        self._weights.fill(weights)
        torch.mul(self._weights.norms, self._norm_scale, out=self._scaled_norms)

    def prepare(self, *, positions: int) -> None:
        if positions <= len(self._rotations):
            return
        known = torch.arange(positions, device=self.device)
        cosine, sine = self._rotary(torch.empty(0, dtype=torch.float32, device=self.device), known[None])
        half = self.shape.size // 2
        # With the root of the attention scale in both, the product of a query and a key comes out scaled.
        rotations = torch.complex(cosine[0, :, :half], sine[0, :, :half]) * math.sqrt(self.shape.scale)
        self._rotations = rotations.unsqueeze(1).contiguous()

    def prefill(self, tokens: Tensor, lengths: Sequence[int]) -> tuple[Tensor, KeptPrompts]:
        prompts, time = tokens.shape
        padding = torch.tensor([time - length for length in lengths], device=self.device)
        places = torch.arange(time, device=self.device)
        positions = (places - padding[:, None]).clamp_(min=0)
        # A padding place sees itself alone: its output is meaningless but finite, and nobody reads it.
        seen = (places[:, None] >= places) & ((places >= padding[:, None, None]) | (places == places[:, None]))
        mask = seen[:, None] if min(lengths) < time else None
        kept: list[Tensor] = []

        def attend(_: int, qkv: Tensor) -> Tensor:
            shape = self.shape
            parts = qkv.view(prompts, time, -1, shape.size).transpose(1, 2)
            query, pairs = parts[:, : shape.heads], parts[:, shape.heads :]
            key, value = pairs[:, : shape.key_value_heads], pairs[:, shape.key_value_heads :]
            kept.append(torch.stack((key, value)))
            out = functional.scaled_dot_product_attention(
                query, key, value, attn_mask=mask, is_causal=mask is None, scale=1.0, enable_gqa=self._grouped
            )
            return out.transpose(1, 2).reshape(prompts * time, -1)

        hidden = self._blocks(tokens.flatten(), positions.flatten(), attend)
        return self._logits(hidden.view(prompts, time, -1)[:, -1]), [torch.stack(kept)]

    def step(self, tokens: Tensor, positions: Tensor, window: Window) -> Tensor:
        attend = self._attend_in_products(window) if self._exact else self._attend_fused(window)
        return self._logits(self._blocks(tokens, positions, attend))

    def _blocks(self, tokens: Tensor, positions: Tensor, attend: _Attend) -> Tensor:
        """The residual stream `[tokens, hidden]` after the last layer."""
        hidden = self._weights.embedding.index_select(0, tokens)
        rotations = self._rotations.index_select(0, positions)
        for index, layer in enumerate(self._weights.layers):
            normed = self._norm(hidden, 2 * index)
            qkv = torch.mm(normed, layer.qkv) if layer.qkv_bias is None else torch.addmm(layer.qkv_bias, normed, layer.qkv)
            self._rotate(qkv, layer, rotations)
            hidden.addmm_(attend(index, qkv), layer.output)
            gate, up = torch.mm(self._norm(hidden, 2 * index + 1), layer.gate_up).chunk(2, 1)
            hidden.addmm_(functional.silu(gate).mul_(up), layer.down)
        return hidden

    def _logits(self, hidden: Tensor) -> Tensor:
        return torch.mm(self._norm(hidden, -1), self._weights.head.t())

    def _norm(self, hidden: Tensor, index: int) -> Tensor:
        if not self._exact:
            return functional.rms_norm(hidden, (self.shape.hidden,), self._norms[index], self.shape.epsilon)
        # x / sqrt(mean(x²) + ε) = √n · x / hypot(‖x‖, √(n · ε)), with √n in the weights: two thirds of the time of `rms_norm`.
        length = torch.linalg.vector_norm(hidden, dim=1, keepdim=True)
        return (hidden / torch.hypot(length, self._length_floor)).mul_(self._norms[index])

    def _rotate(self, qkv: Tensor, layer: Layer, rotations: Tensor) -> None:
        """Turns (and for Qwen3 first norms) the queries and keys inside `qkv`, in place."""
        heads, rotated, size = self.shape.heads, self.shape.heads + self.shape.key_value_heads, self.shape.size
        turned = qkv.view(-1, rotated + self.shape.key_value_heads, size)[:, :rotated]
        if layer.head_norm is not None:
            for part, weight in zip((turned[:, :heads], turned[:, heads:]), layer.head_norm, strict=True):
                part.copy_(functional.rms_norm(part, (size,), weight, self.shape.epsilon))
        pairs = (len(qkv), rotated, size // 2, 2)
        if qkv.dtype == torch.float32:
            torch.view_as_complex(turned.view(pairs)).mul_(rotations)
        else:
            product = torch.view_as_complex(turned.float().view(pairs)) * rotations
            turned.copy_(torch.view_as_real(product).flatten(2))

    @property
    def _grouped(self) -> bool:
        return self.shape.heads != self.shape.key_value_heads

    def _attend_in_products(self, window: Window) -> _Attend:
        """Two batched products around a softmax: on a CPU faster than the fused kernel for one query a row."""
        shape, rows = self.shape, window.rows
        (storage,) = window.slots.storage
        newest = storage[:, :, :rows, :, window.slot].transpose(1, 2).unbind()
        live = storage.flatten(2, 3)[:, :, : rows * shape.key_value_heads, window.first : window.slot + 1]
        keys, values = live[:, 0].transpose(2, 3).unbind(), live[:, 1].unbind()
        query_width = shape.heads * shape.size
        bias = None if window.bias is None else window.bias[:, None]

        def attend(layer: int, qkv: Tensor) -> Tensor:
            newest[layer].copy_(qkv[:, query_width:].view(rows, 2, shape.key_value_heads, shape.size))
            query = qkv[:, :query_width].reshape(rows * shape.key_value_heads, -1, shape.size)
            scores = torch.bmm(query, keys[layer])
            if bias is not None:
                scores.view(rows, shape.heads, -1)[:, :, : bias.shape[2]].add_(bias)
            return torch.bmm(torch.softmax(scores, 2), values[layer]).view(rows, query_width)

        return attend

    def _attend_fused(self, window: Window) -> _Attend:
        """Torch's fused attention, whose softmax is float32 whatever the weights are."""
        shape, rows = self.shape, window.rows
        (storage,) = window.slots.storage
        newest = storage[:, :, :rows, :, window.slot].transpose(1, 2).unbind()
        live = storage[:, :, :rows, :, window.first : window.slot + 1]
        query_width, bias = shape.heads * shape.size, window.bias
        if bias is not None:
            bias = functional.pad(bias, (0, live.shape[4] - bias.shape[1]))[:, None, None].to(storage.dtype)

        def attend(layer: int, qkv: Tensor) -> Tensor:
            newest[layer].copy_(qkv[:, query_width:].view(rows, 2, shape.key_value_heads, shape.size))
            query = qkv[:, :query_width].view(rows, shape.heads, 1, shape.size)
            out = functional.scaled_dot_product_attention(
                query, live[layer, 0], live[layer, 1], attn_mask=bias, scale=1.0, enable_gqa=self._grouped
            )
            return out.reshape(rows, query_width)

        return attend
