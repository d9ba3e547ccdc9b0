"""Keeps a run in one stage for as long as it takes to strike, by means that anybody outside has: the gate in the reward, and SIGSTOP.

A rank that is stopped before it is asked for an update keeps the run in `update`, stopped engines keep it in `rollout` and `weightSync`,
and a rank stopped after it has published keeps it in `checkpoint`. What was stopped goes on when the strike is done, if it still lives.
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
_PUBLISH_SECONDS = 2.0
"""For rank 0 to have put weights of a few hundred kilobytes into the object store while engines do not answer."""
_TRIES = 8


@contextlib.contextmanager
def held(run: RunUnderFault, stage: Stage) -> Iterator[None]:
    """From the gate, with all engines there, to `stage`. The gate is closed inside, and after it the run goes on."""
    run.wait_whole()
    stopped: list[RunProcess] = []
    try:
        if stage == "rollout":
            _into_rollout(run, stopped)
        elif stage != "grade":
            _into_work_of_the_rank(run, stage, stopped)
        yield
    finally:
        _go_on(stopped)


def _into_rollout(run: RunUnderFault, stopped: list[RunProcess]) -> None:
    engines = run.processes.of("engine")
    for _ in range(_TRIES):
        begins = _next_rollout(run)
        run.open_gate()
        run.wait(begins, "in the next rollout")
        run.close_gate()
        _stop(engines, stopped)
        time.sleep(0.2)
        if run.stage() == "rollout":
            return
        _go_on(stopped)
        run.wait_whole()
    raise FaultError(f"no rollout lasted long enough in {_TRIES} steps")


def _into_work_of_the_rank(run: RunUnderFault, stage: Stage, stopped: list[RunProcess]) -> None:
    if stage == "checkpoint":
        before_a_checkpoint(run)
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
    time.sleep(_PUBLISH_SECONDS)
    if stage == "weightSync":
        return
    _stop(ranks, stopped)
    _go_on(engines)
    run.wait(lambda: run.stage() == "checkpoint", "in the checkpoint")


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
