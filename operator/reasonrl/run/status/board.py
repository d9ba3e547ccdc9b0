"""What a run would answer if it were asked now: the one place where stage, step, phase, checkpoints and health come together.

The loop's thread writes on it as things happen, and the threads that serve `/status` and watch for stalls read it. It computes nothing of
its own, so it can be asked at any moment, also when the loop hangs.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from reasonrl.api.failure_answers import stage_deadline
from reasonrl.api.job import ReasoningRLJob
from reasonrl.api.run_files import EvaluationMetrics, Event, StepMetrics, WarmStartMetrics
from reasonrl.api.run_status import LARGEST_BODY, HealthSignal, RunStatus, SavedCheckpoint, Stage
from reasonrl.run.progress import Progress
from reasonrl.run.run_directory import job_hash
from reasonrl.run.status.stages import contract_stage

MOST_CHECKPOINTS = 256
CLOCK_STEP_SECONDS = 2.0
"""A wall clock that moved by more than this against the steady one was set; by less, it was only corrected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentStage:
    """What the run does now. `seconds` since it began or last got on; `mark` is another number after each sign of progress."""

    stage: Stage
    step: int
    seconds: float
    deadline_seconds: float
    mark: int


class RunStatusBoard:
    """Thread-safe. `config_hash` is that of the configuration as it was read; by default the resolved job's."""

    def __init__(
        self,
        job: ReasoningRLJob,
        *,
        config_hash: str | None = None,
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lock = threading.Lock()
        self._wall, self._clock = wall, clock
        self._stage: Stage = "loading"
        self._mark = 0
        self._step, self._phase_index, self._phase_step = 0, 0, 0
        self._awaiting_advance = False
        self._last: StepMetrics | None = None
        self._checkpoints: tuple[SavedCheckpoint, ...] = ()
        self._health: tuple[HealthSignal, ...] = ()
        self._restart_clock()
        self.configured(job, config_hash=config_hash)

    def configured(self, job: ReasoningRLJob, *, config_hash: str | None = None) -> None:
        """The job as it is from now on."""
        found = config_hash or job_hash(job.dumped())
        with self._lock:
            self._spec, self._config_hash = job.spec, found

    def enter_stage(self, name: str) -> None:
        """`name` as the loop says it. Raises ValueError for one that has no deadline."""
        stage = contract_stage(name)
        with self._lock:
            self._stage = stage
            self._progress()

    def touch(self) -> None:
        """Something got on within the stage: its deadline begins anew."""
        with self._lock:
            self._progress()

    def add(self, record: StepMetrics | EvaluationMetrics | WarmStartMetrics | Event) -> None:
        with self._lock:
            match record:
                case StepMetrics():
                    self._last = record
                    self._step, self._phase_index, self._phase_step = record.step + 1, record.phase_index, record.phase_step + 1
                case EvaluationMetrics() | WarmStartMetrics():
                    self._progress()
                case Event():
                    pass

    def restore(self, records: Sequence[StepMetrics | EvaluationMetrics | WarmStartMetrics]) -> None:
        """Starts from what a resumed run has on disk, oldest first."""
        with self._lock:
            self._last = None
        for record in records:
            self.add(record)

    def at(self, progress: Progress) -> None:
        """Where the run stands between two steps."""
        with self._lock:
            self._step, self._phase_index, self._phase_step = progress.step, progress.phase_index, progress.phase_step
            self._awaiting_advance = progress.awaiting_advance

    def keeps(self, checkpoints: Sequence[SavedCheckpoint]) -> None:
        """All checkpoints that are kept, oldest first; of very many the newest are shown."""
        shown = tuple(checkpoints)
        while len(shown) > MOST_CHECKPOINTS:
            shown = _without_oldest(shown, len(shown) - MOST_CHECKPOINTS)
        with self._lock:
            self._checkpoints = shown

    def health(self, signals: Sequence[HealthSignal]) -> None:
        with self._lock:
            self._health = tuple(signals)

    def current_stage(self) -> CurrentStage:
        with self._lock:
            return CurrentStage(
                stage=self._stage,
                step=self._step,
                seconds=self._clock() - self._began,
                deadline_seconds=stage_deadline(self._spec.failure_policy, self._stage),
                mark=self._mark,
            )

    def status(self) -> RunStatus:
        with self._lock:
            phases, last, algorithm = self._spec.phases, self._last, self._spec.algorithm
            index = min(self._phase_index, len(phases) - 1)
            following = phases[index + 1].name if self._awaiting_advance and index + 1 < len(phases) else None
            fresh = last is None or last.staleness_max == 0
            return RunStatus(
                step=self._step,
                phase=phases[index].name,
                phase_index=index,
                phase_step=self._phase_step,
                waiting_to_enter=following,
                stage=self._stage,
                stage_started=self._stage_started(),
                stage_deadline_seconds=stage_deadline(self._spec.failure_policy, self._stage),
                on_policy=algorithm.updates_per_step * algorithm.epochs == 1 and fresh,
                checkpoints=self._checkpoints,
                health=self._health,
                config_hash=self._config_hash,
                **_numbers(last),
            )

    def body(self) -> bytes:
        """As `/status` answers it."""
        return status_body(self.status())

    def _progress(self) -> None:
        self._mark += 1
        self._restart_clock()

    def _restart_clock(self) -> None:
        self._began, self._began_wall = self._clock(), self._wall()

    def _stage_started(self) -> float:
        """The same number at each look, unless the wall clock was set meanwhile: the operator must not take that for a long stage."""
        shift = (self._wall() - self._began_wall) - (self._clock() - self._began)
        return round(self._began_wall + (shift if abs(shift) > CLOCK_STEP_SECONDS else 0.0), 3)


def status_body(status: RunStatus) -> bytes:
    """As `/status` answers it, shorter than the operator's limit: where it would be longer, the oldest checkpoints are left out, and of the
    rest the newest healthy one is the last to go, because it is what a roll-back goes back to."""
    body = status.to_json()
    while len(body) >= LARGEST_BODY and status.checkpoints:
        fewer = _without_oldest(status.checkpoints, (len(status.checkpoints) + 1) // 2)
        status = status.model_copy(update={"checkpoints": fewer})
        body = status.to_json()
    return body


def _without_oldest(checkpoints: tuple[SavedCheckpoint, ...], count: int) -> tuple[SavedCheckpoint, ...]:
    """The newest healthy one takes the place of the oldest that is left, if it would go and there is a newer one beside it."""
    left = checkpoints[count:]
    healthy = next((each for each in reversed(checkpoints) if each.healthy), None)
    if healthy is None or healthy in left or len(left) < 2:
        return left
    return (healthy, *left[1:])


def _numbers(last: StepMetrics | None) -> dict[str, float | None]:
    """JSON has no word for what is not finite; it is as unknown as what was not measured."""
    if last is None:
        return {}
    numbers = {
        "kl_coefficient": last.kl_coefficient,
        "reward": last.reward_mean,
        "accuracy": last.accuracy,
        "response_length_mean": last.response_length_mean,
        "response_length_p95": last.response_length_p95,
        "truncated_share": last.truncated_share,
        "tokens_per_second": last.tokens_per_second,
    }
    return {name: value if value is not None and math.isfinite(value) else None for name, value in numbers.items()}
