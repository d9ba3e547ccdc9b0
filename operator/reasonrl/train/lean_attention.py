"""Causal attention over a lean layout, written out as dense products.

On a CPU, at the lengths that fit one, batched products of 64 query rows against all the keys they may see beat torch's fused kernel: the
upper triangle is skipped, probabilities are kept for backward where they are small, and the keys of a shared prompt are read by every
response behind it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from reasonrl.train.lean_layout import Block, Bucket, Layout

_KEPT_WIDTH = 512
"""Probabilities of segments up to this many tokens are kept for backward; of longer ones they are computed again."""


def attention(qkv: Tensor, layout: Layout, *, scale: float) -> Tensor:
    """`qkv` float32 `[tokens, allHeads · size]`, positions already in it; returns `[tokens, queryHeads · size]`."""
    out: Tensor = _Attention.apply(qkv, layout, scale)  # type: ignore[no-untyped-call]
    return out


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, layout: Layout, scale: float) -> Tensor:
        heads = layout.heads
        rows = qkv.view(-1, heads.size)
        query = rows.index_select(0, layout.query_rows)
        key = rows.index_select(0, layout.key_rows)
        value = rows.index_select(0, layout.value_rows)
        out = torch.empty_like(query)
        kept: list[Tensor] = []
        for bucket in layout.buckets:
            bucket_key, bucket_value = _batched(key, bucket, layout), _batched(value, bucket, layout)
            for block in bucket.blocks:
                probabilities = _probabilities(query, bucket_key, block, bucket, layout, scale)
                torch.bmm(probabilities, bucket_value[block.items, : block.keys], out=_rows_of(out, block))
                if _keeps(bucket):
                    kept.append(probabilities)
        ctx.save_for_backward(query, key, value, *kept)
        ctx.layout, ctx.scale = layout, scale
        return out.index_select(0, layout.output_places).view(-1, heads.query * heads.size)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        layout: Layout = ctx.layout
        heads, scale = layout.heads, ctx.scale
        query, key, value, *kept = ctx.saved_tensors
        probabilities_kept = iter(kept)
        out_gradient = gradient.reshape(-1, heads.size).index_select(0, layout.output_rows)
        if layout.query_padding.numel():
            out_gradient.index_fill_(0, layout.query_padding, 0.0)
        found = torch.empty(len(query) + 2 * len(key), heads.size)
        query_gradient, key_gradient, value_gradient = torch.split(found, [len(query), len(key), len(key)])
        for bucket in layout.buckets:
            bucket_key, bucket_value = _batched(key, bucket, layout), _batched(value, bucket, layout)
            to_key, to_value = _batched(key_gradient, bucket, layout), _batched(value_gradient, bucket, layout)
            for block in bucket.blocks:
                given = _rows_of(out_gradient, block)
                probabilities = (
                    next(probabilities_kept) if _keeps(bucket) else _probabilities(query, bucket_key, block, bucket, layout, scale)
                )
                slope = torch.bmm(given, bucket_value[block.items, : block.keys].transpose(1, 2))
                torch._softmax_backward_data(slope, probabilities, -1, slope.dtype, grad_input=slope)
                _product(slope, bucket_key[block.items, : block.keys], scale, out=_rows_of(query_gradient, block))
                _add_product(probabilities, given, 1.0, to=to_value[block.items], keys=block.keys)
                _add_product(slope, _rows_of(query, block), scale, to=to_key[block.items], keys=block.keys)
        rows = found.index_select(0, layout.gradient_places)
        if layout.prefix_rows.numel():
            rows.index_add_(0, layout.prefix_rows, found.index_select(0, layout.prefix_places))
        return rows.view(-1, heads.all * heads.size), None, None


def _keeps(bucket: Bucket) -> bool:
    return bucket.width <= _KEPT_WIDTH


def _batched(rows: Tensor, bucket: Bucket, layout: Layout) -> Tensor:
    return rows[bucket.keys].view(-1, bucket.prefix + bucket.width, layout.heads.size)


def _rows_of(queries: Tensor, block: Block) -> Tensor:
    return queries[block.queries].view(block.items.stop - block.items.start, -1, queries.shape[-1])


def _probabilities(query: Tensor, key: Tensor, block: Block, bucket: Bucket, layout: Layout, scale: float) -> Tensor:
    rows = _rows_of(query, block)
    scores = torch.empty(rows.shape[0], rows.shape[1], block.keys)
    _product(rows, key[block.items, : block.keys].transpose(1, 2), scale, out=scores)
    if bucket.prefix_bias is not None:
        scores[:, :, : bucket.prefix].add_(bucket.prefix_bias[block.items])
    mask = layout.masks[block.tokens]
    scores[:, :, block.keys - block.tokens :].add_(mask)
    return torch.softmax(scores, -1, out=scores)


def _product(left: Tensor, right: Tensor, scale: float, *, out: Tensor) -> None:
    torch.baddbmm(out, left, right, beta=0.0, alpha=scale, out=out)


def _add_product(weights: Tensor, rows: Tensor, scale: float, *, to: Tensor, keys: int) -> None:
    """Adds `scale · weightsᵀ · rows` to the leading keys of `to`. The block that sees all keys comes first and sets them.

    torch computes a batch of products in one call only into a contiguous result, so the other blocks make a detour."""
    if keys == to.shape[1]:
        _product(weights.transpose(1, 2), rows, scale, out=to)
    else:
        to[:, :keys].add_(torch.bmm(weights.transpose(1, 2), rows), alpha=scale)
