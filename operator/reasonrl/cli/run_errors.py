"""What a run raises, as a message on stderr and an exit code, instead of a traceback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from reasonrl.run.status.outcome import known_outcome


@contextmanager
def explained() -> Iterator[None]:
    """Turns the errors that a run is known to raise into a message and the exit code that belongs to them."""
    try:
        yield
    except Exception as error:
        outcome = known_outcome(error)
        if outcome is None:
            raise
        sys.stderr.write(f"error: {outcome.message}\n")
        sys.exit(outcome.exit_code)
