"""Is the text of a question in English, and neither too short nor too long?

Language is judged by the alphabet and by the commonest English words, which is enough to part problem sets and needs no model. A question
that is nearly all formula has no language and passes.
"""

from __future__ import annotations

import re
import unicodedata

from reasonrl.data.build.spec import TextLimits

_FORMULA = re.compile(r"\$\$.*?\$\$|\$[^$]*\$|\\\[.*?\\\]|\\\(.*?\\\)|\[asy\].*?\[/asy\]|\\[a-zA-Z]+", re.DOTALL)
_ORDINARY = re.compile(r"[^\W\d_]{2,}")
_LEAST_WORDS = 8
_LEAST_ENGLISH = 0.12
"""Share of a question's words. English problem texts have 0.3 to 0.6 of these words, other languages under 0.05."""
_MOST_OTHER_LETTERS = 0.1
_COMMONEST = """
    the of is are and what find how that which with for many if each by be an has was were let value compute solve from when this
    than it then evaluate simplify determine calculate in to at on as all his her he she they not can does more number numbers
    have there will one given such where
"""
_ENGLISH = frozenset(_COMMONEST.split())


def outside_limits(text: str, limits: TextLimits) -> str | None:
    """Why the text is not kept, or None."""
    length = len(text.strip())
    if length < limits.min_characters:
        return f"{length} characters, fewer than {limits.min_characters}"
    if length > limits.max_characters:
        return f"{length} characters, more than {limits.max_characters}"
    if limits.language == "english":
        return not_english(text)
    return None


def not_english(text: str) -> str | None:
    """Why the text is no English, or None."""
    plain = _FORMULA.sub(" ", text)
    letters = [letter for letter in plain if letter.isalpha()]
    strange = sum(not unicodedata.name(letter, "").startswith("LATIN") for letter in letters)
    if len(letters) >= 4 and strange > _MOST_OTHER_LETTERS * len(letters):
        return f"{strange} of {len(letters)} letters are not Latin"
    words = [word.casefold() for word in _ORDINARY.findall(plain)]
    english = sum(word in _ENGLISH for word in words)
    if len(words) >= _LEAST_WORDS and english < _LEAST_ENGLISH * len(words):
        return f"{english} of {len(words)} words are common English words"
    return None
