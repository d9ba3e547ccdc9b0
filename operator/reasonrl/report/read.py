"""Reads one run directory: finished, running, killed, or written by another release.

A report is most wanted when something went wrong, so what can be read is read and what cannot becomes a sentence on the page. Only a
directory that is no run at all is an error.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from reasonrl.api.run_files import (
    EVENTS_FILE,
    JOB_FILE,
    METRICS_FILE,
    SUMMARY_FILE,
    EvaluationMetrics,
    Event,
    StepMetrics,
    WarmStartMetrics,
)
from reasonrl.report.answers import AnswerPair, answer_pairs
from reasonrl.report.json_lines import LinesRead, read_json_lines

_PAIRS_READ = 6


class RunReadError(Exception):
    """The path is not the directory of a run; the message says what is missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """All that a page needs of one run. Steps, evaluations and events are in order and each is there once; `problems` are
    sentences about what could not be read."""

    directory: Path
    label: str
    steps: Sequence[StepMetrics]
    evaluations: Sequence[EvaluationMetrics]
    warm_start: Sequence[WarmStartMetrics]
    events: Sequence[Event]
    job: Mapping[str, object]
    job_text: str
    finished: bool
    answers: Sequence[AnswerPair]
    problems: Sequence[str]

    @property
    def benchmarks(self) -> list[str]:
        """In the order of their first evaluation."""
        return list(dict.fromkeys(each.benchmark for each in self.evaluations))

    def evaluations_of(self, benchmark: str) -> list[EvaluationMetrics]:
        return [each for each in self.evaluations if each.benchmark == benchmark]


def read_runs(directories: Sequence[Path]) -> list[RunRecord]:
    """Reads each run once and gives it a label that no other has. Raises RunReadError for the first path that is no run."""
    by_place: dict[Path, Path] = {}
    for directory in directories:
        by_place.setdefault(directory.resolve(), directory)
    given = list(by_place.values())
    labels = _unique_labels([_job_name(directory) for directory in given], given)
    return [read_run(directory, label=label) for directory, label in zip(given, labels, strict=True)]


def read_run(directory: Path, *, label: str | None = None) -> RunRecord:
    """Raises RunReadError when `directory` holds neither metrics nor a job."""
    if not directory.is_dir():
        raise RunReadError(f"{directory}: there is no such directory; name the directory of a run, as given to `reasonrl run --output`")
    if not any((directory / name).exists() for name in (METRICS_FILE, JOB_FILE)):
        raise RunReadError(f"{directory}: this is no run, as it holds neither {METRICS_FILE} nor {JOB_FILE}")
    problems: list[str] = []
    try:
        metrics, events = read_json_lines(directory / METRICS_FILE), read_json_lines(directory / EVENTS_FILE)
        answers = answer_pairs(directory, limit=_PAIRS_READ)
        job_text = (directory / JOB_FILE).read_text(encoding="utf-8", errors="replace") if (directory / JOB_FILE).exists() else ""
    except OSError as error:
        raise RunReadError(f"{error.filename}: {error.strerror}") from error
    problems += _line_problems(METRICS_FILE, metrics) + _line_problems(EVENTS_FILE, events)
    by_kind: dict[str, list[Mapping[str, object]]] = {"step": [], "evaluation": [], "warm_start": []}
    unknown = 0
    for line in metrics.objects:
        kind = str(line.get("kind"))
        if kind in by_kind:
            by_kind[kind].append(line)
        else:
            unknown += 1
    if unknown:
        problems.append(f"{METRICS_FILE}: {unknown} lines of a kind that this release does not know are left out.")
    steps = _records(StepMetrics, by_kind["step"], problems)
    evaluations = _records(EvaluationMetrics, by_kind["evaluation"], problems)
    warm_start = _records(WarmStartMetrics, by_kind["warm_start"], problems)
    told = _records(Event, events.objects, problems)
    return RunRecord(
        directory=directory,
        label=label if label is not None else _job_name(directory),
        steps=_last_of_each(steps, lambda each: each.step),
        evaluations=_last_of_each(evaluations, lambda each: (each.step, each.benchmark)),
        warm_start=_last_of_each(warm_start, lambda each: each.step),
        events=told,
        job=_job(job_text, problems),
        job_text=job_text,
        finished=_finished(directory, told),
        answers=answers,
        problems=problems,
    )


Record = TypeVar("Record", bound=BaseModel)
Stepped = TypeVar("Stepped", StepMetrics, EvaluationMetrics, WarmStartMetrics)


def _records(shape: type[Record], lines: Iterable[Mapping[str, object]], problems: list[str]) -> list[Record]:
    """Fields that this release does not know are left aside; lines that lack one it needs are left out and counted."""
    found, refused, first = [], 0, ""
    for line in lines:
        try:
            found.append(shape.model_validate({name: value for name, value in line.items() if name in shape.model_fields}))
        except ValidationError as error:
            refused += 1
            first = first or "; ".join(f"{'.'.join(str(part) for part in each['loc'])}: {each['msg']}" for each in error.errors()[:2])
    if refused:
        problems.append(f"{refused} lines could not be read as {shape.__name__} and are left out. The first: {first}.")
    return found


def _last_of_each(records: Iterable[Stepped], key: Callable[[Stepped], Hashable]) -> list[Stepped]:
    """A run that was killed and not resumed yet may hold a step twice: the later line counts."""
    return sorted({key(record): record for record in records}.values(), key=lambda record: record.step)


def _line_problems(name: str, lines: LinesRead) -> list[str]:
    problems = []
    if lines.broken:
        problems.append(f"{name}: {lines.broken} lines are not JSON and are left out.")
    if lines.torn:
        problems.append(f"{name}: the last line is not complete (the run is writing it, or was killed there) and is left out.")
    return problems


def _job(text: str, problems: list[str]) -> Mapping[str, object]:
    try:
        job = yaml.safe_load(text)
    except yaml.YAMLError as error:
        problems.append(f"{JOB_FILE} is not YAML, so no settings are shown: {error}")
        return {}
    return job if isinstance(job, dict) else {}


def _job_name(directory: Path) -> str:
    path = directory / JOB_FILE
    try:
        job = yaml.safe_load(path.read_text(encoding="utf-8", errors="replace"))
        return str(job["metadata"]["name"])
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return directory.resolve().name


def _unique_labels(names: Sequence[str], directories: Sequence[Path]) -> list[str]:
    """The job's name where it is the only one; the directory's where jobs share a name; the path where directories do too."""
    labels = list(names)
    for more in ([each.resolve().name for each in directories], [str(each) for each in directories]):
        labels = [label if labels.count(label) == 1 else other for label, other in zip(labels, more, strict=True)]
    return labels


def _finished(directory: Path, events: Sequence[Event]) -> bool:
    summary = directory / SUMMARY_FILE
    if summary.exists():
        try:
            return isinstance(json.loads(summary.read_text(encoding="utf-8")), dict)
        except ValueError:
            return False
    return any(event.reason == "Completed" for event in events)
