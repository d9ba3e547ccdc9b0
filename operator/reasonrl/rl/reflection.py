"""How often responses use the words of reflection.

The report counts keywords of three categories over its evaluation responses (STILL-3 Fig. 4) and gives no formula for its ratio. Ours,
and not the report's: case-insensitive whole words, reported both as the share of responses with a hit and as hits per 1,000 tokens.
"Correct" and "however" are ordinary words, so the level says little; watch the trend.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reasonrl.rl.keywords import keyword_pattern

REFLECTION_KEYWORDS: Mapping[str, tuple[str, ...]] = {
    "self_verification": ("verify", "double check", "confirm"),
    "self_reflection": ("however", "reflect", "wait"),
    "self_correction": ("correct", "revise", "adjust"),
}
"""The report's categories and the words that it names."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReflectionStatistics:
    """By category: `share` of responses with at least one hit, and hits `per_1000_tokens` of all responses together. 0 of nothing."""

    share: dict[str, float]
    per_1000_tokens: dict[str, float]


def keyword_counts(text: str, keywords: Mapping[str, Sequence[str]] = REFLECTION_KEYWORDS) -> dict[str, int]:
    """Hits in `text` by category. A keyword of several words matches with any white space or one hyphen between them."""
    return {category: len(pattern.findall(text)) for category, pattern in _patterns(keywords).items()}


def reflection_statistics(
    texts: Sequence[str], *, response_tokens: int, keywords: Mapping[str, Sequence[str]] = REFLECTION_KEYWORDS
) -> ReflectionStatistics:
    """Statistics over the responses `texts`, which together have `response_tokens` tokens."""
    share: dict[str, float] = {}
    per_1000_tokens: dict[str, float] = {}
    for category, pattern in _patterns(keywords).items():
        hits = [len(pattern.findall(text)) for text in texts]
        share[category] = sum(count > 0 for count in hits) / len(texts) if texts else 0.0
        per_1000_tokens[category] = 1000.0 * sum(hits) / response_tokens if response_tokens else 0.0
    return ReflectionStatistics(share=share, per_1000_tokens=per_1000_tokens)


def _patterns(keywords: Mapping[str, Sequence[str]]) -> dict[str, re.Pattern[str]]:
    patterns = {}
    for category, words in keywords.items():
        try:
            patterns[category] = keyword_pattern(words)
        except ValueError as error:
            raise ValueError(f"reflection category {category!r}: {error}") from error
    return patterns
