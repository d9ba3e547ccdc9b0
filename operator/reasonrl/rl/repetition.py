"""Responses that say the same thing again: the way in which long answers go wrong.

Three measures, on one response or on the responses to one question. Repeated n-grams: the share of 4-grams of tokens that the response had
already; it grows smoothly and has no threshold. Distinct n-grams: the share of different 4-grams among all responses to a question, which
falls when the policy writes one answer many times (Polaris follows it to set the temperature). And a verdict, repetitive or not: a
response that ends in a loop, or most of whose paragraphs stood in it before. The report's private code calls a response repetitive with
more than 200 duplicate paragraphs; the other thresholds are ours.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NGRAM = 4
"""Tokens."""
DUPLICATES = 200
"""More duplicate paragraphs than this are repetitive, whatever else there is."""
DUPLICATE_SHARE = 0.5
FEWEST_PARAGRAPHS = 8
"""Of so many paragraphs, more than that share duplicates is repetitive too."""
LOOP_SHARE = 0.25
"""A loop is the last part of a response, at least this share of it …"""
LOOP_TOKENS = 32
"""… and at least so many tokens, …"""
LOOP_TURNS = 4
"""… in which one block of tokens stands at least so many times in a row."""
LONGEST_BLOCK = 512
"""Tokens of the longest block that is looked for."""

Tokens = NDArray[np.int64]
_PARAGRAPHS = re.compile(r"\n\s*\n")
# Any odd numbers will do, as long as different 4-grams have different sums of products modulo 2^64.
_MIX = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0xD6E8FEB86659FD93], dtype=np.uint64)

_OWNER_BITS = np.uint64(16)
_OWNER_SHIFT = np.uint64(48)
"""A number of 48 bits for an n-gram is enough, and leaves room for the place of its response among those to a question."""


@dataclass(frozen=True, slots=True)
class RepetitionStatistics:
    """Of a step's responses: mean share of repeated n-grams, mean over questions of the share of distinct n-grams, share of responses that
    are repetitive, duplicate paragraphs a response. None where no response is long enough to tell."""

    repeated_ngrams: float | None
    distinct_ngrams: float | None
    repetitive_share: float
    duplicate_paragraphs: float


def repetition_statistics(groups: Sequence[Sequence[tuple[Tokens, str]]]) -> RepetitionStatistics:
    """One sequence a question, with the tokens `[time]` and the text of each response. Raises `ValueError` without any response."""
    responses = [response for group in groups for response in group]
    if not responses:
        raise ValueError("repetition needs at least one response")
    repeated: list[float] = []
    distinct: list[float] = []
    for group in groups:
        grams, owners = _ngrams_of([tokens for tokens, _ in group])
        if not grams.size:
            continue
        every = np.bincount(owners, minlength=len(group))
        # The same n-gram of two responses must not meet here, so each begins with the place of its response.
        of_responses = _first_of_each((owners.astype(np.uint64) << _OWNER_SHIFT) | (grams >> _OWNER_BITS))
        new = np.bincount((of_responses >> _OWNER_SHIFT).astype(np.int64), minlength=len(group))
        repeated += list(1.0 - new[every > 0] / every[every > 0])
        distinct.append(_first_of_each(grams).size / grams.size)
    return RepetitionStatistics(
        repeated_ngrams=float(np.mean(repeated)) if repeated else None,
        distinct_ngrams=float(np.mean(distinct)) if distinct else None,
        repetitive_share=sum(is_repetitive(tokens, text) for tokens, text in responses) / len(responses),
        duplicate_paragraphs=sum(duplicate_paragraphs(text)[0] for _, text in responses) / len(responses),
    )


def is_repetitive(tokens: Tokens, text: str) -> bool:
    duplicates, paragraphs = duplicate_paragraphs(text)
    mostly = paragraphs >= FEWEST_PARAGRAPHS and duplicates > DUPLICATE_SHARE * paragraphs
    return duplicates > DUPLICATES or mostly or ends_in_loop(tokens)


def duplicate_paragraphs(text: str) -> tuple[int, int]:
    """How many paragraphs stood in the text before, and how many there are. Blank lines part them."""
    paragraphs = [stripped for part in _PARAGRAPHS.split(text) if (stripped := part.strip())]
    return len(paragraphs) - len(set(paragraphs)), len(paragraphs)


def ends_in_loop(tokens: Tokens) -> bool:
    """Whether the last part of the response, or all of it, is one block of tokens over and over. `tokens` `[time]`."""
    shortest = max(LOOP_TOKENS, int(np.ceil(LOOP_SHARE * tokens.size)))
    if tokens.size < shortest:
        return False
    # Its last token may be the end token, which is no part of the block.
    return any(
        _period(tokens[:end][-size:]) is not None
        for size in dict.fromkeys((shortest, tokens.size // 2, 3 * tokens.size // 4, tokens.size - 1))
        for end in (tokens.size, tokens.size - 1)
        if shortest <= size <= end
    )


def _period(tail: Tokens) -> int | None:
    """Length of the shortest block that the whole tail repeats, at least `LOOP_TURNS` times."""
    longest = min(LONGEST_BLOCK, tail.size // LOOP_TURNS)
    starts = np.flatnonzero(tail[1 : longest + 1] == tail[0]) + 1
    for block in starts:
        if np.array_equal(tail[block:], tail[:-block]):
            return int(block)
    return None


def _first_of_each(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The different ones, sorted. (numpy's own `unique` hashes, which takes many times as long.)"""
    ordered = np.sort(numbers)
    different: NDArray[np.uint64] = ordered[np.append(True, ordered[1:] != ordered[:-1])]
    return different


def _ngrams_of(responses: Sequence[Tokens]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """One number for each n-gram, equal for equal ones, and the place of the response that it is of. Both `[ngrams]`."""
    lengths = np.array([tokens.size for tokens in responses], dtype=np.int64)
    together = np.concatenate(responses).astype(np.uint64) if responses else np.zeros(0, dtype=np.uint64)
    if together.size < NGRAM:
        return np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.int64)
    count = together.size - NGRAM + 1
    mixed = np.zeros(count, dtype=np.uint64)
    for place in range(NGRAM):
        mixed += together[place : place + count] * _MIX[place]
    owners = np.repeat(np.arange(len(responses)), lengths)
    within = owners[:count] == owners[NGRAM - 1 :]
    return mixed[within], owners[:count][within]
