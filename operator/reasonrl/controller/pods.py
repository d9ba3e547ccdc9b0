"""The pods of a job, as they are created: one container each, named for good, with nothing that a later look would have to change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reasonrl.api import names
from reasonrl.api.names import Role
from reasonrl.api.stopping_time import SHORTEST, grace_seconds, parameters_by_name
from reasonrl.controller.frozen_job import digest
from reasonrl.controller.ownership import child_labels, owner_references
from reasonrl.controller.pod_commands import pod_command
from reasonrl.controller.pod_environment import pod_environment
from reasonrl.controller.pod_placement import pod_placement
from reasonrl.controller.pod_security import container_security, pod_security
from reasonrl.controller.pod_volumes import pod_volumes
from reasonrl.controller.records import JobRecord
from reasonrl.controller.settings import JobSettings, Platform, part


def template_of(role: Role, gpus: int) -> str:
    """Hash of what may differ between two pods of one role of one job: their shape. Everything else was frozen when the job started.

    It is not a hash of the body: a new release of the operator, which makes its pods differently, must not replace those that run."""
    return digest([role, gpus])


def pod_body(
    job: JobRecord, settings: JobSettings, platform: Platform, *, role: Role, index: int, attempt: int, gpus: int
) -> dict[str, Any]:
    own = part(part(settings.spec, "pods"), role)
    name = names.pod_name(job.key.name, role, index)
    placement = pod_placement(job, settings, platform, role=role, attempt=attempt, own=own)
    volumes, mounts = pod_volumes(job, settings, role=role, shared_memory=own.get("sharedMemory"))
    labels = {
        **(own.get("labels") or {}),
        **placement.labels,
        **child_labels(job, template_of(role, gpus)),
        names.LABEL_ROLE: role,
        names.LABEL_INDEX: str(index),
        names.LABEL_ATTEMPT: str(attempt),
    }
    environment = pod_environment(
        job, settings, platform, role=role, index=index, attempt=attempt, gpus=gpus, own=[_plain(each) for each in own.get("env") or ()]
    )
    container = {
        "name": names.CONTAINER,
        "image": own.get("image") or settings.spec.get("image") or platform.image,
        "command": pod_command(role),
        "env": environment,
        "ports": [{"name": "status", "containerPort": names.STATUS_PORT}],
        "resources": _resources(own, gpus),
        "volumeMounts": mounts,
        "securityContext": container_security(),
        # Where the run could not write its result, the end of its log says more than nothing.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        **_probes(role, index),
    }
    if own.get("imagePullPolicy"):
        container["imagePullPolicy"] = own["imagePullPolicy"]
    spec: dict[str, Any] = {
        "hostname": name,
        "subdomain": names.service_name(job.key.name),
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": _grace_seconds(settings, role, own),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": pod_security(),
        "containers": [container],
        "volumes": volumes,
        **placement.spec,
    }
    for field in ("serviceAccountName", "runtimeClassName"):
        if own.get(field):
            spec[field] = own[field]
    if own.get("imagePullSecrets"):
        spec["imagePullSecrets"] = [dict(each) for each in own["imagePullSecrets"]]
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": job.key.namespace,
        "labels": labels,
        "ownerReferences": owner_references(job),
    }
    annotations = {**(own.get("annotations") or {}), **placement.annotations}
    if annotations:
        metadata["annotations"] = annotations
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _grace_seconds(settings: JobSettings, role: Role, own: Mapping[str, Any]) -> int:
    """A trainer must be able to finish what it does and to write a checkpoint, which takes long for a large model."""
    given = own.get("terminationGracePeriodSeconds")
    if given is not None:
        return int(given)
    if role == "rollout":
        return SHORTEST
    model = part(settings.spec, "model")
    holds_reference = bool(part(settings.spec, "algorithm").get("kl")) and part(model, "reference").get("enabled") is not False
    return grace_seconds(parameters_by_name(str(model.get("path") or "")), model.get("dtype") or "bfloat16", reference=holds_reference)


def _resources(own: Mapping[str, Any], gpus: int) -> dict[str, dict[str, str]]:
    written = part(own, "resources")
    resources = {kind: dict(written.get(kind) or {}) for kind in ("requests", "limits")}
    if gpus:
        name = own.get("gpuResourceName") or "nvidia.com/gpu"
        for amounts in resources.values():
            amounts[name] = str(gpus)
    return {kind: amounts for kind, amounts in resources.items() if amounts}


def _probes(role: Role, index: int) -> dict[str, Any]:
    """Trainers beside the first serve nothing. That a trainer stands still, the deadlines of its stages find; for rollout pods, which have
    none, a process that has not answered for ten minutes is taken for dead."""
    if role == "trainer" and index > 0:
        return {}
    asked: dict[str, Any] = {"httpGet": {"path": "/healthz", "port": "status"}, "timeoutSeconds": 5}
    # A rollout pod that waits for the next head is not ready, and not dead either.
    ready = {**asked, "httpGet": {**asked["httpGet"], "path": "/readyz" if role == "rollout" else "/healthz"}}
    probes: dict[str, Any] = {"readinessProbe": {**ready, "periodSeconds": 5, "failureThreshold": 3}}
    if role == "rollout":
        # Until it is ready for the first time, an engine loads its weights: the start has an hour.
        probes["startupProbe"] = {**asked, "periodSeconds": 10, "failureThreshold": 360}
        probes["livenessProbe"] = {**asked, "periodSeconds": 30, "failureThreshold": 20}
    return probes


def _plain(value: Any) -> Any:
    """Without the nulls that a dumped model has."""
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items() if inner is not None}
    return value
