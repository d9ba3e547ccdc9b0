"""The view of a run for a log file: one line a step, or every few seconds when steps are short, and no control codes."""

from __future__ import annotations

import time
from collections.abc import Callable

from reasonrl.api.run_files import EvaluationMetrics, Event, StepMetrics, WarmStartMetrics
from reasonrl.run.telemetry.run_view import RunView
from reasonrl.run.telemetry.surviving_stream import SurvivingStream
from reasonrl.run.telemetry.wording import MISSING, duration, number, percent, printable

LINE_EVERY_SECONDS = 5.0


class PlainLines:
    """Evaluations and events are always told; steps and warm-start points at most one every `every_seconds`."""

    def __init__(
        self,
        view: RunView,
        stream: SurvivingStream,
        *,
        every_seconds: float = LINE_EVERY_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._view, self._stream, self._every_seconds, self._clock = view, stream, every_seconds, clock
        self._told_at: float | None = None

    def show(self, record: StepMetrics | EvaluationMetrics | WarmStartMetrics | Event) -> None:
        match record:
            case StepMetrics():
                self._now_and_then(lambda: step_line(record, self._view))
            case WarmStartMetrics():
                self._now_and_then(
                    lambda: f"warm start step {record.step}  loss {record.loss:.4f}  {record.tokens_per_second:,.0f} tokens/s"
                )
            case EvaluationMetrics():
                self.say(evaluation_line(record))
            case Event():
                self.say(f"{record.reason} (step {record.step}): {record.message}")

    def say(self, text: str) -> None:
        self._stream.write(printable(text) + "\n")
        self._stream.flush()

    def close(self) -> None:
        """Nothing to put away: each line was flushed."""

    def _now_and_then(self, line: Callable[[], str]) -> None:
        now = self._clock()
        if self._told_at is None or now - self._told_at >= self._every_seconds:
            self._told_at = now
            self.say(line())


def step_line(step: StepMetrics, view: RunView) -> str:
    planned = view.planned_steps()
    parts = [
        f"step {step.step + 1}" + (f"/{planned}" if planned else ""),
        step.phase,
        f"reward {number(step.reward_mean)}",
        f"accuracy {percent(step.accuracy)}",
        f"length {step.response_length_mean:,.0f} (p95 {step.response_length_p95:,.0f})",
        f"truncated {percent(step.truncated_share)}",
        f"KL coefficient {number(step.kl_coefficient, 4)}",
        f"{step.tokens_per_second:,.0f} tokens/s",
    ]
    left = duration(view.seconds_left())
    return "  ".join(parts + ([f"left {left}"] if left != MISSING else []))


def evaluation_line(record: EvaluationMetrics) -> str:
    return (
        f"evaluation {record.benchmark} after {record.step} steps  accuracy {percent(record.accuracy)} ± {100 * record.accuracy_error:.1f}"
        f"  ({record.questions} questions × {record.samples})  length {record.response_length_mean:,.0f}"
        f"  truncated {percent(record.truncated_share)}"
    )
