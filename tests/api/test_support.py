"""What this release refuses, what one machine refuses, and what a cluster alone reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from reasonrl.api.field_tree import field_tree, walk
from reasonrl.api.parse import parse_job
from reasonrl.api.support import FUTURE_FIELDS, FUTURE_VARIANTS, cluster_only_fields, unsupported_on_one_machine

JobWith = Callable[[Mapping[str, object]], dict[str, Any]]
DEEPSPEED = {"spec.trainer": {"engine": "deepspeed", "replicas": 4, "gpusPerReplica": 8, "zeroStage": 3}}


def test_future_fields_have_a_place_in_the_contract_and_say_their_version() -> None:
    described = {node.path: node.description for node in walk(field_tree())}
    for field in FUTURE_FIELDS:
        assert f"Supported from version {field.version}" in described[field.field]


def test_no_future_variant_is_already_there() -> None:
    known = {node.path: {variant.tag for variant in node.variants} | set(node.choices) for node in walk(field_tree())}
    for keys, versions in FUTURE_VARIANTS.items():
        path = f"spec.{'.'.join(keys)}"
        there = known[path] | known.get(f"{path}[].type", set())
        assert there
        assert not there & set(versions)


def test_the_minimal_job_runs_on_one_machine_and_says_nothing_of_clusters(minimal: dict[str, Any]) -> None:
    job = parse_job(minimal)
    assert unsupported_on_one_machine(job) == []
    assert cluster_only_fields(job) == []


def test_deepspeed_is_valid_but_does_not_run_here(job_with: JobWith) -> None:
    (problem,) = unsupported_on_one_machine(parse_job(job_with(DEEPSPEED)))
    assert problem.field == "spec.trainer.engine"
    assert "reasonrl run --cluster" in problem.message
    assert "engine: torch" in problem.message


@pytest.mark.parametrize(
    ("edits", "field", "says"),
    [
        ({"spec.suspend": True}, "spec.suspend", "stop a local run with SIGTERM"),
        ({"spec.runtimeRef": {"name": "h100"}}, "spec.runtimeRef", "write what it says into the job"),
    ],
)
def test_what_one_machine_would_ignore_in_silence_is_refused(edits: Mapping[str, object], field: str, says: str, job_with: JobWith) -> None:
    (problem,) = unsupported_on_one_machine(parse_job(job_with(edits)))
    assert problem.field == field
    assert says in problem.message


def test_a_cluster_field_at_its_default_is_not_worth_a_sentence(job_with: JobWith) -> None:
    defaults = {"spec.failurePolicy": {"trainer": {"maxRestarts": 5}}, "spec.network": {"policy": "Restricted"}, "spec.pods.trainer": {}}
    assert cluster_only_fields(parse_job(job_with(defaults))) == []


@pytest.mark.parametrize(
    ("edits", "says"),
    [
        ({"spec.rollout.replicas": 4}, "one rollout engine"),
        ({"spec.rollout.gpusPerReplica": 1}, "first GPU"),
        ({"spec.trainer.gpusPerReplica": 1}, "first GPU"),
        ({"spec.rollout.placement": "Colocated"}, "share one process"),
        ({"spec.phases[0].rollout": {"replicas": 2}}, "ctx-2k"),
        ({"metadata.namespace": "team-a"}, "team-a"),
        ({"spec.image": "registry/reasonrl:1"}, "spec.image applies on a cluster"),
        ({"spec.pods.trainer.nodeSelector": {"gpu": "h100"}}, "spec.pods applies"),
        ({"spec.volumes": [{"claimName": "data", "mountPath": "/data"}]}, "spec.volumes are mounted"),
        ({"spec.network.policy": "None"}, "spec.network applies"),
        ({"spec.scheduling.priorityClassName": "high"}, "spec.scheduling applies"),
        ({"spec.failurePolicy.trainer.maxRestarts": 1}, "the same command goes on with it"),
        ({"spec.checkpoint.volume": {"claimName": "ckpt"}}, "spec.checkpoint.volume is mounted"),
        ({"spec.ttlSecondsAfterFinished": 60}, "spec.ttlSecondsAfterFinished applies"),
        ({"spec.activeDeadlineSeconds": 60}, "the run ends with its last phase"),
    ],
)
def test_fields_of_a_cluster_are_said_to_be_so(edits: Mapping[str, object], says: str, job_with: JobWith) -> None:
    (sentence,) = cluster_only_fields(parse_job(job_with(edits)))
    assert says in sentence
