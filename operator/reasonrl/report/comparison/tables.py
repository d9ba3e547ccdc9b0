"""The arms in numbers, and the verdicts in words, as rows that a page or a terminal can show."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from reasonrl.report.comparison.arms import Arm
from reasonrl.report.comparison.measures import LAST, MEASURES, shown, shown_with_spread, value_of
from reasonrl.report.comparison.verdicts import Verdict, Word
from reasonrl.report.wording import MISSING

COLUMNS = ("testAccuracy", "reward", "length", "truncatedShare", "entropy", "kl")
"""Of the last tenth of the steps; for evaluations that is the last one or few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmRow:
    """`values` in the order of COLUMNS, each `mean ± standard deviation over seeds`; `responses` and `updates` are of a step."""

    name: str
    title: str
    setting: str
    seeds: int
    steps: str
    responses: str
    updates: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictRow:
    name: str
    claim: str
    source: str
    word: Word
    style: str
    measured: str
    effect: str
    interval: str
    p: str
    wanted: str
    by_seed: str
    missing: str


def arm_rows(arms: Sequence[Arm]) -> list[ArmRow]:
    return [_arm_row(arm) for arm in arms]


def column_titles() -> list[str]:
    return [MEASURES[name].title for name in COLUMNS]


def verdict_rows(verdicts: Sequence[Verdict]) -> list[VerdictRow]:
    return [_verdict_row(verdict) for verdict in verdicts]


def tally(verdicts: Sequence[Verdict]) -> str:
    """In one sentence, none left out."""
    words: tuple[Word, ...] = ("shown", "not shown", "opposite", "too few seeds")
    counted = [(sum(verdict.word == word for verdict in verdicts), word) for word in words]
    return f"Of {len(verdicts)} claims: " + ", ".join(f"{count} {word}" for count, word in counted if count) + "."


def _arm_row(arm: Arm) -> ArmRow:
    lengths = sorted({len(run.steps) for run in arm.runs.values()})
    steps = [run.steps[-1] for run in arm.runs.values()]
    return ArmRow(
        name=arm.name,
        title=arm.title,
        setting=arm.setting,
        seeds=len(arm.runs),
        steps=MISSING if not lengths else f"{lengths[0]:,}" if len(lengths) == 1 else f"{lengths[0]:,} to {lengths[-1]:,}",
        responses=", ".join(f"{count:,}" for count in sorted({step.responses for step in steps})) or MISSING,
        updates=", ".join(str(count) for count in sorted({_updates(arm, seed) for seed in arm.runs})) or MISSING,
        values=tuple(_spread(arm, name) for name in COLUMNS),
    )


def _updates(arm: Arm, seed: int) -> int:
    """Optimizer updates a step, as its job has it."""
    spec = arm.runs[seed].job.get("spec")
    algorithm = spec.get("algorithm") if isinstance(spec, dict) else None
    found = [algorithm.get(name, 1) for name in ("updatesPerStep", "epochs")] if isinstance(algorithm, dict) else [1, 1]
    return int(found[0]) * int(found[1])


def _spread(arm: Arm, name: str) -> str:
    found = [value_of(run, name, LAST) for run in arm.runs.values()]
    values = [value for value in found if value is not None]
    form = MEASURES[name].form
    if not values:
        return MISSING
    if len(values) < 2:
        return shown(values[0], form)
    return shown_with_spread(statistics.fmean(values), statistics.stdev(values), form)


def _verdict_row(verdict: Verdict) -> VerdictRow:
    check, result = verdict.check, verdict.result
    unit = {"percent": " points", "tokens": " tokens", "number": ""}[verdict.form]
    interval = MISSING
    if result is not None and result.low is not None:
        interval = f"{shown(result.low, verdict.form, signed=True)} to {shown(result.high, verdict.form, signed=True)}"
    smallest = (
        f" by {shown(check.smallest_difference, verdict.form, signed=True).lstrip('+')}{unit} or more" if check.smallest_difference else ""
    )
    return VerdictRow(
        name=check.name,
        claim=check.claim,
        source=check.source or "",
        word=verdict.word,
        style={"shown": "right", "opposite": "wrong"}.get(verdict.word, "unscored"),
        measured=verdict.measured,
        effect=MISSING if result is None else shown(result.mean, verdict.form, signed=True) + unit,
        interval=interval,
        p=MISSING if result is None or result.p is None else f"{result.p:.3f}" if result.p >= 0.001 else "< 0.001",
        wanted=f"{check.direction} than 0{smallest}",
        by_seed=", ".join(f"{shown(effect, verdict.form, signed=True)} (seed {seed})" for seed, effect in verdict.effects.items()),
        missing=verdict.missing,
    )
