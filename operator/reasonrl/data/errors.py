"""What goes wrong with data, in one exception type.

A job with bad data must fail before the first step, with a message that a person can act on: which source, which row, which field,
and what to do. Every module of this package raises `DataError` for that, and nothing else.
"""

from __future__ import annotations


class DataError(Exception):
    """The data cannot be used as the spec asks. The message names the place and the remedy."""
