"""The two halves of a transformer layer around attention, each one autograd node with a backward written by hand.

Both walk the tokens in stretches short enough for a core's cache: between two matrix products a stretch is normed, gated or rotated
without a trip to memory. On a CPU those trips, not the arithmetic, are what a small model's training step waits for. Weights and their
gradients are float32; products are computed in `dtype`, everything else in float32.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from reasonrl.train.lean_norm import norm_backward, norm_into

_STRETCH_NUMBERS = 196_608
"""Activations in a stretch, for each thread: 0.75 MB in float32, of which backward holds three at a time."""
_SHORTEST_STRETCH = 256
"""Tokens in a stretch at least, so that reading the weights again for each stretch costs little."""


@dataclass(frozen=True, slots=True)
class Rotations:
    """What turns a token's queries and keys to its position, complex `[tokens, size / 2]`; `backward` is the conjugate."""

    forward: Tensor
    backward: Tensor


class InputBlock(torch.autograd.Function):
    """RMSNorm, projection to queries, keys and values, the norm of queries and keys (Qwen3), rotary positions.

    `hidden` `[tokens, hidden]` → `[tokens, allHeads · size]`. `weight` `[allHeads · size, hidden]` and `bias` have the pairs that rotate
    together side by side; `head_norm` is `[rotatedHeads, size]` or None. The first `rotated` heads are queries and keys.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        norm: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        head_norm: Tensor | None,
        rotations: Rotations,
        rotated: int,
        epsilon: float,
        dtype: torch.dtype,
    ) -> Tensor:
        tokens, size = len(hidden), 2 * rotations.forward.shape[-1]
        normed, scale = torch.empty_like(hidden), hidden.new_empty(tokens, 1)
        out = hidden.new_empty(tokens, len(weight))
        head_normed = head_scale = None
        if head_norm is not None:
            head_normed, head_scale = hidden.new_empty(tokens, rotated, size), hidden.new_empty(tokens, rotated, 1)
        matrix = weight.to(dtype)
        for part in _stretches(tokens, len(weight)):
            inputs = norm_into(normed[part], scale[part], hidden[part], norm, epsilon)
            projected = _product(inputs.to(dtype), matrix.t(), out=out[part])
            if bias is not None:
                projected.add_(bias)
            heads = projected.view(len(projected), -1, size)[:, :rotated]
            if head_norm is not None and head_normed is not None and head_scale is not None:
                heads.copy_(norm_into(head_normed[part], head_scale[part], heads, head_norm, epsilon))
            _rotate(heads, rotations.forward[part])
        ctx.save_for_backward(normed, scale, norm, weight, head_norm, head_normed, head_scale)
        ctx.biased, ctx.rotations, ctx.rotated, ctx.dtype = bias is not None, rotations, rotated, dtype
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        normed, scale, norm, weight, head_norm, head_normed, head_scale = ctx.saved_tensors
        rotations, dtype = ctx.rotations, ctx.dtype
        size = 2 * rotations.backward.shape[-1]
        weight_gradient, norm_gradient = torch.zeros_like(weight), torch.zeros_like(norm)
        bias_gradient = weight.new_zeros(len(weight)) if ctx.biased else None
        head_norm_gradient = None if head_norm is None else torch.zeros_like(head_norm)
        hidden_gradient = torch.empty_like(normed)
        matrix = weight.to(dtype)
        for part in _stretches(len(normed), len(weight)):
            # A gradient that autograd hands over must not be changed.
            projected = gradient[part].clone()
            heads = projected.view(len(projected), -1, size)[:, : ctx.rotated]
            _rotate(heads, rotations.backward[part])
            if head_norm_gradient is not None:
                norm_backward(heads, head_normed[part], head_scale[part], head_norm, weight_gradient=head_norm_gradient)
            if bias_gradient is not None:
                bias_gradient.add_(projected.sum(0))
            slope = projected.to(dtype)
            _add_product(weight_gradient, slope.t(), (normed[part] * norm).to(dtype))
            to_hidden = _product(slope, matrix, out=hidden_gradient[part])
            norm_backward(to_hidden, normed[part], scale[part], norm, weight_gradient=norm_gradient)
        return hidden_gradient, norm_gradient, weight_gradient, bias_gradient, head_norm_gradient, None, None, None, None


class OutputBlock(torch.autograd.Function):
    """Output projection and residual, RMSNorm, SwiGLU and residual: `hidden` `[tokens, hidden]` and what attention gave,
    `attended` `[tokens, queryHeads · size]`, → `[tokens, hidden]`."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        attended: Tensor,
        output: Tensor,
        norm: Tensor,
        gate: Tensor,
        up: Tensor,
        down: Tensor,
        epsilon: float,
        dtype: torch.dtype,
    ) -> Tensor:
        tokens, width = len(hidden), len(gate)
        normed, scale = torch.empty_like(hidden), hidden.new_empty(tokens, 1)
        gated, raised = hidden.new_empty(tokens, width, dtype=dtype), hidden.new_empty(tokens, width, dtype=dtype)
        out = torch.empty_like(hidden)
        to_output, to_gate, to_up, to_down = (matrix.to(dtype).t() for matrix in (output, gate, up, down))
        for part in _stretches(tokens, width):
            middle = _residual(hidden[part], attended[part].to(dtype), to_output)
            inputs = norm_into(normed[part], scale[part], middle, norm, epsilon).to(dtype)
            torch.mm(inputs, to_gate, out=gated[part])
            torch.mm(inputs, to_up, out=raised[part])
            product = functional.silu(gated[part]).mul_(raised[part])
            _residual(middle, product, to_down, out=out[part])
        ctx.save_for_backward(attended, output, normed, scale, norm, gate, up, down, gated, raised)
        ctx.dtype = dtype
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        attended, output, normed, scale, norm, gate, up, down, gated, raised = ctx.saved_tensors
        dtype = ctx.dtype
        output_gradient, norm_gradient, gate_gradient, up_gradient, down_gradient = (
            torch.zeros_like(weight) for weight in (output, norm, gate, up, down)
        )
        hidden_gradient, attended_gradient = torch.empty_like(normed), torch.empty_like(attended)
        output_matrix, gate_matrix, up_matrix, down_matrix = (matrix.to(dtype) for matrix in (output, gate, up, down))
        for part in _stretches(len(normed), len(gate)):
            given = gradient[part].to(dtype)
            product_slope = torch.mm(given, down_matrix)
            active = functional.silu(gated[part])
            raised_slope = product_slope * active
            _add_product(down_gradient, given.t(), active.mul_(raised[part]))
            gated_slope = torch.ops.aten.silu_backward.grad_input(product_slope.mul_(raised[part]), gated[part], grad_input=active)
            inputs = (normed[part] * norm).to(dtype)
            _add_product(gate_gradient, gated_slope.t(), inputs)
            _add_product(up_gradient, raised_slope.t(), inputs)
            to_hidden = hidden_gradient[part]
            to_hidden.copy_(torch.mm(gated_slope, gate_matrix).addmm_(raised_slope, up_matrix))
            norm_backward(to_hidden, normed[part], scale[part], norm, weight_gradient=norm_gradient)
            to_hidden.add_(gradient[part])
            given = to_hidden.to(dtype)
            _add_product(output_gradient, given.t(), attended[part].to(dtype))
            _product(given, output_matrix, out=attended_gradient[part])
        return (
            hidden_gradient,
            attended_gradient,
            output_gradient,
            norm_gradient,
            gate_gradient,
            up_gradient,
            down_gradient,
            None,
            None,
        )


class FinalNorm(torch.autograd.Function):
    """RMSNorm of the rows asked for: `hidden` `[tokens, hidden]`, `rows` int64 `[chosen]` → `[chosen, hidden]`."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, norm: Tensor, rows: Tensor, epsilon: float) -> Tensor:
        chosen = hidden.index_select(0, rows)
        scale = chosen.new_empty(len(chosen), 1)
        out = norm_into(chosen, scale, chosen, norm, epsilon)
        ctx.save_for_backward(chosen, scale, norm, rows)
        ctx.tokens = len(hidden)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        normed, scale, norm, rows = ctx.saved_tensors
        norm_gradient = torch.zeros_like(norm)
        chosen = gradient.clone()
        norm_backward(chosen, normed, scale, norm, weight_gradient=norm_gradient)
        return chosen.new_zeros(ctx.tokens, chosen.shape[1]).index_add_(0, rows, chosen), norm_gradient, None, None


class Embedding(torch.autograd.Function):
    """Rows of `weight` `[vocabulary, hidden]`: a third of the time of torch's own backward, which adds row by row."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, tokens: Tensor) -> Tensor:
        ctx.save_for_backward(tokens)
        ctx.shape = weight.shape
        return weight.index_select(0, tokens)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (tokens,) = ctx.saved_tensors
        return gradient.new_zeros(ctx.shape).index_add_(0, tokens, gradient), None


def _stretches(tokens: int, width: int) -> Iterator[slice]:
    length = torch.get_num_threads() * max(_SHORTEST_STRETCH, _STRETCH_NUMBERS // width)
    for start in range(0, tokens, length):
        yield slice(start, min(start + length, tokens))


def _rotate(heads: Tensor, turns: Tensor) -> None:
    """In place: `heads` `[tokens, heads, size]`, neighbouring numbers a pair; `turns` complex `[tokens, size / 2]`."""
    torch.view_as_complex(heads.view(*heads.shape[:-1], -1, 2)).mul_(turns[:, None])


def _product(left: Tensor, right: Tensor, *, out: Tensor) -> Tensor:
    if out.dtype == left.dtype:
        return torch.mm(left, right, out=out)
    return out.copy_(torch.mm(left, right))


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    if total.dtype == left.dtype:
        total.addmm_(left, right)
    else:
        total.add_(torch.mm(left, right))


def _residual(hidden: Tensor, inputs: Tensor, matrix: Tensor, *, out: Tensor | None = None) -> Tensor:
    if matrix.dtype == hidden.dtype:
        return torch.addmm(hidden, inputs, matrix, out=out)
    return torch.add(hidden, torch.mm(inputs, matrix), out=out)
