"""Runs that differ in nothing but their seed are one arm. Groups what was given into arms, whether it is a sweep or runs one by one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from reasonrl.api.problems import JobError
from reasonrl.api.sweep_spec import SWEEP_FILE, ArmSpec, SweepRecord, parse_record, run_name
from reasonrl.report.read import RunReadError, RunRecord, read_run
from reasonrl.report.settings import differing_settings, flattened

_DEFAULT_SEED = 42
_SETTINGS_IN_NAME = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """`runs` by seed, finished ones only. `setting` says what sets it apart, in a few words."""

    name: str
    title: str
    setting: str
    runs: Mapping[int, RunRecord]


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    title: str
    arms: Sequence[Arm]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """`problems` are sentences on what is missing or was left out."""

    title: str
    arms: Sequence[Arm]
    panels: Sequence[Panel]
    problems: Sequence[str]

    def arm(self, name: str) -> Arm | None:
        return next((arm for arm in self.arms if arm.name == name), None)


def read_comparison(paths: Sequence[Path]) -> Comparison:
    """Raises RunReadError when a path is neither a sweep nor a run, or when nothing in them is finished."""
    if len(paths) == 1 and (paths[0] / SWEEP_FILE).exists():
        found = _of_sweep(paths[0])
    else:
        found = _of_runs([run for path in paths for run in _run_directories(path)])
    if not any(arm.runs for arm in found.arms):
        told = f" {found.problems[0]}" if found.problems else ""
        raise RunReadError(f"{paths[0]}: there is no finished run to compare.{told}")
    return found


def _of_sweep(directory: Path) -> Comparison:
    record = _record(directory)
    problems: list[str] = []
    arms = []
    for spec in record.arms:
        runs: dict[int, RunRecord] = {}
        for seed in record.seeds:
            run = _finished(directory / run_name(spec.name, seed), f"{spec.name}, seed {seed}", problems)
            if run is not None:
                runs[seed] = run
        arms.append(Arm(name=spec.name, title=spec.title or spec.name, setting=_setting(spec), runs=runs))
    by_name = {arm.name: arm for arm in arms}
    panels = [Panel(title=panel.title, arms=[by_name[name] for name in panel.arms if name in by_name]) for panel in record.panels]
    return Comparison(title=record.name, arms=arms, panels=panels or _one_panel(arms), problems=problems)


def _record(directory: Path) -> SweepRecord:
    path = directory / SWEEP_FILE
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        return parse_record(document if isinstance(document, dict) else {})
    except (OSError, UnicodeDecodeError, yaml.YAMLError, JobError) as error:
        raise RunReadError(f"{path} cannot be read as a sweep: {error}") from error


def _run_directories(path: Path) -> list[Path]:
    """Those of a sweep, or the path itself."""
    if not (path / SWEEP_FILE).exists():
        return [path]
    record = _record(path)
    found = [path / run_name(arm.name, seed) for arm in record.arms for seed in record.seeds]
    return [directory for directory in found if directory.is_dir()]


def _of_runs(directories: Sequence[Path]) -> Comparison:
    problems: list[str] = []
    groups: dict[str, dict[int, RunRecord]] = {}
    for directory in dict.fromkeys(each.resolve() for each in directories):
        run = _finished(directory, str(directory), problems, must_exist=True)
        if run is None:
            continue
        seed = _seed(run)
        same = groups.setdefault(_settings_key(run, seed), {})
        if seed in same:
            problems.append(f"{directory}: left out, as {same[seed].directory} has the same settings and seed.")
        else:
            same[seed] = run
    members = list(groups.values())
    arms = [Arm(name=name, title=name, setting="", runs=runs) for name, runs in zip(_names(members), members, strict=True)]
    return Comparison(title=" against ".join(arm.name for arm in arms), arms=arms, panels=_one_panel(arms), problems=problems)


def _one_panel(arms: Sequence[Arm]) -> list[Panel]:
    return [Panel(title="All arms", arms=list(arms))]


def _finished(directory: Path, called: str, problems: list[str], *, must_exist: bool = False) -> RunRecord | None:
    if not must_exist and not directory.is_dir():
        problems.append(f"{called}: not run yet.")
        return None
    try:
        run = read_run(directory)
    except RunReadError:
        if must_exist:
            raise
        problems.append(f"{called}: not started yet.")
        return None
    if not run.finished or not run.steps:
        problems.append(f"{called}: left out, as it is not finished ({len(run.steps)} steps are done).")
        return None
    problems += [f"{called}: {problem}" for problem in run.problems]
    return run


def _spec(run: RunRecord) -> Mapping[str, object]:
    spec = run.job.get("spec")
    return spec if isinstance(spec, Mapping) else {}


def _seed(run: RunRecord) -> int:
    seed = _spec(run).get("seed", _DEFAULT_SEED)
    return seed if isinstance(seed, int) else _DEFAULT_SEED


def _settings_key(run: RunRecord, seed: int) -> str:
    """All settings but the seed. A model that was warmed up with that seed stands for its like of the other seeds."""
    settings = flattened({name: value for name, value in _spec(run).items() if name != "seed"})
    if "model.path" in settings:
        settings["model.path"] = settings["model.path"].replace(f"/seed-{seed}/", "/seed-*/")
    return json.dumps(settings, sort_keys=True)


def _names(groups: Sequence[Mapping[int, RunRecord]]) -> list[str]:
    """The job's name where its arm is the only one with it, else what it sets differently, else its place among them."""
    first = [next(iter(group.values())) for group in groups]
    names = [_job_name(run) for run in first]
    rows = [row for row in differing_settings(first) if row.path != "seed"][:_SETTINGS_IN_NAME] if len(first) > 1 else []
    told = [", ".join(f"{row.path.rsplit('.', 1)[-1]} {row.values[index]}" for row in rows) for index in range(len(first))]
    for more in (told, [f"arm {index + 1}" for index in range(len(first))]):
        names = [name if name and names.count(name) == 1 else other for name, other in zip(names, more, strict=True)]
    return names


def _job_name(run: RunRecord) -> str:
    metadata = run.job.get("metadata")
    return str(metadata.get("name", "")) if isinstance(metadata, Mapping) else ""


def _setting(spec: ArmSpec) -> str:
    if not spec.set:
        return "the job as it is"
    return ", ".join(
        f"{path.removeprefix('spec.')} = {value if isinstance(value, str) else json.dumps(value)}" for path, value in spec.set.items()
    )
