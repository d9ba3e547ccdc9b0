"""From a mapping, as YAML gives it, to a checked job, or to the list of everything that is wrong with it."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping

from pydantic import ValidationError

from reasonrl.api.job import ReasoningRLJob
from reasonrl.api.problems import JobError, Problem
from reasonrl.api.schema_errors import Place, field_path, problems_of, suggested_siblings, without_tags
from reasonrl.api.support import future_variant_problems
from reasonrl.api.validation.job import job_problems


def parse_job(mapping: Mapping[str, object]) -> ReasoningRLJob:
    """The job, with every default filled in. Raises JobError with all problems found, each with its field, value and fix."""
    problems = list(unfit_values(mapping, ""))
    if problems:
        raise JobError(problems)
    future = list(future_variant_problems(mapping))
    found = _validated(mapping)
    if isinstance(found, ReasoningRLJob):
        problems = job_problems(found)
        if problems:
            raise JobError(problems)
        return found
    refused = [problem.field.removesuffix(".type") for problem in future]
    schema = [problem for problem in problems_of(found.errors()) if not any(_within(problem.field, item) for item in refused)]
    raise JobError([*schema, *future, *_problems_beside(mapping, found)])


def _validated(mapping: Mapping[str, object]) -> ReasoningRLJob | ValidationError:
    try:
        # Strict JSON: no text is read as a number, and yet lists become tuples and mappings become models. Aliases only, as on a cluster.
        return ReasoningRLJob.model_validate_json(json.dumps(mapping), strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        return error


def unfit_values(value: object, path: str) -> Iterator[Problem]:
    """Values that YAML has and a job has not: dates, binary data, and keys that are no text."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            if isinstance(key, str):
                yield from unfit_values(each, f"{path}.{key}" if path else key)
            else:
                yield Problem(path or "the job", key, "a field's name must be text; put it in quotes if it is meant")
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from unfit_values(each, f"{path}[{index}]")
    elif value is not None and not isinstance(value, str | int | float | bool):
        yield Problem(path, str(value), f"YAML reads this as a {type(value).__name__}; put it in quotes if it is text")


def _problems_beside(mapping: Mapping[str, object], error: ValidationError) -> list[Problem]:
    """What else is wrong, away from the fields that the schema refuses.

    The refused values are taken out, and what is left is checked as a whole. Rules that touch the surroundings of a value taken out are
    left out: what they would say depends on it.
    """
    places = [without_tags(each["loc"]) for each in error.errors()]
    surroundings = [around for each in error.errors() for around in _surroundings(each["type"], without_tags(each["loc"]))]
    pruned = copy.deepcopy(dict(mapping))
    for place in sorted(places, key=_indices_last_first):
        _remove(pruned, place)
    found = _validated(pruned)
    if not isinstance(found, ReasoningRLJob):
        return []
    return [
        problem
        for problem in job_problems(found)
        if not any(_within(problem.field, around) or _within(around, problem.field) for around in surroundings)
    ]


def _surroundings(kind: str, place: Place) -> list[str]:
    """What a refused value has a say in: the object that it is in; for an unknown field, the fields that it may have been meant for."""
    if kind == "extra_forbidden":
        return [field_path((*place[:-1], sibling)) for sibling in suggested_siblings(place)]
    return [field_path(place[:-1])]


def _indices_last_first(place: Place) -> tuple[tuple[int, int, str], ...]:
    return tuple((0, -part, "") if isinstance(part, int) else (1, 0, part) for part in place)


def _remove(value: object, place: Place) -> None:
    for part in place[:-1]:
        try:
            value = value[part]  # type: ignore[index]
        except (KeyError, IndexError, TypeError):
            return
    last: object = place[-1] if place else None
    if isinstance(value, dict):
        value.pop(last, None)
    elif isinstance(value, list) and isinstance(last, int) and last < len(value):
        del value[last]


def _within(path: str, container: str) -> bool:
    return path == container or path.startswith((container + ".", container + "["))
