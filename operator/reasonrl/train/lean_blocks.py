"""The halves of a transformer layer around attention, each one autograd node with a backward written by hand.

Both walk the tokens in stretches short enough for a core's cache: between two matrix products a stretch is normed, gated or rotated
without a trip to memory. On a CPU those trips, not the arithmetic, are what a small model's training step waits for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_STRETCH_NUMBERS = 196_608


@dataclass(frozen=True, slots=True)
class Rotations:
    forward: Tensor
    backward: Tensor


def stretches(tokens: int, width: int) -> Iterator[slice]:
    rows = torch.get_num_threads() * max(256, _STRETCH_NUMBERS // width)
    for start in range(0, tokens, rows):
        yield slice(start, min(start + rows, tokens))


class InputBlock(torch.autograd.Function):
    """RMSNorm, the fused projection, rotary."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, norm: Tensor, epsilon: float, weight: Tensor, bias: Tensor | None, rotations: Rotations, rotated: int
    ) -> Tensor:
        normed = torch.empty_like(hidden)
        scale = torch.empty(len(hidden), 1)
        out = torch.empty(len(hidden), len(weight))
        for part in stretches(len(hidden), len(weight)):
            inputs = _norm_into(normed[part], scale[part], hidden[part], norm, epsilon).to(weight.dtype)
            if weight.dtype == out.dtype:
                o = out[part]
                torch.mm(inputs, weight.t(), out=o)
            else:
                o = out[part].copy_(torch.mm(inputs, weight.t()))
            if bias is not None:
                o.add_(bias)
            rotate(o, rotations.forward[part], rotated)
        ctx.save_for_backward(normed, scale, norm, weight)
        ctx.biased, ctx.rotations, ctx.rotated = bias is not None, rotations, rotated
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        normed, scale, norm, weight = ctx.saved_tensors
        weight_gradient = torch.zeros_like(weight, dtype=torch.float32)
        norm_gradient = torch.zeros_like(norm)
        bias_gradient = weight.new_zeros(len(weight), dtype=torch.float32) if ctx.biased else None
        hidden_gradient = torch.empty_like(normed)
        for part in stretches(len(normed), len(weight)):
            turned = gradient[part].clone()
            rotate(turned, ctx.rotations.backward[part], ctx.rotated)
            if bias_gradient is not None:
                bias_gradient.add_(turned.sum(0))
            narrow = turned.to(weight.dtype)
            inputs = (normed[part] * norm).to(weight.dtype)
            _accumulate(weight_gradient, narrow.t(), inputs)
            g = hidden_gradient[part]
            _mm_into(g, narrow, weight)
            _norm_back(g, normed[part], scale[part], norm, norm_gradient)
        return hidden_gradient, norm_gradient, None, weight_gradient.to(weight.dtype), bias_gradient, None, None


class OutputBlock(torch.autograd.Function):
    """Output projection, residual, RMSNorm, SwiGLU, residual."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, attended: Tensor, output: Tensor, norm: Tensor, epsilon: float, gate: Tensor, up: Tensor, down: Tensor
    ) -> Tensor:
        tokens = len(hidden)
        normed, scale = torch.empty_like(hidden), torch.empty(tokens, 1)
        gated, raised = gate.new_empty(tokens, len(gate)), gate.new_empty(tokens, len(gate))
        out = torch.empty_like(hidden)
        for part in stretches(tokens, len(gate)):
            middle = _residual(hidden[part], attended[part].to(output.dtype), output.t())
            inputs = _norm_into(normed[part], scale[part], middle, norm, epsilon).to(gate.dtype)
            g, r = gated[part], raised[part]
            torch.mm(inputs, gate.t(), out=g)
            torch.mm(inputs, up.t(), out=r)
            product = torch.nn.functional.silu(g).mul_(r)
            _residual(middle, product, down.t(), out=out[part])
        ctx.save_for_backward(attended, output, normed, scale, norm, gate, up, down, gated, raised)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        attended, output, normed, scale, norm, gate, up, down, gated, raised = ctx.saved_tensors
        output_gradient, gate_gradient, up_gradient, down_gradient = (
            torch.zeros_like(weight, dtype=torch.float32) for weight in (output, gate, up, down)
        )
        norm_gradient = torch.zeros_like(norm)
        hidden_gradient, attended_gradient = torch.empty_like(normed), torch.empty_like(attended)
        for part in stretches(len(normed), len(gate)):
            narrow = gradient[part].to(down.dtype)
            g, r = gated[part], raised[part]
            slope = torch.mm(narrow, down)
            active = torch.nn.functional.silu(g)
            raised_slope = slope * active
            _accumulate(down_gradient, narrow.t(), active.mul_(r))
            gated_slope = torch.ops.aten.silu_backward.grad_input(slope.mul_(r), g, grad_input=active)
            inputs = (normed[part] * norm).to(gate.dtype)
            _accumulate(gate_gradient, gated_slope.t(), inputs)
            _accumulate(up_gradient, raised_slope.t(), inputs)
            h = hidden_gradient[part]
            h.copy_(torch.mm(gated_slope, gate).addmm_(raised_slope, up))
            _norm_back(h, normed[part], scale[part], norm, norm_gradient)
            h.add_(gradient[part])
            narrow = h.to(output.dtype)
            _accumulate(output_gradient, narrow.t(), attended[part].to(output.dtype))
            _mm_into(attended_gradient[part], narrow, output)
        return (
            hidden_gradient,
            attended_gradient,
            output_gradient.to(output.dtype),
            norm_gradient,
            None,
            gate_gradient.to(gate.dtype),
            up_gradient.to(up.dtype),
            down_gradient.to(down.dtype),
        )


class FinalNorm(torch.autograd.Function):
    """RMSNorm of some rows."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, norm: Tensor, epsilon: float, rows: Tensor) -> Tensor:
        chosen = hidden.index_select(0, rows)
        normed, scale = torch.empty_like(chosen), torch.empty(len(chosen), 1)
        out = _norm_into(normed, scale, chosen, norm, epsilon)
        ctx.save_for_backward(normed, scale, norm, rows)
        ctx.tokens = len(hidden)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        normed, scale, norm, rows = ctx.saved_tensors
        norm_gradient = torch.zeros_like(norm)
        g = gradient.clone()
        _norm_back(g, normed, scale, norm, norm_gradient)
        return torch.zeros(ctx.tokens, normed.shape[1]).index_add_(0, rows, g), norm_gradient, None, None


class Embedding(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight: Tensor, tokens: Tensor) -> Tensor:
        ctx.save_for_backward(tokens)
        ctx.shape = weight.shape
        return weight.index_select(0, tokens)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        (tokens,) = ctx.saved_tensors
        return gradient.new_zeros(ctx.shape).index_add_(0, tokens, gradient), None


def rotate(qkv: Tensor, turns: Tensor, heads: int) -> None:
    size = 2 * turns.shape[-1]
    torch.view_as_complex(qkv.view(len(qkv), -1, size // 2, 2))[:, :heads].mul_(turns[:, None])


def _norm_into(normed: Tensor, scale: Tensor, hidden: Tensor, norm: Tensor, epsilon: float) -> Tensor:
    torch.linalg.vector_norm(hidden, dim=-1, keepdim=True, out=scale)
    scale.square_().div_(hidden.shape[-1]).add_(epsilon).rsqrt_()
    torch.mul(hidden, scale, out=normed)
    return normed * norm


def _norm_back(gradient: Tensor, normed: Tensor, scale: Tensor, norm: Tensor, norm_gradient: Tensor) -> None:
    products = gradient * normed
    norm_gradient.add_(products.sum(0))
    along = torch.mv(products, norm)[:, None].mul_(scale).div_(-normed.shape[-1])
    gradient.mul_(norm).mul_(scale).addcmul_(normed, along)


def _mm_into(out: Tensor, left: Tensor, right: Tensor) -> None:
    if out.dtype == left.dtype:
        torch.mm(left, right, out=out)
    else:
        out.copy_(torch.mm(left, right))


def _accumulate(into: Tensor, left: Tensor, right: Tensor) -> None:
    if into.dtype == left.dtype:
        into.addmm_(left, right)
    else:
        into.add_(torch.mm(left, right))


def _residual(hidden: Tensor, inputs: Tensor, weight: Tensor, out: Tensor | None = None) -> Tensor:
    if weight.dtype == hidden.dtype:
        return torch.addmm(hidden, inputs, weight, out=out)
    return torch.add(hidden, torch.mm(inputs, weight), out=out)
