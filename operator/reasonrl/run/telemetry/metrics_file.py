"""`metrics.jsonl` and `events.jsonl`: what happened at each step, each step once.

A run that was killed after its last checkpoint does some steps again. Their first lines must go, or every curve would run back
over itself; what was written before the checkpoint must stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from reasonrl.api.run_files import EVENTS_FILE, METRICS_FILE, METRICS_LINE, EvaluationMetrics, Event, StepMetrics, WarmStartMetrics
from reasonrl.run.telemetry.json_lines import JsonLinesFile

MetricsRecord = StepMetrics | EvaluationMetrics | WarmStartMetrics
_Key = tuple[object, ...]


class MetricsFile:
    """One line for each step, each (step, benchmark) evaluated and each logged point of the warm start. A record of a step that is
    already there takes its place."""

    def __init__(self, run_directory: Path) -> None:
        self._file = JsonLinesFile(run_directory / METRICS_FILE)
        self._keys = {_metrics_key(line) for line in self._file.lines()}

    def append(self, record: MetricsRecord) -> None:
        line = record.model_dump(mode="json", include={"kind", "step", "benchmark"})
        key = _metrics_key(line)
        if key in self._keys:
            self._file.keep(lambda other: _metrics_key(other) != key)
        self._file.append(record.model_dump_json())
        self._keys.add(key)

    def resumed_at(self, step: int) -> list[MetricsRecord]:
        """Forgets what the run is about to do again: steps from `step` on, and evaluations of weights later than `step`. Returns
        what stays, oldest first. (Weights of `step` itself may have been evaluated before the checkpoint was written.)"""
        self._file.keep(lambda line: not _is_redone(line, step))
        lines = self._file.lines()
        self._keys = {_metrics_key(line) for line in lines}
        return [record for line in lines if (record := _metrics_record(line)) is not None]

    def close(self) -> None:
        self._file.close()


class EventsFile:
    def __init__(self, run_directory: Path) -> None:
        self._file = JsonLinesFile(run_directory / EVENTS_FILE)
        self._told_before: set[_Key] = set()

    def append(self, event: Event) -> None:
        key = (event.step, event.reason, event.message)
        if key in self._told_before:
            self._told_before.discard(key)
            return
        self._file.append(event.model_dump_json())

    def resumed_at(self, step: int) -> None:
        """Forgets events after `step`. Those of `step` itself stay, as they may come from before the checkpoint, and one that the
        run tells again word for word is not written twice."""
        self._file.keep(lambda line: _step_of(line) <= step)
        self._told_before = {
            (line["step"], line.get("reason"), line.get("message")) for line in self._file.lines() if _step_of(line) == step
        }

    def close(self) -> None:
        self._file.close()


def _step_of(line: Mapping[str, object]) -> int:
    step = line.get("step")
    return step if isinstance(step, int) else -1


def _metrics_key(line: Mapping[str, object]) -> _Key:
    return (line.get("kind"), line.get("step"), line.get("benchmark"))


def _is_redone(line: Mapping[str, object], step: int) -> bool:
    match line.get("kind"):
        case "step":
            return _step_of(line) >= step
        case "evaluation":
            return _step_of(line) > step
        case _:
            return False


def _metrics_record(line: Mapping[str, object]) -> MetricsRecord | None:
    """None for a line of another release, which stays in the file and is left out of what this process shows."""
    try:
        return METRICS_LINE.validate_python(line)
    except ValidationError:
        return None
