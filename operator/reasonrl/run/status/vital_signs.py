"""Whether a run's process lives: not that it answers, but that its loop gets on.

The server that is asked runs in a thread of its own, so the process would look healthy for as long as Python turns. What is answered is
therefore about the loop: its thread is there, and its stage has not outlasted twice its deadline, by when the operator has long acted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from reasonrl.run.status.board import CurrentStage

OVERTIME = 2.0
"""Multiples of a stage's deadline."""


def ailments(stage: CurrentStage, *, loop_alive: bool) -> list[str]:
    """What is wrong, in sentences; empty for a healthy run."""
    found = []
    if not loop_alive:
        found.append("the loop's thread has ended")
    if stage.seconds > OVERTIME * stage.deadline_seconds:
        what = f"stage {stage.stage} of step {stage.step}"
        found.append(f"{what} has not got on for {stage.seconds:.0f} s; its deadline is {stage.deadline_seconds:g} s")
    return found


def vital_signs(current: Callable[[], CurrentStage], *, loop: threading.Thread) -> Callable[[], list[str]]:
    """What a status server asks at each look. `loop` is the thread that runs the loop."""
    return lambda: ailments(current(), loop_alive=loop.is_alive())
