"""What the platform allows: the ValidatingAdmissionPolicies of the chart at work on a real API server."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from testbed.client import ApiError, Client, Object
from testbed.cluster_job import manifest
from testbed.deadline import wait_for
from testbed.helm import Helm, new_namespace

from reasonrl.api import names

JOBS, RUNTIMES, CLUSTER_RUNTIMES = names.JOB_PLURAL, names.RUNTIME_PLURAL, names.CLUSTER_RUNTIME_PLURAL
DRY = {"dryRun": "All"}
LIMITS = {
    "enabled": True,
    "namespaceSelector": {"matchLabels": {"limits": "on"}},
    "advice": "Ask #ml-platform.",
    "maxGpusPerJob": 8,
    "allowedImagePrefixes": ["registry.example.com/team/", "registry.example.com/base:"],
    "requireQueue": True,
    "allowedQueues": ["research", "urgent"],
    "allowedPriorityClasses": ["batch"],
    "requireNetworkPolicy": True,
}
QUEUED: Mapping[str, Any] = {"scheduling": {"gang": "Kueue", "queue": "research"}}


@pytest.fixture(scope="module")
def limited(helm: Helm, admin: Client) -> str:
    """A namespace where the limits of `LIMITS` hold; they come from a release of their own."""
    values = {"crds": {"install": False}, "rbac": {"create": False}, "userRoles": {"create": False, "aggregate": False}}
    helm.install("limits", namespace="limits", values={**values, "admissionPolicy": LIMITS})
    namespace = new_namespace(admin, "limited", limits="on")
    probe = manifest("probe")
    wait_for(lambda: said(admin, probe, namespace), deadline=30, what="the policies are in force")
    wait_for(lambda: said(admin, blueprint({"network": {"policy": "None"}}), namespace), deadline=30, what="that of blueprints, too")
    return namespace


def said(admin: Client, body: Object, namespace: str) -> str:
    """What the API server says against creating the object; nothing where it would."""
    try:
        admin.create(body, namespace=namespace, query=DRY)
    except ApiError as error:
        return error.message
    return ""


def blueprint(spec: Mapping[str, Any]) -> Object:
    return {"apiVersion": f"{names.GROUP}/{names.VERSION}", "kind": "ReasoningRLRuntime", "metadata": {"name": "b"}, "spec": dict(spec)}


def phases(*rollouts: Mapping[str, Any] | None) -> list[Object]:
    return [
        {"name": f"p{number}", "maxResponseTokens": 64, "until": {"steps": 10}, **({"rollout": shape} if shape else {})}
        for number, shape in enumerate(rollouts)
    ]


CLUSTER_BLUEPRINT = {"runtimeRef": {"name": "h100"}}
NAMESPACE_BLUEPRINT = {"runtimeRef": {"kind": "ReasoningRLRuntime", "name": "own"}}
ALLOWED: Mapping[str, Mapping[str, Any]] = {
    "within all limits": QUEUED,
    "exactly the limit": {**QUEUED, "trainer": {"replicas": 3, "gpusPerReplica": 2}},
    "an image from the team's": {**QUEUED, "image": "registry.example.com/team/train:1"},
    "a tag of the base image": {**QUEUED, "pods": {"rollout": {"image": "registry.example.com/base:2"}}},
    "a class that is listed": {"scheduling": {**QUEUED["scheduling"], "priorityClassName": "batch"}},
    "a phase within the limit": {**QUEUED, "phases": phases(None, {"replicas": 3, "gpusPerReplica": 2})},
    "a blueprint of the cluster has the queue": CLUSTER_BLUEPRINT,
    "rollouts that share the trainers' GPUs": {
        **QUEUED,
        "trainer": {"replicas": 4, "gpusPerReplica": 2},
        "rollout": {"placement": "Colocated", "replicas": 4, "gpusPerReplica": 2},
    },
}
REFUSED: Mapping[str, tuple[Mapping[str, Any], str]] = {
    "no queue": ({}, "spec.scheduling.queue: this cluster runs jobs from queues alone"),
    "a blueprint of the namespace and no queue": (NAMESPACE_BLUEPRINT, "spec.scheduling.queue: this cluster runs jobs from queues alone"),
    "another queue": ({"scheduling": {"gang": "Kueue", "queue": "mine"}}, "mine is not among the queues of this cluster: research, urgent"),
    "too many trainers": (
        {**QUEUED, "trainer": {"replicas": 4, "gpusPerReplica": 2}},
        "10 GPUs (trainers: 4 of 2, rollouts: 2 of 1) are more than the 8 that this cluster allows a job; lower replicas or "
        "gpusPerReplica. Ask #ml-platform.",
    ),
    "too many rollouts": ({**QUEUED, "rollout": {"replicas": 7}}, "9 GPUs (trainers: 2 of 1, rollouts: 7 of 1)"),
    "too many in a later phase": (
        {**QUEUED, "phases": phases(None, {"replicas": 7})},
        "phase p1: with its rollout pods the job has more than",
    ),
    "GPUs past the count": (
        {**QUEUED, "pods": {"trainer": {"gpuResourceName": "example.com/x", "resources": {"limits": {"nvidia.com/gpu": 8}}}}},
        "spec.pods.trainer.resources.limits: GPUs are asked for by spec.trainer.gpusPerReplica",
    ),
    "replicas here, GPUs in the blueprint": (
        {**QUEUED, **CLUSTER_BLUEPRINT, "trainer": {"gpusPerReplica": None}},
        "spec.trainer: write both replicas and gpusPerReplica, or neither",
    ),
    "a phase's replicas here, GPUs in the blueprint": (
        {**QUEUED, **CLUSTER_BLUEPRINT, "rollout": None, "phases": phases({"replicas": 9})},
        "spec.phases: a phase that changes rollout.replicas must say gpusPerReplica as well",
    ),
    "an image from elsewhere": (
        {**QUEUED, "image": "docker.example.org/x:1"},
        "image docker.example.org/x:1: images must begin with registry.example.com/team/ or registry.example.com/base:",
    ),
    "an image whose name only begins like the team's": ({**QUEUED, "image": "registry.example.com/team-x/a"}, "images must begin with"),
    "one role's image": ({**QUEUED, "pods": {"trainer": {"image": "x"}}}, "image x: images must begin with"),
    "another class": ({"scheduling": {**QUEUED["scheduling"], "priorityClassName": "system"}}, "system may not be used by jobs; use batch"),
    "no network policy": ({**QUEUED, "network": {"policy": "None"}}, "spec.network.policy: None is not allowed on this cluster"),
}
REFUSED_BLUEPRINTS: Mapping[str, tuple[Mapping[str, Any], str]] = {
    "image": ({"image": "x"}, "image x: images must begin with"),
    "network": ({"network": {"policy": "None"}}, "spec.network.policy: None is not allowed"),
    "GPUs": ({"trainer": {"replicas": 2, "gpusPerReplica": 8}}, "16 GPUs (trainers: 2 of 8, rollouts: 1 of 0)"),
    "queue": ({"scheduling": {"gang": "Kueue", "queue": "mine"}}, "mine is not among the queues of this cluster"),
}


@pytest.mark.parametrize("case", ALLOWED)
def test_a_job_within_the_limits_is_taken(admin: Client, limited: str, case: str) -> None:
    assert said(admin, written(ALLOWED[case]), limited) == ""


@pytest.mark.parametrize("case", REFUSED)
def test_a_job_beyond_the_limits_is_refused_with_what_to_do(admin: Client, limited: str, case: str) -> None:
    spec, message = REFUSED[case]
    assert message in said(admin, written(spec), limited)


@pytest.mark.parametrize("case", REFUSED_BLUEPRINTS)
def test_a_blueprint_of_a_namespace_cannot_hold_what_its_jobs_may_not(admin: Client, limited: str, case: str) -> None:
    spec, message = REFUSED_BLUEPRINTS[case]
    assert message in said(admin, blueprint(spec), limited)


def written(spec: Mapping[str, Any]) -> Object:
    """A job whose nulls are fields that are not written."""
    return without_nulls(manifest("j", spec))


def without_nulls(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: without_nulls(each) for key, each in value.items() if each is not None}
    return value


def test_limits_hold_only_where_they_are_selected(admin: Client, limited: str, team: str) -> None:
    assert said(admin, manifest("j"), limited)
    assert said(admin, manifest("j"), team) == ""


def test_jobs_from_before_the_limits_can_be_labelled_and_suspended_but_not_resumed(admin: Client, limited: str) -> None:
    new_namespace(admin, limited, limits="off")
    wait_for(lambda: not said(admin, manifest("old"), limited), deadline=20, what="no limits")
    admin.create(manifest("old"), namespace=limited)
    new_namespace(admin, limited, limits="on")
    wait_for(lambda: said(admin, manifest("probe"), limited), deadline=20, what="limits")
    admin.patch(JOBS, "old", {"metadata": {"labels": {"a": "b"}}}, namespace=limited)
    admin.patch(JOBS, "old", {"status": {"summary": "Running"}}, namespace=limited, subresource="status")
    with pytest.raises(ApiError, match="from queues alone"):
        admin.patch(JOBS, "old", {"spec": {"seed": 7}}, namespace=limited)
    with pytest.raises(ApiError, match="not among the queues"):
        admin.patch(JOBS, "old", {"metadata": {"labels": {"kueue.x-k8s.io/queue-name": "mine"}}}, namespace=limited)
    admin.patch(JOBS, "old", {"spec": {"suspend": True}}, namespace=limited)
    with pytest.raises(ApiError, match="from queues alone"):
        admin.patch(JOBS, "old", {"spec": {"suspend": False}}, namespace=limited)


def test_scaling_cannot_go_past_the_limit_on_gpus(admin: Client, limited: str) -> None:
    admin.create(manifest("scaled", QUEUED), namespace=limited)

    def scale(replicas: int) -> Object:
        return admin.patch(JOBS, "scaled", {"spec": {"replicas": replicas}}, namespace=limited, subresource="scale")

    with pytest.raises(ApiError, match=r"edit spec\.rollout\.replicas of the job instead"):
        scale(3)
    scale(1)
    admin.patch(JOBS, "scaled", {"spec": {"rollout": {"replicas": 6}}}, namespace=limited)
    with pytest.raises(ApiError, match="9 GPUs"):
        admin.patch(JOBS, "scaled", {"spec": {"rollout": {"replicas": 7}}}, namespace=limited)


def test_autoscalers_have_a_limit_of_their_own(helm: Helm, admin: Client) -> None:
    values = {"crds": {"install": False}, "rbac": {"create": False}, "userRoles": {"create": False, "aggregate": False}}
    limits = {"enabled": True, "maxRolloutReplicas": 4, "namespaceSelector": {"matchLabels": {"scale": "on"}}}
    helm.install("scale", namespace="scale", values={**values, "admissionPolicy": limits})
    namespace = new_namespace(admin, "scaled", scale="on")
    too_many = manifest("j", {"rollout": {"replicas": 5}})
    wait_for(lambda: said(admin, too_many, namespace), deadline=30, what="the policy is in force")
    assert "5 is more than the 4 rollout pods" in said(admin, too_many, namespace)
    assert "phase p0" in said(admin, manifest("j", {"phases": phases({"replicas": 5})}), namespace)
    admin.create(manifest("j"), namespace=namespace)

    def refused() -> str:
        try:
            admin.patch(JOBS, "j", {"spec": {"replicas": 5}}, namespace=namespace, subresource="scale")
        except ApiError as error:
            return error.message
        return ""

    admin.patch(JOBS, "j", {"spec": {"replicas": 4}}, namespace=namespace, subresource="scale")
    assert "5 is more than the 4 rollout pods" in refused()
    helm.uninstall("scale", namespace="scale")


def test_the_policies_fit_the_schemas(admin: Client, limited: str) -> None:
    """The real controller has checked each expression against the CRD that it is about."""
    for name in ("limits-reasonrl-jobs", "limits-reasonrl-blueprints"):
        policy = admin.wait_for("validatingadmissionpolicies", name, lambda each: "typeChecking" in each.get("status", {}), deadline=30)
        assert policy["status"]["typeChecking"].get("expressionWarnings", []) == []
