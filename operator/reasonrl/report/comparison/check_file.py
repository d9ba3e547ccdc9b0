"""Claims as data: what a report says of its arms, written so that finished runs can be held against it.

A check has a direction and a smallest difference, and no exact number: at another scale only directions can be expected to come back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from reasonrl.api.contract_model import ContractModel, DnsLabel, Share, ShortText
from reasonrl.api.problems import JobError, Problem
from reasonrl.api.sweep_parse import parse_strictly
from reasonrl.report.comparison.measures import FIRST, LAST, MEASURES, WHOLE, Window

Sentence = Annotated[str, Field(min_length=1, max_length=600)]
Margin = Annotated[float, Field(ge=0.0, le=1.0e9)]
Direction = Literal["higher", "lower"]


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


class CheckFile(ContractModel):
    checks: Annotated[tuple[Annotated[Check, Field(discriminator="type")], ...], Field(min_length=1, max_length=500)] = Field(
        description="Claims, in the order of the verdicts."
    )


def parse_checks(mapping: Mapping[str, object]) -> tuple[Check, ...]:
    """Raises JobError with everything that is wrong."""
    items = mapping.get("checks")
    written = dict(mapping)
    if isinstance(items, list):
        # Most checks are differences, so that type need not be said.
        written["checks"] = [{"type": "difference", **item} if isinstance(item, dict) else item for item in items]
    checks = parse_strictly(CheckFile, written).checks
    problems = []
    names = [check.name for check in checks]
    for index, check in enumerate(checks):
        metrics = {"metric": check.metric} | ({"with": check.with_metric} if isinstance(check, CorrelationCheck) else {})
        for field, metric in metrics.items():
            if metric not in MEASURES:
                problems.append(Problem(f"checks[{index}].{field}", metric, f"there is no such metric; there is {', '.join(MEASURES)}"))
        if names.index(check.name) != index:
            problems.append(Problem(f"checks[{index}].name", check.name, "is there twice"))
        if isinstance(check, DifferenceCheck) and check.a == check.b:
            problems.append(Problem(f"checks[{index}].b", check.b, "is the same arm as a"))
        if isinstance(check, CorrelationCheck) and metrics["metric"] in MEASURES and metrics["with"] in MEASURES:
            kinds = {MEASURES[metric].of_evaluation is None for metric in metrics.values()}
            if len(kinds) > 1:
                problems.append(
                    Problem(f"checks[{index}].with", metrics["with"], "one metric is of training steps and the other of evaluations")
                )
        for field in ("window", "earlier", "later"):
            window = getattr(check, field, None)
            if isinstance(window, WindowSpec) and window.start >= window.end:
                problems.append(Problem(f"checks[{index}].{field}", window.start, "must begin before it ends"))
    if problems:
        raise JobError(problems)
    return checks


def window_of(text: WindowText) -> Window:
    if isinstance(text, WindowSpec):
        return Window(start=text.start, end=text.end)
    return {"first": FIRST, "last": LAST, "whole": WHOLE}[text]
