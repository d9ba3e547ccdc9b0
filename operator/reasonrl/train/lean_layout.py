"""How the lean forward pass lays a micro-batch out: real tokens one after another, and attention over them in dense blocks.

Nothing is padded but the inside of attention. A prompt that several sequences start with is laid out once, and the last token of a
response, which predicts nothing, not at all. Attention works on *segments*: a prompt, a response behind a shared prompt, or a whole
sequence. Segments of like length form a bucket, and a bucket is walked in blocks that fit a core's cache. Row maps say where each
head of each token goes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reasonrl.train.protocol import TrainingSequence

_ALIGNED = 16
"""Widths of dense blocks are multiples of this many tokens: products of odd widths are a fifth slower."""
_FILLED = 0.75
"""A segment joins a bucket when it fills at least this share of its width; below, its padding costs more than another bucket."""
_BLOCK_TOKENS = 64
"""Queries of one segment in a block: fewer skip more of the upper triangle, more make better products."""
_BLOCK_SCORES = 131_072
"""Attention scores in a block, for each thread: half a megabyte, so that a block stays in the cache from its scores to its output."""

_Ints = NDArray[np.int64]


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
    def all(self) -> int:
        """Heads in a token's queries, keys and values."""
        return self.query + 2 * self.key_value


@dataclass(frozen=True, slots=True)
class Block:
    """Queries `queries` of the layout against the first `keys` keys of the segments `items` (times key-value heads) of a bucket."""

    queries: slice
    items: slice
    keys: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Bucket:
    """`count` segments of up to `width` tokens, each behind a prefix of up to `prefix` tokens.

    Its keys are the rows `key_rows` of the layout, `[count · keyValueHeads, prefix + width]` of them, prefix first. `prefix_bias`
    `[count · keyValueHeads, 1, prefix]` is −inf where a prefix is padded, or None. The blocks of a segment come last tokens first.
    """

    count: int
    width: int
    prefix: int
    key_rows: slice
    prefix_bias: Tensor | None
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """`tokens` and `positions` int64 `[tokens]`; `predictors` int64 `[responseTokens]` are the places whose hidden state predicts a
    response token, sequence after sequence in the order given.

    A row is one head of one token. `query_rows`, `key_rows` and `value_rows` take rows of the token-major `[tokens · allHeads]` to
    the buckets, `output_rows` those of `[tokens · queryHeads]`; padding takes the first row, and `query_padding` lists where.
    `output_places` `[tokens · queryHeads]` and `gradient_places` `[tokens · allHeads]` lead back: the latter index the buckets'
    queries, keys and values, one after another. What prefixes add to the gradient is at `prefix_places` and goes to `prefix_rows`.
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


@dataclass(frozen=True, slots=True)
class _Segment:
    """Places `[start, start + length)`, attending to `[prefix_start, prefix_start + prefix)` and causally to itself."""

    start: int
    length: int
    prefix_start: int = 0
    prefix: int = 0


def lay_out(sequences: Sequence[TrainingSequence], *, heads: Heads) -> Layout:
    """The layout of a micro-batch. Hidden states and gradients do not depend on which sequences share one."""
    placed = _Placement()
    members: dict[bytes, list[int]] = {}
    tokens = [sequence.tokens.numpy() for sequence in sequences]
    for index, sequence in enumerate(sequences):
        members.setdefault(tokens[index][: sequence.prompt_length].tobytes(), []).append(index)
    predictors: list[_Ints] = [_NONE] * len(sequences)
    for group in members.values():
        prompt = sequences[group[0]].prompt_length
        if len(group) == 1:
            start = placed.add(tokens[group[0]][: max(len(tokens[group[0]]) - 1, prompt)], first_position=0)
            predictors[group[0]] = np.arange(start + prompt - 1, start + len(tokens[group[0]]) - 1)
            continue
        prompt_start = placed.add(tokens[group[0]][:prompt], first_position=0)
        last = prompt_start + prompt - 1
        for index in group:
            length = len(tokens[index]) - prompt
            if length > 1:
                start = placed.add(tokens[index][prompt:-1], first_position=prompt, prefix_start=prompt_start)
                predictors[index] = np.concatenate(([last], np.arange(start, start + length - 1)))
            else:
                predictors[index] = np.full(length, last)
    return _with_rows(placed, np.concatenate(predictors), heads)


_NONE: _Ints = np.empty(0, dtype=np.int64)


class _Placement:
    """Tokens laid one after another, and the segments that they form."""

    def __init__(self) -> None:
        self.tokens: list[_Ints] = []
        self.positions: list[_Ints] = []
        self.segments: list[_Segment] = []
        self.end = 0

    def add(self, tokens: _Ints, *, first_position: int, prefix_start: int = 0) -> int:
        start = self.end
        self.tokens.append(tokens)
        self.positions.append(np.arange(first_position, first_position + len(tokens)))
        self.segments.append(_Segment(start, len(tokens), prefix_start, first_position))
        self.end += len(tokens)
        return start


def _with_rows(placed: _Placement, predictors: _Ints, heads: Heads) -> Layout:
    buckets: list[Bucket] = []
    query_rows: list[_Ints] = []
    key_rows: list[_Ints] = []
    output_rows: list[_Ints] = []
    real_queries: list[NDArray[np.bool_]] = []
    roles: list[NDArray[np.int8]] = []
    query_head = np.arange(heads.query).reshape(heads.key_value, 1, heads.repeats)
    key_head = np.arange(heads.key_value)[:, None]
    query_end = key_end = 0
    for segments in _alike(placed.segments):
        count = len(segments)
        width = _aligned(max(each.length for each in segments))
        prefix = _aligned(max(each.prefix for each in segments))
        start, length, prefix_start, prefix_length = (
            np.array(column, dtype=np.int64)[:, None]
            for column in zip(*((each.start, each.length, each.prefix_start, each.prefix) for each in segments), strict=True)
        )
        own = np.arange(width)
        real = own < length
        places = np.where(real, start + own, 0)
        # A prefix is padded on its left, so that it ends where the segment's own keys begin.
        offset = np.arange(prefix) - prefix + prefix_length
        before = np.where(offset >= 0, prefix_start + offset, 0)
        keys = np.concatenate((before, places), axis=1)
        role = np.concatenate((np.where(offset >= 0, _PREFIX, _PADDING), np.where(real, _OWN, _PADDING)), axis=1)
        key_rows.append((keys[:, None] * heads.all + heads.query + key_head).ravel())
        roles.append(np.broadcast_to(role[:, None], (count, heads.key_value, prefix + width)).ravel())
        blocks: list[Block] = []
        for items, tokens in _cuts(count, width, prefix, heads):
            shape = (items.stop - items.start, heads.key_value, tokens.stop - tokens.start, heads.repeats)
            block_places = places[items, None, tokens, None]
            query_rows.append((block_places * heads.all + query_head).ravel())
            output_rows.append((block_places * heads.query + query_head).ravel())
            real_queries.append(np.broadcast_to(real[items, None, tokens, None], shape).ravel())
            queries = slice(query_end, query_end := query_end + query_rows[-1].size)
            batch = slice(items.start * heads.key_value, items.stop * heads.key_value)
            blocks.append(Block(queries=queries, items=batch, keys=prefix + tokens.stop, tokens=tokens.stop - tokens.start))
        bias = None
        if (offset < 0).any():
            bias = torch.from_numpy(np.where(offset < 0, np.float32("-inf"), np.float32(0)).repeat(heads.key_value, axis=0)[:, None])
        buckets.append(
            Bucket(
                count=count,
                width=width,
                prefix=prefix,
                key_rows=slice(key_end, key_end := key_end + key_rows[-1].size),
                prefix_bias=bias,
                blocks=tuple(blocks),
            )
        )
    query, key, output = np.concatenate(query_rows), np.concatenate(key_rows), np.concatenate(output_rows)
    real_query, role = np.concatenate(real_queries), np.concatenate(roles)
    value = key + heads.key_value
    output_places = np.empty(placed.end * heads.query, dtype=np.int64)
    gradient_places = np.empty(placed.end * heads.all, dtype=np.int64)
    real_places = np.flatnonzero(real_query)
    output_places[output[real_places]] = real_places
    gradient_places[query[real_places]] = real_places
    own_places, prefix_places = np.flatnonzero(role == _OWN), np.flatnonzero(role == _PREFIX)
    gradient_places[key[own_places]] = own_places + query_end
    gradient_places[value[own_places]] = own_places + query_end + key_end
    return Layout(
        tokens=torch.from_numpy(np.concatenate(placed.tokens)),
        positions=torch.from_numpy(np.concatenate(placed.positions)),
        predictors=torch.from_numpy(predictors),
        heads=heads,
        buckets=tuple(buckets),
        query_rows=torch.from_numpy(query),
        key_rows=torch.from_numpy(key),
        value_rows=torch.from_numpy(value),
        output_rows=torch.from_numpy(output),
        query_padding=torch.from_numpy(np.flatnonzero(~real_query)),
        output_places=torch.from_numpy(output_places),
        gradient_places=torch.from_numpy(gradient_places),
        prefix_places=torch.from_numpy(np.concatenate((prefix_places + query_end, prefix_places + query_end + key_end))),
        prefix_rows=torch.from_numpy(np.concatenate((key[prefix_places], value[prefix_places]))),
    )


_PADDING, _OWN, _PREFIX = np.int8(0), np.int8(1), np.int8(2)


def _alike(segments: Sequence[_Segment]) -> Iterator[list[_Segment]]:
    """Segments of like length together, those with a prefix apart from those without."""
    alike: list[_Segment] = []
    for segment in sorted(segments, key=lambda each: (each.prefix > 0, -each.length)):
        if alike and ((segment.prefix > 0) != (alike[0].prefix > 0) or segment.length < _FILLED * alike[0].length):
            yield alike
            alike = []
        alike.append(segment)
    yield alike


def _aligned(length: int) -> int:
    return length if length < _ALIGNED else -(-length // _ALIGNED) * _ALIGNED


def _cuts(count: int, width: int, prefix: int, heads: Heads) -> Iterator[tuple[slice, slice]]:
    tokens = min(width, _BLOCK_TOKENS)
    scores = heads.query * tokens * (prefix + width)
    items = max(1, torch.get_num_threads() * _BLOCK_SCORES // scores)
    for first in range(0, count, items):
        for start in reversed(range(0, width, tokens)):
            yield slice(first, min(first + items, count)), slice(start, min(start + tokens, width))
