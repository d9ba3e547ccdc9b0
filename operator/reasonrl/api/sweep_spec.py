"""The file of a sweep: one job, the arms that change something about it, and the seeds that each arm runs with.

A sweep is how the report's Table 1 is made: a base run, and runs that differ from it in one setting each. It is no object of a cluster;
it belongs to the contract because `reasonrl sweep` writes it and `reasonrl compare`, which may not import a run, reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, JsonValue

from reasonrl.api.contract_model import ContractModel, DnsLabel, PathText, Seed, ShortText
from reasonrl.api.problems import JobError, Problem
from reasonrl.api.sweep_parse import parse_strictly

SWEEP_FILE = "sweep.yaml"
"""What a directory of a sweep holds beside its runs: a SweepRecord."""
CHECKS_FILE = "checks.yaml"
WARM_START_DIRECTORY = "warm-start"
LOGS_DIRECTORY = "logs"
MOST_RUNS = 1000
_TAKEN = (WARM_START_DIRECTORY, LOGS_DIRECTORY)

FieldPath = Annotated[str, Field(min_length=6, max_length=512, pattern=r"^spec\.")]
Changes = Annotated[dict[FieldPath, JsonValue], Field(max_length=64)]


class ArmSpec(ContractModel):
    """A setting to compare: what it changes of the job."""

    name: DnsLabel = Field(description="Name of the arm: its directory, and what checks call it.")
    title: ShortText | None = Field(default=None, description="What pictures and tables call it. Null is the name.")
    set: Changes = Field(
        default_factory=dict,
        description="Field of the job, such as spec.algorithm.kl.schedule.type or spec.phases[0].maxResponseTokens, and its value here.",
    )


class AxisSpec(ContractModel):
    """A field and the values that it takes in turn. Several axes give every combination."""

    field: FieldPath = Field(description="Field of the job, such as spec.rollout.temperature.")
    name: DnsLabel | None = Field(default=None, description="What arms are called by. Null is the last part of the field.")
    values: list[JsonValue] | dict[str, JsonValue] = Field(
        min_length=1, max_length=64, description="A list of values; or an object, name: value, where values do not name themselves."
    )


class PanelSpec(ContractModel):
    """One row of the figure: the arms that are drawn over each other."""

    title: ShortText = Field(description="Above the row, such as (a) batch size.")
    arms: Annotated[tuple[DnsLabel, ...], Field(min_length=1, max_length=8)] = Field(description="Names of arms; the first is blue.")


class SweepSpec(ContractModel):
    """Every arm with every seed is one run."""

    name: DnsLabel = Field(description="Name of the sweep.")
    job: PathText = Field(description="The job that arms change, relative to this file.")
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1, max_length=100)] = Field(
        description="Seeds that every arm runs with; it takes three for a verdict."
    )
    arms: Annotated[tuple[ArmSpec, ...], Field(max_length=200)] = Field(default=(), description="Arms by name.")
    axes: Annotated[tuple[AxisSpec, ...], Field(max_length=8)] = Field(
        default=(), description="Every combination of their values is an arm; with arms as well, a combination for each of these."
    )
    panels: Annotated[tuple[PanelSpec, ...], Field(max_length=26)] = Field(
        default=(), description="Rows of the figure, panels (a) to (d) of the report's Figure 1. None is one row with all arms."
    )
    checks: PathText | None = Field(
        default=None, description="Claims to be checked when the sweep is compared, relative to this file. Null is none."
    )
    share_warm_start: bool = Field(
        default=False,
        description="Whether arms that only differ after the warm start share one for each seed. With float32 weights each run is then the "
        "one that it would have been with a warm start of its own.",
    )


class SweepRecord(ContractModel):
    """What was run, as `reasonrl compare` needs it: arms in order, by any way they were written."""

    name: DnsLabel
    seeds: tuple[Seed, ...]
    arms: tuple[ArmSpec, ...]
    panels: tuple[PanelSpec, ...] = ()

    def dumped(self) -> dict[str, object]:
        """As YAML holds it: `parse_record(record.dumped()) == record`."""
        return self.model_dump(mode="json", by_alias=True)


def parse_sweep(mapping: Mapping[str, object]) -> SweepSpec:
    """The sweep. Raises JobError with everything that is wrong with the file itself; its jobs are looked at in `sweep_jobs`."""
    sweep = parse_strictly(SweepSpec, mapping)
    problems = [*_doubles(sweep)]
    if not sweep.arms and not sweep.axes:
        problems.append(Problem("arms", None, "is required: a sweep without arms and axes is one job; use reasonrl run"))
    if problems:
        raise JobError(problems)
    return sweep


def parse_record(mapping: Mapping[str, object]) -> SweepRecord:
    """What a sweep wrote about itself. Raises JobError."""
    return parse_strictly(SweepRecord, mapping)


def run_name(arm: str, seed: int) -> str:
    """The directory of one run within that of its sweep."""
    return f"{arm}/seed-{seed}"


def _doubles(sweep: SweepSpec) -> list[Problem]:
    problems = [
        Problem("arms", arm.name, "is what a directory of the sweep itself is called; name the arm otherwise")
        for arm in sweep.arms
        if arm.name in _TAKEN
    ]
    for field, names in (("seeds", [str(seed) for seed in sweep.seeds]), ("arms", [arm.name for arm in sweep.arms])):
        for name in dict.fromkeys(name for name in names if names.count(name) > 1):
            problems.append(Problem(field, name, "is there twice; a run would be made over the other"))
    return problems
