"""math-verify, for what the grammar here does not read: sums, integrals, limits, and whatever else its parser knows.

It simplifies with SymPy, which has no bound on time: whoever calls this must be able to end it. The import takes a second and is paid
by the worker before its first answer.
"""

from __future__ import annotations

import re

from math_verify import LatexExtractionConfig, parse, verify

_NEEDS_IT = re.compile(r"\\(?:sum|prod|int|iint|oint|lim|det|partial|bigcup|bigcap)(?![A-Za-z])")
_WORDS = re.compile(r"\\(?:text|mathrm|operatorname)(?![A-Za-z])")


# SymPy computes 9^{9^{9}} and 10000000! before it compares anything.
_RUNS_AWAY = re.compile(r"\^\s*\{[^{}]*\^|\^\s*[^\s{}]\s*\^|\*\*|\d{7,}|\d{4,}\s*!|\^\s*\{?\s*\d{5,}|!\s*!")
_MAX_CHARACTERS = 500


def is_beyond_grammar(prediction: str, gold: str) -> bool:
    """Whether two texts are mathematics of the kind that only math-verify reads: with one of its operators in either, without words, and
    without numbers that it would not come back from."""
    both = f"{prediction} ; {gold}"
    if len(both) > _MAX_CHARACTERS or _WORDS.search(both) or _RUNS_AWAY.search(both):
        return False
    return _NEEDS_IT.search(both) is not None


def symbolically_equal(prediction: str, gold: str) -> bool:
    """Whether math-verify takes the two for the same expression. It must read both as a whole."""
    mine, theirs = (_parsed(text) for text in (prediction, gold))
    # The limit in time is the caller's: math-verify's own is a signal, which only a main thread can have.
    return bool(mine and theirs and verify(theirs, mine, strict=True, timeout_seconds=None))


def _parsed(text: str) -> list[object]:
    found: list[object] = parse(f"${text}$", [LatexExtractionConfig()], fallback_mode="no_fallback", parsing_timeout=None)
    return found
