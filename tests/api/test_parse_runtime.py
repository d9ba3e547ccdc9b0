"""A blueprint from a mapping: whole, or everything that is wrong with it in words that are about blueprints."""

from __future__ import annotations

from typing import Any

import pytest

from reasonrl.api.parse_runtime import parse_runtime
from reasonrl.api.problems import JobError, Problem


def blueprint(kind: object = "ClusterReasoningRLRuntime", **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "reasonrl.dev/v1alpha1", "kind": kind, "metadata": {"name": "h100"}, "spec": spec}


def problems(mapping: dict[str, Any]) -> list[Problem]:
    with pytest.raises(JobError) as raised:
        parse_runtime(mapping)
    return list(raised.value.problems)


@pytest.mark.parametrize("kind", ["ClusterReasoningRLRuntime", "ReasoningRLRuntime"])
def test_both_kinds(kind: str) -> None:
    runtime = parse_runtime(blueprint(kind, image="registry/reasonrl:1", rollout={"engine": "vllm"}))
    assert (runtime.kind, runtime.spec.image) == (kind, "registry/reasonrl:1")
    assert runtime.spec.trainer is None


@pytest.mark.parametrize("kind", ["ReasoningRLJob", None, 3, ["ReasoningRLRuntime"]])
def test_another_kind_is_none(kind: object) -> None:
    (problem,) = problems(blueprint(kind))
    assert problem.field == "kind"
    assert "must be ClusterReasoningRLRuntime or ReasoningRLRuntime" in problem.message


def test_a_field_of_jobs_alone_is_told_apart_from_one_that_nobody_knows() -> None:
    of_job, unknown = sorted(problems(blueprint(phases=[], imag="a")), key=lambda problem: problem.field, reverse=True)
    assert of_job.field == "spec.phases"
    assert "is the job's to say" in of_job.message
    assert "volumes" in of_job.message
    assert unknown.field == "spec.imag"
    assert "did you mean image?" in unknown.message


def test_every_problem_is_told_at_once() -> None:
    found = problems(blueprint(image=3, rollout={"replicas": 0}, volumes=[{"claimName": "a", "mountPath": "data"}]))
    assert {problem.field for problem in found} == {"spec.image", "spec.rollout.replicas", "spec.volumes[0].mountPath"}


def test_dates_of_yaml_are_refused() -> None:
    import datetime

    (problem,) = problems(blueprint(image=datetime.date(2026, 1, 1)))
    assert "YAML reads this as a date" in problem.message


@pytest.mark.parametrize("spec", [None, [], 3, "x"])
def test_a_spec_that_is_no_object_is_told_which_fields_a_blueprint_has(spec: object) -> None:
    (problem,) = problems({**blueprint(), "spec": spec})
    assert problem.field == "spec"
    assert "must be an object with some of image, pods, volumes" in problem.message


def test_a_blueprint_without_spec_is_none() -> None:
    mapping = blueprint()
    del mapping["spec"]
    (problem,) = problems(mapping)
    assert (problem.field, problem.value) == ("spec", None)
