"""The tables of a report: the runs, their evaluations, and the events that ask for a look."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from reasonrl.report.headline import ends_of_accuracy, standard_errors_apart, training_seconds
from reasonrl.report.marks import ROUTINE, phases_of
from reasonrl.report.read import RunRecord
from reasonrl.report.wording import MISSING, count, duration, moment, percent, points, with_error

_EVENTS_SHOWN = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """One run in a few numbers. `index` is its colour; `staleness` is None when every response was sampled with current weights."""

    index: int
    label: str
    state: str
    steps: str
    phases: tuple[str, ...]
    time: str
    tokens: str
    speed: str
    staleness: str | None
    accuracy: str
    length: str
    directory: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRow:
    run: int
    label: str
    benchmark: str
    asked: str
    first: str
    last: str
    change: str
    clear: bool
    length: str
    truncated: str
    unscored: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    run: int
    label: str
    step: int
    time: str
    reason: str
    message: str
    times: int


def run_rows(runs: Sequence[RunRecord]) -> list[RunRow]:
    return [_run_row(run, index, first=runs[0]) for index, run in enumerate(runs)]


def tokens_per_second(run: RunRecord) -> float | None:
    """Of responses, over the time spent in steps."""
    seconds = training_seconds(run)
    return sum(step.response_tokens for step in run.steps) / seconds if seconds else None


def _speed(run: RunRecord, *, first: RunRecord) -> str:
    speed, other = tokens_per_second(run), tokens_per_second(first)
    if speed is None:
        return MISSING
    return count(speed) if run is first or not other else f"{count(speed)} ({speed / other:.2f}×)"


def _staleness(run: RunRecord) -> str | None:
    oldest = [step.staleness_max for step in run.steps]
    return f"{max(oldest)} (mean {statistics.fmean(oldest):.2f})" if any(oldest) else None


def _run_row(run: RunRecord, index: int, *, first: RunRecord) -> RunRow:
    steps, ends = run.steps, ends_of_accuracy(run)
    seconds, tokens = training_seconds(run), sum(step.response_tokens for step in run.steps)
    tenth = max(1, len(steps) // 10)
    early, late = ([step.response_length_mean for step in part] for part in (steps[:tenth], steps[-tenth:]))
    return RunRow(
        index=index,
        label=run.label,
        state="finished" if run.finished else f"not finished, last step {moment(steps[-1].time)}" if steps else "no step done yet",
        steps=count(len(steps)),
        phases=tuple(phase.name for phase in phases_of(run)),
        time=duration(seconds),
        tokens=count(tokens),
        speed=_speed(run, first=first),
        staleness=_staleness(run),
        accuracy=f"{percent(ends[0])} → {percent(ends[1])}" if ends else MISSING,
        length=f"{count(statistics.fmean(early))} → {count(statistics.fmean(late))}" if steps else MISSING,
        directory=str(run.directory),
    )


def evaluation_rows(runs: Sequence[RunRecord]) -> list[EvaluationRow]:
    """One row for each run and benchmark, first against last evaluation."""
    rows = []
    for index, run in enumerate(runs):
        for benchmark in run.benchmarks:
            found = run.evaluations_of(benchmark)
            first, last = found[0], found[-1]
            several = len(found) > 1
            ends = [first, last] if several else [first]
            rows.append(
                EvaluationRow(
                    run=index,
                    label=run.label,
                    benchmark=benchmark,
                    asked=f"{last.questions:,} × {last.samples}, T {last.temperature:g}, ≤ {last.max_response_tokens:,} tokens",
                    first=f"{with_error(first.accuracy, first.accuracy_error)} (step {first.step})",
                    last=f"{with_error(last.accuracy, last.accuracy_error)} (step {last.step})" if several else MISSING,
                    change=points(last.accuracy - first.accuracy) if several else MISSING,
                    clear=several and standard_errors_apart(first, last) > 2,
                    length=" → ".join(count(each.response_length_mean) for each in ends),
                    truncated=" → ".join(percent(each.truncated_share) for each in ends),
                    unscored=count(last.unscored),
                )
            )
    return rows


def event_rows(runs: Sequence[RunRecord]) -> list[EventRow]:
    """Events out of the ordinary, one row for each run and reason with its last message, latest first."""
    rows = []
    for index, run in enumerate(runs):
        latest = {event.reason: event for event in run.events if event.reason not in ROUTINE}
        for reason, event in latest.items():
            rows.append(
                EventRow(
                    run=index,
                    label=run.label,
                    step=event.step,
                    time=moment(event.time),
                    reason=reason,
                    message=event.message,
                    times=sum(other.reason == reason for other in run.events),
                )
            )
    return sorted(rows, key=lambda row: (row.run, -row.step))[:_EVENTS_SHOWN]
