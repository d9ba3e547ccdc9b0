"""How keywords are counted in text, for the reward on reasoning actions and for the curves of reflection.

The report counts keywords and says neither whether case matters nor what a word is ("distribution" contains "but"). Ours: whole words,
in upper or lower case.
"""

from __future__ import annotations

import re
from collections.abc import Sequence


def keyword_pattern(words: Sequence[str]) -> re.Pattern[str]:
    """Matches any of `words`, whole and in any case; between the parts of several words stands any white space or one hyphen.

    Raises `ValueError` without words, or for one that is blank.
    """
    if not words or not all(word.split() for word in words):
        raise ValueError(f"name at least one word, and no empty ones; got {list(words)}")
    # Longest first, so that "wait a moment" is one hit and not the "wait" in it.
    ordered = sorted(words, key=lambda word: (-len(word), word))
    alternatives = "|".join(r"(?:\s+|-)".join(re.escape(part) for part in word.split()) for word in ordered)
    return re.compile(rf"(?<!\w)(?:{alternatives})(?!\w)", re.IGNORECASE)
