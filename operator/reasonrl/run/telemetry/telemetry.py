"""All that a run tells, through one door: the loop hands each record over once, and the files, the terminal, the status of a
cluster and Prometheus get it.

The files come first and are the truth; the terminal may vanish and the endpoint may be off, and the run goes on the same.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from rich.console import Console

from reasonrl.api.job import ReasoningRLJob
from reasonrl.api.run_files import EvaluationMetrics, Event, StepMetrics, WarmStartMetrics
from reasonrl.api.run_status import HealthSignal, SavedCheckpoint
from reasonrl.run.progress import Progress
from reasonrl.run.status.board import RunStatusBoard
from reasonrl.run.telemetry.metrics_file import EventsFile, MetricsFile, MetricsRecord
from reasonrl.run.telemetry.prometheus_endpoint import PrometheusEndpoint
from reasonrl.run.telemetry.prometheus_metrics import RunMetrics
from reasonrl.run.telemetry.rollouts_file import RolloutLine, RolloutsDirectory
from reasonrl.run.telemetry.run_view import PhasePlan, RunView, phase_plans
from reasonrl.run.telemetry.surviving_stream import SurvivingStream
from reasonrl.run.telemetry.terminal import TerminalView, open_terminal, summary_lines


class Telemetry:
    """A context manager: inside it the files are open, the terminal shows the run and the endpoint serves. Any thread may tell.

    `console` None shows nothing, `prometheus_port` None serves nothing. `board` and `metrics` are what a status server shows; without
    them nobody is told. Entering raises `TelemetryError` when a file cannot be written or the port cannot be had; every method that
    writes raises it when a file cannot be written any more.
    """

    def __init__(
        self,
        run_directory: Path,
        *,
        job_name: str,
        phases: Sequence[PhasePlan],
        console: Console | None = None,
        prometheus_port: int | None = None,
        prometheus_address: str = "127.0.0.1",
        board: RunStatusBoard | None = None,
        metrics: RunMetrics | None = None,
    ) -> None:
        self._directory = run_directory
        self._view = RunView(job_name=job_name, phases=[PhasePlan(*phase) for phase in phases])
        self._console = console
        self._prometheus_port, self._prometheus_address = prometheus_port, prometheus_address
        self._board = board
        self._metrics = RunMetrics() if metrics is None and prometheus_port is not None else metrics
        # Events of the watchdog and of the fleet come from threads of their own.
        self._lock = threading.RLock()
        self._open = ExitStack()
        self._terminal: TerminalView | None = None
        self._stream: SurvivingStream | None = None
        self.endpoint: PrometheusEndpoint | None = None

    def __enter__(self) -> Telemetry:
        with ExitStack() as opening:
            self._metrics_file = MetricsFile(self._directory)
            opening.callback(self._metrics_file.close)
            self._events_file = EventsFile(self._directory)
            opening.callback(self._events_file.close)
            self._rollouts = RolloutsDirectory(self._directory)
            if self._prometheus_port is not None and self._metrics is not None:
                self.endpoint = PrometheusEndpoint(self._metrics, address=self._prometheus_address, port=self._prometheus_port)
                opening.callback(self.endpoint.close)
            if self._console is not None:
                self._terminal, self._stream = opening.enter_context(open_terminal(self._view, self._console))
            self._open = opening.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._lock:
            self._enter_stage("finished" if error is None else "stopped")
            if self._terminal is not None:
                for line in summary_lines(self._view):
                    self._terminal.say(line)
            self._open.close()

    def resumed_at(self, step: int) -> list[MetricsRecord]:
        """Forgets on disk what the run will do again from `step` on, goes on showing the rest and returns it, oldest first."""
        with self._lock:
            kept = self._metrics_file.resumed_at(step)
            self._events_file.resumed_at(step)
            self._rollouts.resumed_at(step)
            self._view.restore(kept)
            if self._board is not None:
                self._board.restore(kept)
            if self._metrics is not None:
                for record in kept:
                    if isinstance(record, EvaluationMetrics):
                        self._metrics.record(record)
            return kept

    def job_changed(self, job: ReasoningRLJob, *, config_hash: str | None) -> None:
        """The job as it is from now on. `config_hash` is that of the file it was read from; by default the resolved job's."""
        self._view.plan(phase_plans(job))
        if self._board is not None:
            self._board.configured(job, config_hash=config_hash)

    def stage(self, name: str) -> None:
        """What the run is doing now; shown, not stored."""
        self._enter_stage(name)

    def touch(self) -> None:
        """Something got on within the stage, so that it does not count as stalled."""
        if self._board is not None:
            self._board.touch()

    def at(self, progress: Progress) -> None:
        """Where the run stands between two steps; shown, not stored."""
        if self._board is not None:
            self._board.at(progress)

    def keeps(self, checkpoints: Sequence[SavedCheckpoint]) -> None:
        """All checkpoints that are kept, oldest first."""
        if self._board is not None:
            self._board.keeps(checkpoints)

    def health(self, signals: Sequence[HealthSignal]) -> None:
        if self._board is not None:
            self._board.health(signals)
        if self._metrics is not None:
            self._metrics.health(signals)

    def step(self, record: StepMetrics) -> None:
        with self._lock:
            self._metrics_file.append(record)
            self._show(record)

    def evaluation(self, record: EvaluationMetrics, answers: Sequence[RolloutLine] = ()) -> None:
        """`answers` are some of its graded responses, from `rollout_lines`: the report shows them early and late."""
        with self._lock:
            self._metrics_file.append(record)
            self._rollouts.write_evaluation(record.step, record.benchmark, answers)
            self._show(record)

    def warm_start(self, record: WarmStartMetrics) -> None:
        with self._lock:
            self._metrics_file.append(record)
            self._show(record)

    def event(self, record: Event) -> None:
        with self._lock:
            self._events_file.append(record)
            self._show(record)

    def rollouts(self, step: int, lines: Sequence[RolloutLine]) -> None:
        """All the lines of one step at once; a second call takes their place."""
        with self._lock:
            self._rollouts.write(step, lines)

    def rollout_engines(self, counts: Mapping[str, int]) -> None:
        """How many engines there are now, by state: joining, live, lost."""
        if self._metrics is not None:
            self._metrics.rollout_engines(counts)

    def requeued_tasks(self, count: int) -> None:
        """So many tasks went back to the queue because their engine was lost."""
        if self._metrics is not None:
            self._metrics.requeued_tasks(count)

    def weights_sent(self, size_bytes: int) -> None:
        """Size of what each engine was handed."""
        if self._metrics is not None:
            self._metrics.weights_sent(size_bytes)

    def response_ages(self, ages: Iterable[int]) -> None:
        """Staleness of each response of an update, in steps."""
        if self._metrics is not None:
            self._metrics.response_ages(ages)

    def recovered(self, component: str) -> None:
        """A lost part of the run was replaced; `component` is one of few words, such as engine."""
        if self._metrics is not None:
            self._metrics.recovered(component)

    def _enter_stage(self, name: str) -> None:
        self._view.enter_stage(name)
        if self._board is not None:
            self._board.enter_stage(name)

    def _show(self, record: StepMetrics | EvaluationMetrics | WarmStartMetrics | Event) -> None:
        self._view.add(record)
        if self._board is not None:
            self._board.add(record)
        if self._metrics is not None:
            self._metrics.record(record)
        if self._terminal is not None:
            self._terminal.show(record)
        if self._stream is not None and self._stream.failure is not None:
            failure, self._stream, self._terminal = self._stream.failure, None, None
            self.event(Event(time=time.time(), step=record.step, reason="TerminalLost", message=f"the run goes on without it: {failure}"))
