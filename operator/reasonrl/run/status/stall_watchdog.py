"""Writes down where a run stands when a stage outlasts its deadline, before the operator ends the processes and with them the evidence.

It is a thread, so it can look while the loop hangs in a lock, a socket or a collective. Where a thread in native code holds the
interpreter's lock, no Python thread runs at all; for that case faulthandler's own timer, which needs no interpreter, is set a little later
than the deadline, and put off for as long as the watchdog is alive to do so.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from reasonrl.api.run_files import Event
from reasonrl.run.status.board import CurrentStage
from reasonrl.run.status.stacks import thread_stacks

STALLS_DIRECTORY = "stalls"
MOST_FILES = 32
"""Stalls that are kept on the disk; the oldest go first."""
logger = logging.getLogger(__name__)


class StallWatchdog:
    """A context manager around the loop.

    `current` is asked every `every_seconds`. `record` is told of each stall once, from the watchdog's thread. `dump_others` gives the
    stacks of the run's other processes; it must come back within a bounded time, and may raise. `descriptor` is where stacks go first,
    because it works when the disk does not.
    """

    def __init__(
        self,
        current: Callable[[], CurrentStage],
        *,
        run_directory: Path,
        record: Callable[[Event], None],
        dump_others: Callable[[], str] | None = None,
        descriptor: int = 2,
        every_seconds: float = 5.0,
    ) -> None:
        self._current = current
        self._directory = run_directory / STALLS_DIRECTORY
        self._record = record
        self._dump_others = dump_others
        self._descriptor = descriptor
        self._every_seconds = every_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="stall watchdog", daemon=True)

    def __enter__(self) -> StallWatchdog:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join(timeout=5.0)
        faulthandler.cancel_dump_traceback_later()

    def _watch(self) -> None:
        told: int | None = None
        while not self._stop.is_set():
            stage = self._current()
            left = stage.deadline_seconds - stage.seconds
            if left <= 0 and told != stage.mark:
                told = stage.mark
                faulthandler.cancel_dump_traceback_later()
                try:
                    self._capture(stage)
                except Exception:
                    logger.exception("the stall of stage %s could not be written down", stage.stage)
            # Two looks late means that this thread did not get to run: then the timer speaks.
            faulthandler.dump_traceback_later(max(left, 0.0) + 2 * self._every_seconds + 1.0, file=self._descriptor)
            self._stop.wait(min(self._every_seconds, left) if left > 0 else self._every_seconds)

    def _capture(self, stage: CurrentStage) -> None:
        head = (
            f"{datetime.now(UTC).isoformat(timespec='seconds')}: stage {stage.stage} of step {stage.step} has not got on for "
            f"{stage.seconds:.0f} s; its deadline is {stage.deadline_seconds:g} s. Stacks of all threads:\n"
        )
        own = head + thread_stacks()
        self._say(own)
        others = self._stacks_of_others()
        self._say(others)
        path = self._write(stage, own + others)
        message = (
            f"stage {stage.stage} of step {stage.step} lasts longer than its deadline of {stage.deadline_seconds:g} s; where every thread "
            f"stands is in {path}"
        )
        self._record(Event(time=time.time(), step=stage.step, reason="Stalled", message=message))

    def _stacks_of_others(self) -> str:
        if self._dump_others is None:
            return ""
        try:
            return f"\n{self._dump_others()}\n"
        except Exception as error:  # noqa: BLE001 (whatever keeps the others from answering belongs to the evidence)
            return f"\nThe other processes could not be asked: {type(error).__name__}: {error}\n"

    def _say(self, text: str) -> None:
        data = text.encode(errors="replace")
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError as error:
            logger.error("stacks could not be written to descriptor %d: %s", self._descriptor, error)

    def _write(self, stage: CurrentStage, text: str) -> Path:
        self._directory.mkdir(exist_ok=True)
        name = f"step-{stage.step:06d}-{stage.stage}"
        path = next(
            path
            for number in range(1, 1_000_000)
            if not (path := self._directory / (f"{name}.txt" if number == 1 else f"{name}-{number}.txt")).exists()
        )
        path.write_text(text, errors="replace")
        for old in sorted(self._directory.glob("*.txt"), key=lambda each: each.stat().st_mtime)[:-MOST_FILES]:
            old.unlink(missing_ok=True)
        return path
