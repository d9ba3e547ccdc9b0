"""Blueprints from files, and a job together with the one that it names: what the operator would admit, before there is a cluster."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from reasonrl.api.job import ReasoningRLJob
from reasonrl.api.parse_runtime import Runtime, parse_runtime
from reasonrl.api.problems import JobError, Problem
from reasonrl.api.runtime import CLUSTER_RUNTIME_KIND, RUNTIME_KIND, admit
from reasonrl.cli.job_file import read_mapping
from reasonrl.cli.problems import JobInFileError


@dataclass(frozen=True, slots=True, kw_only=True)
class Blueprint:
    """A blueprint and the file that it is written in; `mapping` is what the file says."""

    file: Path
    runtime: Runtime
    mapping: Mapping[str, object]

    @property
    def spec(self) -> Mapping[str, object]:
        found = self.mapping["spec"]
        assert isinstance(found, Mapping)
        return found


def load_blueprint(path: Path) -> Blueprint:
    """The blueprint in `path`. Raises JobFileError when there is none, and JobInFileError with everything that is wrong with it."""
    mapping = read_mapping(path)
    try:
        return Blueprint(file=path, runtime=parse_runtime(mapping), mapping=mapping)
    except JobError as error:
        raise JobInFileError(path, error.problems) from error


def admitted(mapping: Mapping[str, object], blueprints: Sequence[Blueprint]) -> ReasoningRLJob:
    """The job of a file with that of the `blueprints` which it names, checked as the operator checks it. Raises JobError."""
    named = _reference(mapping)
    blueprint = None if named is None else _find(named, mapping, blueprints)
    try:
        return admit(mapping, None if blueprint is None else blueprint.spec)
    except JobError as error:
        raise JobError([_with_source(problem, mapping, blueprint) for problem in error.problems]) from error


def unused_blueprints(mapping: Mapping[str, object], blueprints: Sequence[Blueprint]) -> list[Problem]:
    """A blueprint that the job names and that was not given, or that was given and the job does not name."""
    named = _reference(mapping)
    if named is not None and not blueprints:
        return [Problem("spec.runtimeRef", named.name, f"{named.kind} {named.name} was not looked at; give its file with --runtime")]
    if not _says(mapping, "spec.runtimeRef") and blueprints:
        return [Problem("spec.runtimeRef", None, f"names no blueprint, so {blueprints[0].file} adds nothing to this job")]
    return []


@dataclass(frozen=True, slots=True)
class _Reference:
    kind: str
    name: str


def _reference(mapping: Mapping[str, object]) -> _Reference | None:
    """The blueprint that the job names, if it names one as it should: what else it may say there is refused with the rest of the job."""
    spec = mapping.get("spec")
    written = spec.get("runtimeRef") if isinstance(spec, Mapping) else None
    if not isinstance(written, Mapping) or not isinstance(written.get("name"), str):
        return None
    kind = written.get("kind") or CLUSTER_RUNTIME_KIND
    return _Reference(str(kind), str(written["name"])) if kind in (CLUSTER_RUNTIME_KIND, RUNTIME_KIND) else None


def _find(named: _Reference, mapping: Mapping[str, object], blueprints: Sequence[Blueprint]) -> Blueprint | None:
    """Raises JobError when there are blueprints, and none of them is the one that is named."""
    found = [each for each in blueprints if (each.runtime.kind, each.runtime.metadata.name) == (named.kind, named.name)]
    near = [each for each in found if named.kind == CLUSTER_RUNTIME_KIND or not _elsewhere(each, mapping)]
    if near or not blueprints:
        return near[0] if near else None
    if found:
        there = found[0].runtime.metadata.namespace
        raise JobError([Problem("spec.runtimeRef", named.name, f"{found[0].file} has it in namespace {there}, and not in the job's")])
    given = ", ".join(f"{each.runtime.kind} {each.runtime.metadata.name}" for each in blueprints)
    raise JobError([Problem("spec.runtimeRef", named.name, f"--runtime gives no {named.kind} {named.name}; it gives {given}")])


def _elsewhere(blueprint: Blueprint, mapping: Mapping[str, object]) -> bool:
    """Whether both say a namespace, and not the same: without one, `kubectl apply` puts both into the same."""
    said = [_namespace(blueprint.mapping), _namespace(mapping)]
    return None not in said and said[0] != said[1]


def _namespace(mapping: Mapping[str, object]) -> object:
    metadata = mapping.get("metadata")
    return metadata.get("namespace") if isinstance(metadata, Mapping) else None


def _with_source(problem: Problem, job: Mapping[str, object], blueprint: Blueprint | None) -> Problem:
    """Who said the value, where it was not the job."""
    if blueprint is None or _says(job, problem.field) or not _says(blueprint.mapping, problem.field):
        return problem
    name = blueprint.runtime.metadata.name
    return Problem(problem.field, problem.value, f"{problem.message} (the blueprint {name} says it, in {blueprint.file})")


def _says(mapping: Mapping[str, object], field: str) -> bool:
    found: object = mapping
    for part in re.findall(r"[^.\[\]]+|\[\d+\]", field):
        if part.startswith("["):
            index = int(part[1:-1])
            if not isinstance(found, list) or index >= len(found):
                return False
            found = found[index]
        elif not isinstance(found, Mapping) or found.get(part) is None:
            return False
        else:
            found = found[part]
    return True
