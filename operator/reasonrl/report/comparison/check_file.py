"""Claims as data: what a report says of its arms, written so that finished runs can be held against it.

A check has a direction and a smallest difference, and no exact number: at another scale only directions can be expected to come back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

from pydantic import Field

from reasonrl.api.contract_model import ContractModel, DnsLabel, Share, ShortText
from reasonrl.api.problems import JobError, Problem
from reasonrl.api.sweep_parse import parse_strictly
from reasonrl.report.comparison.measures import FIRST, LAST, MEASURES, WHOLE, Window

Sentence = Annotated[str, Field(min_length=1, max_length=600)]
Margin = Annotated[float, Field(ge=0.0, le=1.0e9)]
Direction = Literal["higher", "lower"]
MOST_CHECKS = 500


class WindowSpec(ContractModel):
    start: Share = Field(alias="from", description="Share of the run's steps, 0 to 1.")
    end: Share = Field(alias="to", description="Share of the run's steps, 0 to 1.")


WindowText = Literal["first", "last", "whole"] | WindowSpec
"""first and last are the first and last tenth of the steps."""


class _Check(ContractModel):
    name: DnsLabel = Field(description="Short name of the check.")
    claim: Sentence = Field(description="What is claimed, in a sentence that a reader of the verdict understands.")
    source: ShortText | None = Field(default=None, description="Where it is claimed.")
    metric: ShortText = Field(description="What is measured: testAccuracy, length, …")
    direction: Direction = Field(description="Which sign of the effect the claim is about.")
    smallest_difference: Margin = Field(
        default=0.0, description="An effect whose mean is smaller than this does not count, in the metric's own unit: 0.01 is a point."
    )
    least_seeds: Annotated[int, Field(ge=2, le=100)] = Field(default=3, description="With fewer seeds there is no verdict.")


class DifferenceCheck(_Check):
    """Arm a against arm b: a minus b, seed by seed."""

    type: Literal["difference"] = "difference"
    a: DnsLabel = Field(description="Arm that the claim is about.")
    b: DnsLabel = Field(description="Arm that it is compared with.")
    window: WindowText = Field(default="last", description="Part of the run.")
    statistic: Literal["mean", "fluctuation"] = Field(
        default="mean", description="Mean over the window, or how far one value is from the next."
    )


class ChangeCheck(_Check):
    """What changes within the runs of one arm: the later window minus the earlier one."""

    type: Literal["change"]
    arm: DnsLabel = Field(description="Name of the arm.")
    earlier: WindowText = Field(default="first", description="Part of the run.")
    later: WindowText = Field(default="last", description="Part of the run.")


class CorrelationCheck(_Check):
    """Whether two measures go together over the steps of the runs of one arm."""

    type: Literal["correlation"]
    arm: DnsLabel = Field(description="Name of the arm.")
    with_metric: ShortText = Field(alias="with", description="The other metric.")
    window: WindowText = Field(default="whole", description="Part of the run.")


Check = DifferenceCheck | ChangeCheck | CorrelationCheck
_KINDS: Mapping[str, type[DifferenceCheck] | type[ChangeCheck] | type[CorrelationCheck]] = {
    "difference": DifferenceCheck,
    "change": ChangeCheck,
    "correlation": CorrelationCheck,
}


def parse_checks(mapping: Mapping[str, object]) -> tuple[Check, ...]:
    """The claims of a file `checks: [...]`, in order. Raises JobError with everything that is wrong."""
    problems = [Problem(name, mapping[name], "there is no such field; there is checks") for name in mapping if name != "checks"]
    items = mapping.get("checks")
    if not isinstance(items, list) or not 0 < len(items) <= MOST_CHECKS:
        raise JobError([*problems, Problem("checks", None, f"must be a list of 1 to {MOST_CHECKS} checks")])
    checks: list[Check] = []
    for index, item in enumerate(items):
        try:
            check = _parsed(item)
        except JobError as error:
            problems += [Problem(f"checks[{index}].{each.field}", each.value, each.message) for each in error.problems]
            continue
        problems += [Problem(f"checks[{index}].{each.field}", each.value, each.message) for each in _own_problems(check)]
        if any(check.name == other.name for other in checks):
            problems.append(Problem(f"checks[{index}].name", check.name, "is there twice"))
        checks.append(check)
    if problems:
        raise JobError(problems)
    return tuple(checks)


def _parsed(item: object) -> Check:
    if not isinstance(item, Mapping):
        raise JobError([Problem("name", item, "each check is an object with name, claim, metric and direction")])
    # Most checks are differences, so that need not be said.
    kind = item.get("type", "difference")
    if kind not in _KINDS:
        raise JobError([Problem("type", kind, f"must be one of {', '.join(_KINDS)}")])
    return parse_strictly(_KINDS[str(kind)], item)


def _own_problems(check: Check) -> Iterator[Problem]:
    metrics = {"metric": check.metric} | ({"with": check.with_metric} if isinstance(check, CorrelationCheck) else {})
    unknown = {field: metric for field, metric in metrics.items() if metric not in MEASURES}
    for field, metric in unknown.items():
        yield Problem(field, metric, f"there is no such metric; there is {', '.join(MEASURES)}")
    if isinstance(check, DifferenceCheck) and check.a == check.b:
        yield Problem("b", check.b, "is the same arm as a")
    if not unknown and len({MEASURES[metric].of_evaluation is None for metric in metrics.values()}) > 1:
        yield Problem("with", metrics["with"], "one metric is of training steps and the other of evaluations")
    for field in ("window", "earlier", "later"):
        window = getattr(check, field, None)
        if isinstance(window, WindowSpec) and window.start >= window.end:
            yield Problem(field, window.start, "must begin before it ends")


def window_of(text: WindowText) -> Window:
    if isinstance(text, WindowSpec):
        return Window(start=text.start, end=text.end)
    return {"first": FIRST, "last": LAST, "whole": WHOLE}[text]
