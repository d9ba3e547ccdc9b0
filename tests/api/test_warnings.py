"""What a job may do and rarely means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from reasonrl.api.parse import parse_job
from reasonrl.api.validation.warnings import job_warnings

JobWith = Callable[[Mapping[str, object]], dict[str, Any]]

CONSTANT = {"type": "constant", "value": 0.001}
BENCHMARK = {"name": "aime24", "path": "aime.jsonl"}


def test_the_minimal_job_warns_of_nothing(minimal: dict[str, Any]) -> None:
    assert job_warnings(parse_job(minimal)) == []


@pytest.mark.parametrize(
    ("edits", "fields"),
    [
        ({"spec.algorithm.loss.type": "gspo"}, {"spec.algorithm.loss.clipHigh", "spec.algorithm.loss.aggregation"}),
        ({"spec.algorithm.loss": {"type": "gspo", "aggregation": "sequenceMean", "clipLow": 3e-4, "clipHigh": 4e-4}}, set()),
        ({"spec.algorithm.kl": {"estimator": "k1", "schedule": CONSTANT}}, {"spec.algorithm.kl.estimator"}),
        ({"spec.algorithm.kl": {"estimator": "k3", "placement": "reward", "schedule": CONSTANT}}, {"spec.algorithm.kl.estimator"}),
        ({"spec.algorithm.kl": {"estimator": "k1", "placement": "reward", "schedule": CONSTANT}}, set()),
        ({"spec.algorithm.kl.schedule": {"type": "cosine", "start": 0.1, "steps": 201}}, {"spec.algorithm.kl.schedule.steps"}),
        ({"spec.algorithm.kl.schedule": {"type": "cosine", "start": 0.1, "steps": 200}}, set()),
        ({"spec.algorithm.optimizer.warmupSteps": 200}, {"spec.algorithm.optimizer.warmupSteps"}),
        ({"spec.rollout.temperature": 1.6}, {"spec.rollout.temperature"}),
        ({"spec.phases[0].temperature": 2.0}, {"spec.phases[0].temperature"}),
        (
            {"spec.evaluation.benchmarks": [BENCHMARK], "spec.checkpoint": {"everySteps": 15, "keepBest": {"metric": "aime24"}}},
            {"spec.checkpoint.everySteps"},
        ),
        ({"spec.evaluation.benchmarks": [BENCHMARK], "spec.checkpoint": {"everySteps": 30, "keepBest": {"metric": "aime24"}}}, set()),
    ],
)
def test_warnings_name_the_field(edits: Mapping[str, object], fields: set[str], job_with: JobWith) -> None:
    assert {warning.field for warning in job_warnings(parse_job(job_with(edits)))} == fields
