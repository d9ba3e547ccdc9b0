"""Grading a file of responses: the answer verifier on its own, without a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from reasonrl.data.files import read_rows
from reasonrl.data.rows import Row, text_of
from reasonrl.run.grading import JUDGE
from reasonrl.sandbox.calls import Call, CallOutcome, CallResult
from reasonrl.sandbox.pool import WorkerPool


@dataclass(frozen=True, slots=True, kw_only=True)
class GradingSetting:
    """Which fields hold what, and how answers are taken out (see `rl.answers.extraction`). `timeout_seconds` is for one answer."""

    response_field: str
    answer_field: str
    tags: bool
    require_boxed: bool
    timeout_seconds: float
    workers: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GradedRow:
    """`verdict` is correct, incorrect, missing, unscorable, timeout or error. `expected` is the row's own label, where it has one;
    `disputed` says that the row itself calls the label so."""

    row: Row
    verdict: str
    detail: str
    extracted: str
    expected: bool | None
    disputed: bool


def grade_file(path: Path, setting: GradingSetting, *, advance: Callable[[int], None]) -> list[GradedRow]:
    """Every row of the file, in order. `advance` is told how many are done. Raises DataError that names row and field."""
    rows = list(read_rows(path, source=str(path)))
    return grade_rows(rows, setting, source=str(path), advance=advance)


def grade_rows(rows: Sequence[Row], setting: GradingSetting, *, source: str, advance: Callable[[int], None]) -> list[GradedRow]:
    calls = list(_calls(rows, setting, source=source))
    results: list[CallResult | None] = [None] * len(rows)
    with WorkerPool(workers=setting.workers, preload=[JUDGE]) as pool:
        for done, (index, result) in enumerate(pool.run_each(calls), start=1):
            results[index] = result
            advance(done)
    return [_graded(row, result) for row, result in zip(rows, results, strict=True) if result is not None]


def _calls(rows: Sequence[Row], setting: GradingSetting, *, source: str) -> Iterable[Call]:
    for row in rows:
        yield Call(
            function=JUDGE,
            arguments={
                "response": text_of(row, setting.response_field, source=source, setting="--response-field"),
                "answer": text_of(row, setting.answer_field, source=source, setting="--answer-field"),
                "tags": setting.tags,
                "require_boxed": setting.require_boxed,
            },
            timeout_seconds=setting.timeout_seconds,
        )


def _graded(row: Row, result: CallResult) -> GradedRow:
    expected = row.values.get("expected")
    value = result.value if result.outcome is CallOutcome.VALUE and isinstance(result.value, dict) else None
    if value is None:
        value = {"verdict": "timeout" if result.outcome is CallOutcome.TIMEOUT else "error", "detail": result.detail, "extracted": ""}
    return GradedRow(
        row=row,
        verdict=str(value["verdict"]),
        detail=str(value["detail"]),
        extracted=str(value["extracted"]),
        expected=expected if isinstance(expected, bool) else None,
        disputed=row.values.get("disputed") is True,
    )
