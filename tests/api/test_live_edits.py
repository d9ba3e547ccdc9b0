"""Which edits of a running job are told, and which are refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from reasonrl.api.live_edits import changed_fields, refused_changes
from reasonrl.api.parse import parse_job

JobWith = Callable[[Mapping[str, object]], dict[str, Any]]

SECOND = {"name": "ctx-4k", "maxResponseTokens": 4096, "until": {"steps": 10}}
BASE = {"spec.phases[1]": SECOND, "spec.algorithm.kl.schedule": {"type": "constant", "value": 0.1}}


@pytest.mark.parametrize(
    ("edits", "changed", "allowed"),
    [
        ({}, [], True),
        ({"spec.seed": 1}, ["spec.seed"], False),
        ({"spec.algorithm.kl.schedule.value": 0.2}, ["spec.algorithm.kl.schedule.value"], True),
        ({"spec.algorithm.kl.clamp": 5.0}, ["spec.algorithm.kl.clamp"], False),
        ({"spec.evaluation.everySteps": 5}, ["spec.evaluation.everySteps"], True),
        ({"spec.checkpoint.keepLast": 9}, ["spec.checkpoint.keepLast"], True),
        ({"spec.phases[1].until.steps": 99}, ["spec.phases[1].until.steps"], True),
        ({"spec.phases[0].until.steps": 99}, ["spec.phases[0].until.steps"], False),
        ({"spec.phases[2]": {**SECOND, "name": "ctx-8k"}}, ["spec.phases[2]"], True),
        ({"spec.checkpoint.volume": {"claimName": "other"}}, ["spec.checkpoint.volume"], False),
        ({"spec.activeDeadlineSeconds": 60}, ["spec.activeDeadlineSeconds"], True),
        ({"spec.failurePolicy.trainer.maxRestarts": 1}, ["spec.failurePolicy.trainer.maxRestarts"], False),
        ({"metadata.labels": {"a": "b"}}, ["metadata.labels.a"], True),
    ],
)
def test_an_edit_is_named_and_judged(edits: Mapping[str, object], changed: list[str], allowed: bool, job_with: JobWith) -> None:
    old, new = parse_job(job_with(BASE)).dumped(), parse_job(job_with({**BASE, **edits})).dumped()
    assert changed_fields(old, new) == changed
    assert (refused_changes(changed, current_phase=0) == []) is allowed
