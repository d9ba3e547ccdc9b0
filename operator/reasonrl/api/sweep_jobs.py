"""The jobs of a sweep, from its file and the job that it is based on: every arm with every seed, all checked before any is run."""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from reasonrl.api.job import ReasoningRLJob
from reasonrl.api.parse import parse_job
from reasonrl.api.problems import JobError, Problem
from reasonrl.api.sweep_spec import MOST_RUNS, ArmSpec, AxisSpec, SweepRecord, SweepSpec, run_name

_PART = re.compile(r"[^.\[\]]+|\[[^\[\]]+\]")
_SEED = "spec.seed"
_LONGEST_NAME = 63


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRun:
    """One arm with one seed. `job` is complete: it could be a file of its own."""

    arm: str
    seed: int
    job: ReasoningRLJob

    @property
    def name(self) -> str:
        return run_name(self.arm, self.seed)


class FieldPathError(Exception):
    """The path leads nowhere in the job; the message says where it ends."""


def arms_of(sweep: SweepSpec) -> list[ArmSpec]:
    """The arms by name, each in every combination of the axes. Raises JobError when names are too long or clash."""
    named: Sequence[ArmSpec] = sweep.arms or (_UNCHANGED,)
    arms: list[ArmSpec] = []
    for arm in named:
        for combination in itertools.product(*(_points(axis) for axis in sweep.axes)):
            name = "-".join(part for part in (arm.name if sweep.arms else "", *(point.slug for point in combination)) if part)
            titles = [*([arm.title or arm.name] if sweep.arms else []), *(point.title for point in combination)]
            changes = dict(arm.set) | {point.field: point.value for point in combination}
            if len(name) > _LONGEST_NAME:
                raise JobError(
                    [Problem("axes", name, f"makes a name of {len(name)} characters, at most {_LONGEST_NAME}: give axes a name")]
                )
            arms.append(ArmSpec.model_construct(name=name, title=", ".join(titles), set=changes))
    names = [arm.name for arm in arms]
    doubles = dict.fromkeys(name for name in names if names.count(name) > 1)
    if doubles:
        raise JobError([Problem("axes", name, "names two arms; give the axes or their values other names") for name in doubles])
    return arms


def record_of(sweep: SweepSpec) -> SweepRecord:
    return SweepRecord.model_construct(name=sweep.name, seeds=sweep.seeds, arms=tuple(arms_of(sweep)), panels=sweep.panels)


def sweep_runs(sweep: SweepSpec, base: Mapping[str, object]) -> list[SweepRun]:
    """All runs, seed by seed, so that a sweep that is cut short has as many whole seeds as possible.

    `base` is the job as it was written. Raises JobError with the problems of all arms; each names its arm and field.
    """
    arms = arms_of(sweep)
    if len(arms) * len(sweep.seeds) > MOST_RUNS:
        raise JobError([Problem("arms", len(arms) * len(sweep.seeds), f"are more runs than {MOST_RUNS}, with all seeds")])
    problems = list(_unknown_arms(sweep, {arm.name for arm in arms}))
    of_arms: dict[str, tuple[Problem, ...]] = {}
    runs: dict[tuple[str, int], SweepRun] = {}
    for arm in arms:
        try:
            for seed in sweep.seeds:
                runs[arm.name, seed] = SweepRun(arm=arm.name, seed=seed, job=_job(base, arm, seed))
        except JobError as error:
            of_arms[arm.name] = error.problems
    problems += _told_once(of_arms, arms=len(arms))
    if problems:
        raise JobError(problems)
    return [runs[arm.name, seed] for seed in sweep.seeds for arm in arms]


def with_value(document: Mapping[str, object], path: str, value: JsonValue) -> dict[str, object]:
    """A copy of `document` with `value` at `path`, such as `spec.phases[0].until.steps` or, by its name, `spec.phases[long].until`.
    Objects that are not there, or null, are made. Raises FieldPathError."""
    changed = copy.deepcopy(dict(document))
    parts = _PART.findall(path)
    if "".join(part if part.startswith("[") else f".{part}" for part in parts).removeprefix(".") != path:
        raise FieldPathError(f"{path} is no path of a field; write it as spec.phases[0].until.steps")
    place: object = changed
    for index, part in enumerate(parts[:-1]):
        place = _below(place, part, "".join(parts[: index + 1]), is_list=parts[index + 1].startswith("["))
    last = parts[-1]
    if isinstance(place, list):
        place[_index(place, last, path)] = copy.deepcopy(value)
    elif isinstance(place, dict) and not last.startswith("["):
        place[last] = copy.deepcopy(value)
    else:
        raise FieldPathError(f"the job has no list there to take {last} of")
    return changed


def _told_once(of_arms: Mapping[str, Sequence[Problem]], *, arms: int) -> Iterator[Problem]:
    """What every arm has is the job's own, and said once."""
    shared = [
        each for each in next(iter(of_arms.values()), ()) if len(of_arms) == arms and all(each in found for found in of_arms.values())
    ]
    for each in shared:
        yield Problem(f"every arm: {each.field}", each.value, each.message)
    for arm, found in of_arms.items():
        for each in found:
            if each not in shared:
                yield Problem(f"arm {arm}: {each.field}", each.value, each.message)


def _job(base: Mapping[str, object], arm: ArmSpec, seed: int) -> ReasoningRLJob:
    document: dict[str, object] = copy.deepcopy(dict(base))
    problems = []
    for path, value in [*arm.set.items(), (_SEED, seed)]:
        if path == _SEED and path in arm.set:
            problems.append(Problem(path, value, "is set by the sweep's seeds; remove it here"))
            continue
        try:
            document = with_value(document, path, value)
        except FieldPathError as error:
            problems.append(Problem(path, value, str(error)))
    if problems:
        raise JobError(problems)
    metadata = document.get("metadata")
    document["metadata"] = {**(metadata if isinstance(metadata, Mapping) else {}), "name": arm.name}
    return parse_job(document)


def _below(place: object, part: str, path: str, *, is_list: bool) -> object:
    if isinstance(place, list):
        return place[_index(place, part, path)]
    if not isinstance(place, dict) or part.startswith("["):
        raise FieldPathError(f"{path} does not exist in the job: what it is in is no {'list' if part.startswith('[') else 'object'}")
    if place.get(part) is None:
        if is_list:
            raise FieldPathError(f"the job has no list {part}; set the whole list instead")
        place[part] = {}
    return place[part]


def _index(items: Sequence[object], part: str, path: str) -> int:
    wanted = part.removeprefix("[").removesuffix("]")
    if part.startswith("[") and wanted.isdigit() and int(wanted) < len(items):
        return int(wanted)
    for index, item in enumerate(items):
        if part.startswith("[") and isinstance(item, Mapping) and wanted in (item.get("name"), item.get("type")):
            return index
    raise FieldPathError(f"the list has {len(items)} items and none is {part}; in {path}")


@dataclass(frozen=True, slots=True)
class _Point:
    field: str
    value: JsonValue
    slug: str
    title: str


_UNCHANGED = ArmSpec(name="base")


def _points(axis: AxisSpec) -> list[_Point]:
    """The values of an axis, each with its part of an arm's name."""
    called = axis.name or axis.field.rsplit(".", 1)[-1]
    labelled = axis.values.items() if isinstance(axis.values, dict) else [(_label(value), value) for value in axis.values]
    return [_Point(axis.field, value, _slug(f"{called}-{label}"), f"{called} {label}") for label, value in labelled]


def _label(value: JsonValue) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float | str):
        return str(value)
    raise JobError([Problem("axes", value, "a value that is an object or a list needs a name: write values: {name: value}")])


def _slug(text: str) -> str:
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", text).lower()
    return re.sub(r"[^a-z0-9]+", "-", snake).strip("-")


def _unknown_arms(sweep: SweepSpec, known: set[str]) -> Iterator[Problem]:
    for index, panel in enumerate(sweep.panels):
        for arm in panel.arms:
            if arm not in known:
                yield Problem(f"panels[{index}].arms", arm, f"there is no such arm; there is {', '.join(sorted(known))}")
