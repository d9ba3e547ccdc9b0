"""Stopping a run from outside: SIGTERM (a drained node, `kubectl delete`) and SIGINT (Ctrl-C).

Work that can be done again at no loss (sampling, grading, evaluating) is dropped at once, so that the checkpoint fits into the
grace period; work that cannot (an optimizer update, a checkpoint being written) is finished first. A second signal ends the
process the default way, for a person who does not want to wait.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequestedError(Exception):
    """Raised inside `droppable()` when a signal asks the run to stop."""


class StoppedWithinStepError(Exception):
    """A signal asked the run to stop where it is not whole: a checkpoint of this moment would be worthless."""


class StopRequest:
    """Remembers that a stop was asked for. Use as a context manager around the run, on the main thread."""

    def __init__(self) -> None:
        self.signal_name: str | None = None
        self._droppable = False
        self._previous: dict[signal.Signals, signal._HANDLER] = {}

    def __enter__(self) -> StopRequest:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @property
    def requested(self) -> bool:
        return self.signal_name is not None

    def check(self) -> None:
        """Raises StopRequestedError when a stop was asked for."""
        if self.requested:
            raise StopRequestedError(self.signal_name)

    def check_within_step(self) -> None:
        """Raises StoppedWithinStepError when a stop was asked for."""
        if self.requested:
            raise StoppedWithinStepError(self.signal_name)

    @contextmanager
    def droppable(self) -> Iterator[None]:
        """Within it, a signal raises StopRequestedError where the program stands."""
        self.check()
        self._droppable = True
        try:
            yield
        finally:
            self._droppable = False

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        for each, handler in self._previous.items():
            signal.signal(each, handler)
        self.signal_name = signal.Signals(number).name
        if self._droppable:
            self._droppable = False
            raise StopRequestedError(self.signal_name)
