"""What the terminal shows of a run: the last records, short histories, and how long it will go on.

The loop's thread fills it and the thread that draws reads it, so it is only touched under its lock.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from reasonrl.api.job import ReasoningRLJob
from reasonrl.api.run_files import EvaluationMetrics, Event, StepMetrics, WarmStartMetrics

HISTORY_STEPS = 240
_PACE_STEPS = 20


class PhasePlan(NamedTuple):
    """`planned_steps` is None when only a trigger ends the phase."""

    name: str
    max_response_tokens: int
    planned_steps: int | None


def phase_plans(job: ReasoningRLJob) -> list[PhasePlan]:
    return [PhasePlan(phase.name, phase.max_response_tokens, phase.until.steps or phase.until.max_steps) for phase in job.spec.phases]


class EvaluationSpan(NamedTuple):
    first: EvaluationMetrics
    last: EvaluationMetrics


@dataclass(slots=True, kw_only=True)
class RunView:
    job_name: str
    phases: Sequence[PhasePlan]
    clock: Callable[[], float] = time.monotonic
    lock: threading.RLock = field(default_factory=threading.RLock)
    started: float = field(init=False)
    stage: str = "starting"
    stage_started: float = field(init=False)
    steps: deque[StepMetrics] = field(default_factory=lambda: deque(maxlen=HISTORY_STEPS))
    first_step: StepMetrics | None = None
    steps_done_here: int = 0
    evaluations: dict[str, EvaluationSpan] = field(default_factory=dict)
    evaluation_seconds: float = 0.0
    warm_start: deque[WarmStartMetrics] = field(default_factory=lambda: deque(maxlen=HISTORY_STEPS))
    events: deque[Event] = field(default_factory=lambda: deque(maxlen=3))

    def __post_init__(self) -> None:
        self.started = self.stage_started = self.clock()

    def enter_stage(self, name: str) -> None:
        with self.lock:
            self.stage, self.stage_started = name, self.clock()

    def plan(self, phases: Sequence[PhasePlan]) -> None:
        """The phases as they are from now on."""
        with self.lock:
            self.phases = phases

    def add(self, record: StepMetrics | EvaluationMetrics | WarmStartMetrics | Event) -> None:
        with self.lock:
            match record:
                case StepMetrics():
                    self.steps.append(record)
                    self.first_step = self.first_step or record
                    self.steps_done_here += 1
                case EvaluationMetrics():
                    span = self.evaluations.get(record.benchmark)
                    self.evaluations[record.benchmark] = EvaluationSpan(span.first if span else record, record)
                    if record.step > 0:
                        self.evaluation_seconds += record.seconds
                case WarmStartMetrics():
                    self.warm_start.append(record)
                case Event():
                    self.events.append(record)

    def restore(self, records: Sequence[StepMetrics | EvaluationMetrics | WarmStartMetrics]) -> None:
        """Starts again from what a resumed run has on disk."""
        with self.lock:
            self.steps.clear()
            self.warm_start.clear()
            self.evaluations.clear()
            self.first_step, self.evaluation_seconds = None, 0.0
            for record in records:
                self.add(record)
            self.steps_done_here = 0

    def seconds_left(self) -> float | None:
        """Steps still planned × (median seconds of the last steps of this phase + what evaluations and checkpoints cost a step on
        average). None while no step is done or a phase to come has no planned end."""
        with self.lock:
            if not self.steps:
                return None
            last = self.steps[-1]
            recent = [step for step in self.steps if step.phase_index == last.phase_index][-_PACE_STEPS:]
            pace = statistics.median(_working_seconds(step) for step in recent)
            checkpoints = statistics.fmean(step.seconds.get("checkpoint", 0.0) for step in self.steps)
            evaluations = self.evaluation_seconds / (last.step + 1)
            left = 0
            for index, phase in enumerate(self.phases[last.phase_index :], start=last.phase_index):
                if phase.planned_steps is None:
                    return None
                done = last.phase_step + 1 if index == last.phase_index else 0
                left += max(0, phase.planned_steps - done)
            return left * (pace + checkpoints + evaluations)

    def planned_steps(self) -> int | None:
        planned = [phase.planned_steps for phase in self.phases]
        return sum(steps for steps in planned if steps is not None) if None not in planned else None


def _working_seconds(step: StepMetrics) -> float:
    """Seconds of one step without the stages that only some steps have."""
    now_and_then = step.seconds.get("evaluation", 0.0) + step.seconds.get("checkpoint", 0.0)
    stages = sum(seconds for stage, seconds in step.seconds.items() if stage not in ("total", "evaluation", "checkpoint"))
    return max(stages, step.seconds.get("total", 0.0) - now_and_then)
