"""How far the runs of a sweep are: read from what they write, since they are processes of their own, and how long the rest will take."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from reasonrl.api.job import ReasoningRLJob
from reasonrl.api.run_files import METRICS_FILE, SUMMARY_FILE
from reasonrl.api.sweep_warm_start import SweepTask

_TAIL_BYTES = 1 << 17
"""More than the longest line of a metrics file of a small run has; a longer line shows a step later."""


class State(Enum):
    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"


@dataclass(slots=True, kw_only=True)
class RunState:
    """One task as it stands. `step` counts finished steps; `seconds` is the time that this process spent on `steps_here` of them;
    `accuracy` is that of the last evaluation, of whatever benchmark came first; `message` says why it failed."""

    task: SweepTask
    directory: Path
    state: State = State.WAITING
    step: int = 0
    accuracy: float | None = None
    warming_up: bool = False
    started: float | None = None
    first_step: int = 0
    seconds: float = 0.0
    message: str = ""
    exit_code: int | None = None
    planned: int | None = field(init=False)

    def __post_init__(self) -> None:
        self.planned = planned_steps(self.task.job)

    @property
    def steps_here(self) -> int:
        return self.step - self.first_step

    def begin(self) -> None:
        self.look()
        self.state, self.started, self.first_step = State.RUNNING, time.monotonic(), self.step

    def look(self) -> None:
        """Reads the run's files as they are now."""
        if self.started is not None and self.state is State.RUNNING:
            self.seconds = time.monotonic() - self.started
        last = _last_records(self.directory / METRICS_FILE)
        step, evaluation = last.get("step"), last.get("evaluation")
        self.warming_up = "warm_start" in last and step is None
        if step is not None:
            self.step = int(str(step["step"])) + 1
        if evaluation is not None:
            self.accuracy = float(str(evaluation["accuracy"]))

    @property
    def steps_left(self) -> int | None:
        if self.state in (State.FINISHED, State.FAILED):
            return 0
        return None if self.planned is None else max(0, self.planned - self.step)


def is_finished(directory: Path) -> bool:
    return (directory / SUMMARY_FILE).exists()


def planned_steps(job: ReasoningRLJob) -> int | None:
    """None when only a trigger ends one of its phases; 0 for a job that is only a warm start."""
    if job.spec.sft is not None and job.spec.sft.only_warm_start:
        return 0
    steps = [phase.until.steps or phase.until.max_steps for phase in job.spec.phases]
    return None if None in steps else sum(each for each in steps if each is not None)


def seconds_left(runs: Sequence[RunState], *, parallel: int) -> float | None:
    """Steps still to do × seconds a step of the same arm, where one of its runs has done some here, else of all. None while nothing is
    known. Warm starts are in the pace of the first runs and are not planned for themselves."""
    paced = [run for run in runs if run.steps_here > 0]
    if not paced:
        return None
    overall = sum(run.seconds for run in paced) / sum(run.steps_here for run in paced)
    left = 0.0
    for run in runs:
        steps = run.steps_left
        if steps is None:
            return None
        same = [each for each in paced if _arm(each) == _arm(run)]
        pace = sum(each.seconds for each in same) / sum(each.steps_here for each in same) if same else overall
        left += steps * pace
    return left / parallel


def _arm(run: RunState) -> str:
    return run.task.name.rpartition("/")[0]


def _last_records(path: Path) -> dict[str, dict[str, object]]:
    """The last whole line of each kind, as far as the end of the file has one."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL_BYTES))
            lines = file.read().split(b"\n")[1 if size > _TAIL_BYTES else 0 : -1]
    except FileNotFoundError:
        return {}
    found: dict[str, dict[str, object]] = {}
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            # Torn by a kill: the run mends its file when it goes on.
            continue
        if isinstance(record, dict):
            found[str(record.get("kind"))] = record
    return found
