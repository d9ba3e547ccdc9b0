"""What finished runs say about a claim: shown, not shown, the opposite, or too few seeds to say.

Each seed gives one number, the effect; the verdict is about their mean. "Not shown" is not "shown to be false": it says that the effect,
if there is one, is smaller than these runs can tell or than the check asks for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from reasonrl.report.comparison.arms import Arm, Comparison
from reasonrl.report.comparison.check_file import ChangeCheck, Check, CorrelationCheck, DifferenceCheck, window_of
from reasonrl.report.comparison.measures import MEASURES, Form, correlation_of, value_of
from reasonrl.report.comparison.paired import PairedResult, paired

Word = Literal["shown", "not shown", "opposite", "too few seeds"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`effects` by seed. `result` is None when no seed gave one. `measured` says what an effect is; `missing` why seeds have none."""

    check: Check
    word: Word
    effects: Mapping[int, float]
    result: PairedResult | None
    measured: str
    form: Form
    missing: str


def judge(checks: Sequence[Check], comparison: Comparison) -> list[Verdict]:
    return [_judged(check, comparison) for check in checks]


def _judged(check: Check, comparison: Comparison) -> Verdict:
    names = [check.a, check.b] if isinstance(check, DifferenceCheck) else [check.arm]
    arms = [arm for name in names if (arm := comparison.arm(name)) is not None]
    absent = [name for name in names if comparison.arm(name) is None]
    effects = {} if absent else _effects(check, arms)
    result = paired(list(effects.values())) if effects else None
    return Verdict(
        check=check,
        word=_word(check, effects, result),
        effects=effects,
        result=result,
        measured=_measured(check),
        form="number" if isinstance(check, CorrelationCheck) else MEASURES[check.metric].form,
        missing=f"no arm {' and '.join(absent)}" if absent else _missing(arms, effects),
    )


def _word(check: Check, effects: Mapping[int, float], result: PairedResult | None) -> Word:
    if len(effects) < check.least_seeds or result is None or result.low is None or result.high is None:
        return "too few seeds"
    sign = 1 if check.direction == "higher" else -1
    low, high = sorted((sign * result.low, sign * result.high))
    if low > 0 and sign * result.mean >= check.smallest_difference:
        return "shown"
    if high < 0 and -sign * result.mean >= check.smallest_difference:
        return "opposite"
    return "not shown"


def _effects(check: Check, arms: Sequence[Arm]) -> dict[int, float]:
    """Of the seeds that every arm has."""
    effects = {}
    for seed in sorted(set.intersection(*(set(arm.runs) for arm in arms))):
        effect = _effect(check, arms, seed)
        if effect is not None:
            effects[seed] = effect
    return effects


def _effect(check: Check, arms: Sequence[Arm], seed: int) -> float | None:
    runs = [arm.runs[seed] for arm in arms]
    match check:
        case DifferenceCheck():
            window = window_of(check.window)
            later, earlier = (value_of(run, check.metric, window, check.statistic) for run in runs)
        case ChangeCheck():
            later = value_of(runs[0], check.metric, window_of(check.later))
            earlier = value_of(runs[0], check.metric, window_of(check.earlier))
        case CorrelationCheck():
            return correlation_of(runs[0], check.metric, check.with_metric, window_of(check.window))
    return None if later is None or earlier is None else later - earlier


def _measured(check: Check) -> str:
    title = MEASURES[check.metric].title
    match check:
        case DifferenceCheck():
            what = f"step-to-step fluctuation of {title}" if check.statistic == "fluctuation" else title
            return f"{what}, {check.a} − {check.b}, {window_of(check.window)}"
        case ChangeCheck():
            return f"{title} of {check.arm}, {window_of(check.later)} − {window_of(check.earlier)}"
        case CorrelationCheck():
            return f"correlation of {title} and {MEASURES[check.with_metric].title}, {check.arm}, {window_of(check.window)}"


def _missing(arms: Sequence[Arm], effects: Mapping[int, float]) -> str:
    seeds = set.union(*(set(arm.runs) for arm in arms))
    unpaired = sorted(seeds - set(effects))
    return f"seed {', '.join(map(str, unpaired))} without a value in every arm" if unpaired else ""
