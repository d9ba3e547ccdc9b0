"""A job and its blueprint become one spec: the job wins, field by field."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reasonrl.api.job import JobSpec
from reasonrl.api.parse import parse_job
from reasonrl.api.problems import JobError
from reasonrl.api.runtime import RuntimeSpec, admitted_job, resolve

JobWith = Callable[[Mapping[str, object]], dict[str, Any]]

BLUEPRINT: dict[str, Any] = {
    "image": "registry/reasonrl:1",
    "pods": {
        "trainer": {
            "nodeSelector": {"gpu": "h100"},
            "resources": {"requests": {"cpu": 8, "memory": "64Gi"}},
            "env": [{"name": "A", "value": "1"}],
        },
        "rollout": {"sharedMemory": "8Gi"},
    },
    "rollout": {"engine": "vllm", "gpusPerReplica": 2, "replicas": 4},
    "failurePolicy": {"trainer": {"maxRestarts": 9, "backoffSeconds": 20}},
    "checkpoint": {"volume": {"claimName": "ckpt"}, "keepLast": 7},
}


def test_what_the_job_does_not_say_is_the_blueprints_and_then_the_default(job_with: JobWith) -> None:
    spec = parse_job(resolve(job_with({}), BLUEPRINT)).spec
    assert (spec.image, spec.rollout.engine, spec.rollout.gpus_per_replica) == ("registry/reasonrl:1", "vllm", 2)
    assert (spec.failure_policy.trainer.max_restarts, spec.failure_policy.trainer.max_backoff_seconds) == (9, 300)


def test_the_job_wins_field_by_field(job_with: JobWith) -> None:
    job = job_with({"spec.rollout.replicas": 2, "spec.pods.trainer.resources.requests": {"cpu": 16}, "spec.checkpoint.keepLast": 1})
    spec = parse_job(resolve(job, BLUEPRINT)).spec
    assert (spec.rollout.replicas, spec.rollout.gpus_per_replica) == (2, 2)
    assert spec.pods.trainer.resources.requests == {"cpu": "16", "memory": "64Gi"}
    assert spec.checkpoint.keep_last == 1
    assert spec.checkpoint.volume is not None


def test_lists_are_replaced_whole(job_with: JobWith) -> None:
    job = job_with({"spec.pods.trainer.env": [{"name": "B", "value": "2"}]})
    assert [variable.name for variable in parse_job(resolve(job, BLUEPRINT)).spec.pods.trainer.env] == ["B"]
    assert parse_job(resolve(job_with({"spec.pods.trainer.env": []}), BLUEPRINT)).spec.pods.trainer.env == ()


def test_null_is_as_if_it_were_not_written(job_with: JobWith) -> None:
    assert parse_job(resolve(job_with({"spec.checkpoint.volume": None, "spec.image": None}), BLUEPRINT)).spec.image == "registry/reasonrl:1"


def test_no_nullable_field_of_a_job_has_another_default_than_null() -> None:
    """Or null would mean something else than nothing, and neither the merge nor the API server could tell."""
    assert odd_nulls(JobSpec) == []
    assert odd_nulls(RuntimeSpec) == []


def odd_nulls(model: Any) -> list[str]:
    schema = model.model_json_schema(by_alias=True)
    return [
        f"{name}.{field}"
        for name, each in {model.__name__: schema, **schema["$defs"]}.items()
        for field, inner in each.get("properties", {}).items()
        if {"type": "null"} in inner.get("anyOf", ()) and inner.get("default", "required") is not None
    ]


def test_neither_side_is_changed(job_with: JobWith) -> None:
    job, blueprint = job_with({"spec.pods.trainer.nodeSelector": {"zone": "a"}}), copy.deepcopy(BLUEPRINT)
    before = copy.deepcopy(job)
    resolved: Any = resolve(job, blueprint)
    resolved["spec"]["pods"]["trainer"]["env"].append("x")
    resolved["spec"]["pods"]["trainer"]["nodeSelector"]["y"] = "z"
    assert (job, blueprint) == (before, BLUEPRINT)


VALUES = st.recursive(
    st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
)
SPECS = st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3)


@given(job=SPECS, blueprint=SPECS)
def test_resolving_is_idempotent_and_an_empty_side_changes_nothing(job: dict[str, object], blueprint: dict[str, object]) -> None:
    once = resolve({"spec": job}, blueprint)
    assert resolve(once, blueprint) == once
    assert resolve({"spec": job}, {}) == {"spec": job}
    assert resolve({"spec": {}}, blueprint) == {"spec": blueprint}


@pytest.mark.parametrize("name", list(RuntimeSpec.model_fields))
def test_every_field_of_a_blueprint_is_a_field_of_the_job_with_the_same_shape(name: str) -> None:
    schemas = [model.model_json_schema(by_alias=True) for model in (JobSpec, RuntimeSpec)]
    of_job, of_blueprint = (shape(schema["properties"][RuntimeSpec.model_fields[name].alias or name]) for schema in schemas)
    assert of_job == of_blueprint


def shape(schema: dict[str, Any]) -> dict[str, Any]:
    options = [option for option in schema.get("anyOf", [schema]) if option != {"type": "null"}]
    return {key: value for key, value in options[0].items() if key not in ("default", "description", "title")}


def test_rules_hold_for_the_job_and_its_blueprint_together(job_with: JobWith) -> None:
    with pytest.raises(JobError, match=r"minReplicas: must be at most replicas \(4\)"):
        admitted_job(name="first", namespace="team-a", spec=job_with({"spec.rollout.minReplicas": 5})["spec"], runtime_spec=BLUEPRINT)
    job = admitted_job(name="first", namespace="team-a", spec=job_with({"spec.rollout.minReplicas": 4})["spec"], runtime_spec=BLUEPRINT)
    assert (job.metadata.namespace, job.spec.rollout.min_replicas) == ("team-a", 4)
