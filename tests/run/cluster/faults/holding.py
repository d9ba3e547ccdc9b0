"""Keeps a run in one stage for as long as it takes to strike, by means that anybody outside has: the gate in the reward, and SIGSTOP.

A rank that is stopped before it is asked for an update keeps the run in `update`, and engines stopped then keep it in `weightSync`.
Rollouts and checkpoints take long enough to be caught by asking `/status` all the time: then engines, or the rank, are stopped, and where
that was too late the next step is tried. What was stopped goes on when the strike is done, if it still lives.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from typing import Literal

from faults.fault_job import CHECKPOINT_EVERY
from faults.run_processes import RunProcess, send
from faults.run_under_fault import FaultError, RunUnderFault

Stage = Literal["rollout", "grade", "update", "weightSync", "checkpoint"]
_SETTLE_SECONDS = 0.3
"""For what was already under way, such as a step of an engine that had been asked before it was stopped."""
_TRIES = 8


@contextlib.contextmanager
def held(run: RunUnderFault, stage: Stage) -> Iterator[None]:
    """From the gate, with all engines there, to `stage`. The gate is closed inside, and after it the run goes on."""
    run.wait_whole()
    stopped: list[RunProcess] = []
    try:
        if stage == "rollout":
            _into_rollout(run, stopped)
        elif stage == "checkpoint":
            _into_checkpoint(run, stopped)
        elif stage != "grade":
            _into_work_of_the_rank(run, stage, stopped)
        yield
    finally:
        _go_on(stopped)


def _into_rollout(run: RunUnderFault, stopped: list[RunProcess]) -> None:
    for _ in range(_TRIES):
        begins, engines = _next_rollout(run), run.processes.of("engine")
        run.open_gate()
        run.wait(begins, "in the next rollout", look=0.0)
        if _caught(run, "rollout", engines, stopped):
            return
    raise FaultError(f"no rollout lasted long enough in {_TRIES} steps")


def _into_checkpoint(run: RunUnderFault, stopped: list[RunProcess]) -> None:
    for _ in range(_TRIES):
        before_a_checkpoint(run)
        ranks = run.processes.of("rank")
        run.open_gate()
        run.wait(lambda: run.stage() == "checkpoint", "in the checkpoint", look=0.0)
        if _caught(run, "checkpoint", ranks, stopped):
            return
    raise FaultError(f"no checkpoint lasted long enough in {_TRIES} steps")


def _caught(run: RunUnderFault, stage: Stage, processes: list[RunProcess], stopped: list[RunProcess]) -> bool:
    """Whether stopping them kept the run where it was a moment ago. Where it was too late, the run is at the gate again."""
    _stop(processes, stopped)
    run.close_gate()
    time.sleep(_SETTLE_SECONDS)
    if run.stage() == stage:
        return True
    _go_on(stopped)
    stopped.clear()
    run.wait_whole()
    return False


def _into_work_of_the_rank(run: RunUnderFault, stage: Stage, stopped: list[RunProcess]) -> None:
    ranks, engines = run.processes.of("rank"), run.processes.of("engine")
    _stop(ranks, stopped)
    run.open_gate()
    run.wait(lambda: run.stage() == "update", "in the update")
    run.close_gate()
    if stage == "update":
        return
    _stop(engines, stopped)
    _go_on(ranks)
    run.wait(lambda: run.stage() == "weightSync", "in the weight sync")
    time.sleep(_SETTLE_SECONDS)


def before_a_checkpoint(run: RunUnderFault) -> None:
    """At the gate of a step that is followed by a checkpoint."""
    while (int((run.status() or {"step": 0})["step"]) + 1) % CHECKPOINT_EVERY:
        done = run.next_step()
        done()
        run.open_gate()
        run.wait(done, "a step further")
        run.close_gate()
        run.wait_whole()


def _next_rollout(run: RunUnderFault) -> Callable[[], bool]:
    last = int((run.status() or {"step": 0})["step"])

    def begins() -> bool:
        status = run.status()
        return status is not None and status["stage"] == "rollout" and int(status["step"]) > last

    return begins


def _stop(processes: list[RunProcess], stopped: list[RunProcess]) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            send(process, signal.SIGSTOP)
            stopped.append(process)


def _go_on(processes: list[RunProcess]) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            send(process, signal.SIGCONT)
