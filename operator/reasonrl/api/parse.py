"""From a mapping, as YAML gives it, to a checked job, or to the list of everything that is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Mapping

from pydantic import ValidationError

from reasonrl.api.job import ReasoningRLJob
from reasonrl.api.problems import JobError, Problem


def parse_job(mapping: Mapping[str, object]) -> ReasoningRLJob:
    """Raises JobError with every problem found."""
    try:
        # Strict JSON: no text is read as a number, and yet lists become tuples and mappings become models.
        return ReasoningRLJob.model_validate_json(json.dumps(mapping), strict=True)
    except ValidationError as error:
        raise JobError([Problem(".".join(map(str, each["loc"])), each.get("input"), each["msg"]) for each in error.errors()]) from error
