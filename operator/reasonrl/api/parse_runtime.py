"""From a mapping, as YAML gives it, to a checked blueprint, or to the list of everything that is wrong with it.

A blueprint is checked as far as it goes: what its fields are together with a job's is known only when both are there (`runtime.admit`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from pydantic import ValidationError

from reasonrl.api.job import API_VERSION, JobSpec
from reasonrl.api.parse import unfit_values
from reasonrl.api.problems import JobError, Problem
from reasonrl.api.runtime import CLUSTER_RUNTIME_KIND, RUNTIME_KIND, ClusterReasoningRLRuntime, ReasoningRLRuntime, RuntimeSpec
from reasonrl.api.schema_errors import problems_of, without_tags

Runtime = ReasoningRLRuntime | ClusterReasoningRLRuntime
_MODELS: Mapping[object, type[ReasoningRLRuntime] | type[ClusterReasoningRLRuntime]] = {
    RUNTIME_KIND: ReasoningRLRuntime,
    CLUSTER_RUNTIME_KIND: ClusterReasoningRLRuntime,
}
_JOB_FIELDS = {field.alias or name for name, field in JobSpec.model_fields.items()}
_RUNTIME_FIELDS = [field.alias or name for name, field in RuntimeSpec.model_fields.items()]


def parse_runtime(mapping: Mapping[str, object]) -> Runtime:
    """The blueprint. Raises JobError with all problems found, each with its field, value and fix."""
    problems = list(unfit_values(mapping, ""))
    if problems:
        raise JobError(problems)
    model = _MODELS.get(mapping.get("kind")) if isinstance(mapping.get("kind"), str) else None
    if model is None:
        raise JobError([Problem("kind", mapping.get("kind"), f"must be {CLUSTER_RUNTIME_KIND} or {RUNTIME_KIND}, with {API_VERSION}")])
    try:
        return model.model_validate_json(json.dumps(mapping), strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        raise JobError(_problems(error)) from error


def _problems(error: ValidationError) -> list[Problem]:
    """The words for a job's fields are right for a blueprint's, except where the two differ: what only a job has."""
    errors = error.errors()
    of_jobs = [each for each in errors if each["type"] == "extra_forbidden" and _is_a_jobs(without_tags(each["loc"]))]
    no_object = [each for each in errors if each["loc"] == ("spec",) and each["type"] != "missing"]
    others = [each for each in errors if each not in of_jobs and each not in no_object]
    said = [
        Problem(
            f"spec.{each['loc'][1]}", None, f"is the job's to say, not a blueprint's; a blueprint may have {', '.join(_RUNTIME_FIELDS)}"
        )
        for each in of_jobs
    ]
    said += [Problem("spec", each["input"], f"must be an object with some of {', '.join(_RUNTIME_FIELDS)}") for each in no_object]
    return [*problems_of(others), *said]


def _is_a_jobs(place: tuple[str | int, ...]) -> bool:
    return len(place) == 2 and place[0] == "spec" and place[1] in _JOB_FIELDS
