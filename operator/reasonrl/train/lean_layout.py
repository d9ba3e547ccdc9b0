"""Where each head of each token of a micro-batch goes for attention, and how the way back leads.

Everything but attention works on real tokens, one after another. Attention is computed in dense blocks: segments of like length form a
bucket, padded to its longest, and a bucket is walked in blocks that fit a core's cache. A *row* is one head of one token; the row maps
here take rows into the buckets and back, and are the same for every layer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reasonrl.train.lean_segments import Ints, Segment, place
from reasonrl.train.protocol import TrainingSequence

_ALIGNED = 16
"""Widths of dense blocks are multiples of this many tokens: products of odd widths are a fifth slower."""
_FILLED = 0.75
"""A segment joins a bucket when it fills at least this share of its width; below, its padding costs more than another bucket."""
_BLOCK_TOKENS = 64
"""Queries of one segment in a block: fewer skip more of the upper triangle, more make better products."""
_BLOCK_SCORES = 131_072
"""Attention scores in a block, for each thread: half a megabyte, so that a block stays in the cache from its scores to its output."""
_PADDING, _OWN, _PREFIX = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Heads:
    """The attention of one layer: `query` heads of `size` numbers each, `query / key_value` for each key-value head."""

    query: int
    key_value: int
    size: int

    @property
    def repeats(self) -> int:
        return self.query // self.key_value

    @property
    def rotated(self) -> int:
        """Heads that carry positions: queries and keys."""
        return self.query + self.key_value

    @property
    def all(self) -> int:
        """Heads in a token's queries, keys and values, in this order."""
        return self.query + 2 * self.key_value


@dataclass(frozen=True, slots=True)
class Block:
    """Queries `queries` of the layout, `tokens` for each of the items (segments times key-value heads) `items` of a bucket, against the
    first `keys` keys of these."""

    queries: slice
    items: slice
    tokens: int
    keys: int


@dataclass(frozen=True, slots=True)
class Bucket:
    """Segments of up to `width` tokens, each behind a prefix of up to `prefix` tokens.

    Its keys are the rows `keys` of the layout, `[items · (prefix + width)]`, prefix first. `prefix_bias` `[items, 1, prefix]` is −inf where
    a prefix is padded, or None. The blocks of a segment come last tokens first.
    """

    width: int
    prefix: int
    keys: slice
    prefix_bias: Tensor | None
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """`tokens` and `positions` int64 `[tokens]`; `predictors` int64 `[responseTokens]` are the places whose hidden state predicts a
    response token, sequence after sequence in the order given.

    `query_rows`, `key_rows` and `value_rows` take rows of the token-major `[tokens · allHeads]` to the buckets, `output_rows` those of
    `[tokens · queryHeads]`; padding takes the first row, and `query_padding` lists where. `output_places` `[tokens · queryHeads]` and
    `gradient_places` `[tokens · allHeads]` lead back: the latter index the buckets' queries, keys and values, one after another. What
    prefixes add to the gradient is at `prefix_places` and goes to `prefix_rows`. `masks` has, for each number of tokens that a block may
    have, what to add to the scores among its own tokens.
    """

    tokens: Tensor
    positions: Tensor
    predictors: Tensor
    heads: Heads
    buckets: tuple[Bucket, ...]
    query_rows: Tensor
    key_rows: Tensor
    value_rows: Tensor
    output_rows: Tensor
    query_padding: Tensor
    output_places: Tensor
    gradient_places: Tensor
    prefix_places: Tensor
    prefix_rows: Tensor
    masks: Mapping[int, Tensor]


def lay_out(sequences: Sequence[TrainingSequence], *, heads: Heads) -> Layout:
    """The layout of a micro-batch. Hidden states and gradients do not depend on which sequences share one."""
    placement = place(sequences)
    rows = _Rows(heads)
    buckets = tuple(rows.add(segments) for segments in _alike(placement.segments))
    query, key, output = np.concatenate(rows.query), np.concatenate(rows.key), np.concatenate(rows.output)
    real_queries, roles = np.concatenate(rows.real_queries), np.concatenate(rows.roles)
    value = key + heads.key_value
    output_places = np.empty(placement.end * heads.query, dtype=np.int64)
    gradient_places = np.empty(placement.end * heads.all, dtype=np.int64)
    real = np.flatnonzero(real_queries)
    own, prefix = np.flatnonzero(roles == _OWN), np.flatnonzero(roles == _PREFIX)
    output_places[output[real]] = real
    gradient_places[query[real]] = real
    gradient_places[key[own]] = len(query) + own
    gradient_places[value[own]] = len(query) + len(key) + own
    return Layout(
        tokens=_tensor(placement.tokens),
        positions=_tensor(placement.positions),
        predictors=_tensor(placement.predictors),
        heads=heads,
        buckets=buckets,
        query_rows=torch.from_numpy(query),
        key_rows=torch.from_numpy(key),
        value_rows=torch.from_numpy(value),
        output_rows=torch.from_numpy(output),
        query_padding=torch.from_numpy(np.flatnonzero(~real_queries)),
        output_places=torch.from_numpy(output_places),
        gradient_places=torch.from_numpy(gradient_places),
        prefix_places=_tensor([len(query) + prefix, len(query) + len(key) + prefix]),
        prefix_rows=_tensor([key[prefix], value[prefix]]),
        masks={tokens: _causal_mask(tokens, heads) for tokens in {block.tokens for bucket in buckets for block in bucket.blocks}},
    )


class _Rows:
    """The row maps of buckets, collected one bucket after another. `roles` says of each key row whether it is padding, a segment's own
    token or one of its prefix."""

    def __init__(self, heads: Heads) -> None:
        self.query: list[Ints] = []
        self.key: list[Ints] = []
        self.output: list[Ints] = []
        self.real_queries: list[NDArray[np.bool_]] = []
        self.roles: list[NDArray[np.int64]] = []
        self._heads = heads
        self._query_head = np.arange(heads.query).reshape(heads.key_value, 1, heads.repeats)
        self._key_head = np.arange(heads.key_value)[:, None]
        self._query_end = self._key_end = 0

    def add(self, segments: Sequence[Segment]) -> Bucket:
        heads = self._heads
        width = _aligned(max(each.length for each in segments))
        prefix = _aligned(max(each.prefix for each in segments))
        columns = np.array([(each.start, each.length, each.prefix_start, each.prefix) for each in segments]).T[:, :, None]
        start, length, prefix_start, prefix_length = columns
        own = np.arange(width)
        real = own < length
        places = np.where(real, start + own, 0)
        # A prefix is padded on its left, so that it ends where the segment's own keys begin.
        offset = np.arange(prefix) - prefix + prefix_length
        before = np.where(offset >= 0, prefix_start + offset, 0)
        roles = np.concatenate((np.where(offset >= 0, _PREFIX, _PADDING), np.where(real, _OWN, _PADDING)), axis=1)
        self._add_keys(np.concatenate((before, places), axis=1), roles)
        keys = slice(self._key_end - self.key[-1].size, self._key_end)
        blocks = tuple(
            self._add_block(places[items, tokens], real[items, tokens], items, keys=prefix + tokens.stop)
            for items, tokens in _cuts(len(segments), width, prefix, heads)
        )
        bias = None
        if (offset < 0).any():
            bias = torch.from_numpy(np.where(offset < 0, np.float32("-inf"), np.float32(0)).repeat(heads.key_value, axis=0)[:, None])
        return Bucket(width=width, prefix=prefix, keys=keys, prefix_bias=bias, blocks=blocks)

    def _add_keys(self, places: Ints, roles: NDArray[np.int64]) -> None:
        self.key.append((places[:, None] * self._heads.all + self._heads.query + self._key_head).ravel())
        self.roles.append(roles[:, None].repeat(self._heads.key_value, axis=1).ravel())
        self._key_end += self.key[-1].size

    def _add_block(self, places: Ints, real: NDArray[np.bool_], items: slice, *, keys: int) -> Block:
        heads = self._heads
        count, tokens = places.shape
        spread = places[:, None, :, None]
        self.query.append((spread * heads.all + self._query_head).ravel())
        self.output.append((spread * heads.query + self._query_head).ravel())
        self.real_queries.append(np.broadcast_to(real[:, None, :, None], (count, heads.key_value, tokens, heads.repeats)).ravel())
        first, self._query_end = self._query_end, self._query_end + self.query[-1].size
        return Block(
            queries=slice(first, self._query_end),
            items=slice(items.start * heads.key_value, items.stop * heads.key_value),
            tokens=tokens,
            keys=keys,
        )


def _alike(segments: Sequence[Segment]) -> Iterator[list[Segment]]:
    """Segments of like length together, those with a prefix apart from those without."""
    alike: list[Segment] = []
    for segment in sorted(segments, key=lambda each: (each.prefix > 0, -each.length)):
        if alike and ((segment.prefix > 0) != (alike[0].prefix > 0) or segment.length < _FILLED * alike[0].length):
            yield alike
            alike = []
        alike.append(segment)
    yield alike


def _cuts(count: int, width: int, prefix: int, heads: Heads) -> Iterator[tuple[slice, slice]]:
    """Segments and tokens of each block."""
    tokens = min(width, _BLOCK_TOKENS)
    scores = heads.query * tokens * (prefix + width)
    items = max(1, torch.get_num_threads() * _BLOCK_SCORES // scores)
    for first in range(0, count, items):
        for start in reversed(range(0, width, tokens)):
            yield slice(first, min(first + items, count)), slice(start, min(start + tokens, width))


def _aligned(length: int) -> int:
    return length if length < _ALIGNED else -(-length // _ALIGNED) * _ALIGNED


def _causal_mask(tokens: int, heads: Heads) -> Tensor:
    """`[tokens · repeats, tokens]`: −inf where a query would look ahead."""
    return torch.full((tokens, tokens), float("-inf")).triu_(1).repeat_interleave(heads.repeats, dim=0)


def _tensor(parts: Sequence[Ints]) -> Tensor:
    return torch.from_numpy(np.concatenate(parts))
