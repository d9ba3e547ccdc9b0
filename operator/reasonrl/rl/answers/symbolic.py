"""math-verify, for what the grammar here does not read: sums, integrals, limits, and whatever else its parser knows.

It simplifies with SymPy, which has no bound on time: whoever calls this must be able to end it. The import takes a second and is paid
by the worker before its first answer.
"""

from __future__ import annotations

import re

from math_verify import LatexExtractionConfig, parse, verify

_NEEDS_IT = re.compile(r"\\(?:sum|prod|int|iint|oint|lim|det|partial|bigcup|bigcap)(?![A-Za-z])")
_WORDS = re.compile(r"\\(?:text|mathrm|operatorname)(?![A-Za-z])")


def is_beyond_grammar(text: str) -> bool:
    """Whether a text is mathematics of the kind that only math-verify reads: with one of its operators, and without words."""
    return _NEEDS_IT.search(text) is not None and _WORDS.search(text) is None


def symbolically_equal(prediction: str, gold: str) -> bool:
    """Whether math-verify takes the two for the same expression. It must read both as a whole."""
    mine, theirs = (_parsed(text) for text in (prediction, gold))
    # The limit in time is the caller's: math-verify's own is a signal, which only a main thread can have.
    return bool(mine and theirs and verify(theirs, mine, strict=True, timeout_seconds=None))


def _parsed(text: str) -> list[object]:
    found: list[object] = parse(f"${text}$", [LatexExtractionConfig()], fallback_mode="no_fallback", parsing_timeout=None)
    return found
