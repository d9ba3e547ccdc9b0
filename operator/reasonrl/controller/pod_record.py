"""The slim record of a pod: of five thousand bytes of JSON, the two dozen values that decide what happens to a job."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from sys import intern
from typing import Any, cast

from reasonrl.api import names
from reasonrl.controller.kueue import STOPPED
from reasonrl.controller.object_record import owner_uid, unix_time
from reasonrl.controller.records import JobKey, PodPhase, PodRecord
from reasonrl.controller.store import Entry, revision_of

_PHASES = frozenset({"Pending", "Running", "Succeeded", "Failed"})
_STARTING = frozenset({"ContainerCreating", "PodInitializing"})
"""Reasons to wait that pass by themselves."""
_DISRUPTIONS = frozenset({"Preempting", "NodeLost", "NodeShutdown", "Shutdown", "Terminated"})
"""Reasons of a pod's end for which nothing in the pod is to blame. Where a condition says so as well, the condition decides."""


def parse_pod(body: Mapping[str, Any]) -> Entry[PodRecord] | None:
    """None for a pod whose labels do not say which part of which job it is."""
    metadata = body["metadata"]
    labels = metadata.get("labels") or {}
    job, role, index = labels.get(names.LABEL_JOB), labels.get(names.LABEL_ROLE), labels.get(names.LABEL_INDEX, "")
    if labels.get(names.LABEL_MANAGED_BY) != names.MANAGED_BY or not job or role not in names.ROLES or not index.isdecimal():
        return None
    spec, status = body.get("spec") or {}, body.get("status") or {}
    conditions = {condition["type"]: condition for condition in status.get("conditions") or ()}
    containers = (*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ()))
    waiting, waiting_message = _waiting(containers)
    started, ended, exit_code, reason, message = _end(status, conditions, containers)
    placed = conditions.get("PodScheduled") or {}
    namespace = intern(str(metadata["namespace"]))
    attempt = labels.get(names.LABEL_ATTEMPT, "0")
    record = PodRecord(
        namespace=namespace,
        name=str(metadata["name"]),
        uid=str(metadata["uid"]),
        resource_version=str(metadata["resourceVersion"]),
        job=intern(str(job)),
        job_uid=owner_uid(metadata),
        role=role,
        index=int(index),
        attempt=int(attempt) if attempt.isdecimal() else 0,
        template=intern(str(labels.get(names.LABEL_TEMPLATE) or "")),
        created=unix_time(metadata.get("creationTimestamp")) or 0.0,
        deleting="deletionTimestamp" in metadata,
        phase=_phase(status),
        ready=_is(conditions, "Ready"),
        scheduled=bool(spec.get("nodeName")) or placed.get("status") == "True",
        unschedulable=str(placed.get("message") or placed.get("reason")) if placed.get("reason") == "Unschedulable" else "",
        waiting=waiting,
        waiting_message=waiting_message,
        node=intern(str(spec.get("nodeName") or "")),
        address=str(status.get("podIP") or ""),
        started=started,
        ended=ended,
        exit_code=exit_code,
        reason=intern(reason),
        message=message,
        disrupted=any(_is(conditions, name) for name in ("DisruptionTarget", STOPPED))
        or (_phase(status) == "Failed" and status.get("reason") in _DISRUPTIONS),
        gated=placed.get("reason") == "SchedulingGated" and placed.get("status") != "True",
        placed=unix_time(placed.get("lastTransitionTime")) if placed.get("status") == "True" else None,
    )
    return Entry(
        job=JobKey(namespace, record.job),
        job_uid=record.job_uid,
        namespace=namespace,
        name=record.name,
        uid=record.uid,
        revision=revision_of(record.resource_version),
        record=record,
    )


def same_pod(one: PodRecord, other: PodRecord) -> bool:
    """Whether nothing changed that anybody looks at: most updates of a pod are such."""
    return one == replace(other, resource_version=one.resource_version)


def _phase(status: Mapping[str, Any]) -> PodPhase:
    phase = status.get("phase") or "Pending"
    return cast(PodPhase, intern(phase)) if phase in _PHASES else "Unknown"


def _is(conditions: Mapping[str, Mapping[str, Any]], name: str) -> bool:
    return name in conditions and conditions[name].get("status") == "True"


def _waiting(containers: tuple[Mapping[str, Any], ...]) -> tuple[str, str]:
    for container in containers:
        waiting = (container.get("state") or {}).get("waiting")
        if waiting and waiting.get("reason") and waiting["reason"] not in _STARTING:
            return intern(str(waiting["reason"])), str(waiting.get("message") or "")
    return "", ""


def _end(
    status: Mapping[str, Any], conditions: Mapping[str, Mapping[str, Any]], containers: tuple[Mapping[str, Any], ...]
) -> tuple[float | None, float | None, int | None, str, str]:
    """When the main container started and ended, with which exit code, why, and with which message."""
    main = next((container for container in containers if container.get("name") == names.CONTAINER), {})
    state = main.get("state") or {}
    if "running" in state:
        return unix_time(state["running"].get("startedAt")), None, None, "", ""
    ended = state.get("terminated") or (main.get("lastState") or {}).get("terminated")
    failed = status.get("phase") == "Failed"
    if not ended and failed:
        # The main container never ran: what kept it from running is the reason.
        ends = [(container.get("state") or {}).get("terminated") or {} for container in containers]
        ended = next((end for end in ends if end.get("exitCode")), None)
    ended = ended or {}
    # The pod's own reason (Evicted, NodeLost, DeadlineExceeded, …) says more than how its container took it.
    reason = str((status.get("reason") if failed else None) or ended.get("reason") or "")
    message = str(ended.get("message") or (status.get("message") if failed else None) or "")
    finished = unix_time(ended.get("finishedAt"))
    if finished is None and status.get("phase") in ("Succeeded", "Failed"):
        changes = [unix_time(condition.get("lastTransitionTime")) for condition in conditions.values()]
        finished = max((change for change in changes if change is not None), default=unix_time(status.get("startTime")))
    code = ended.get("exitCode")
    return unix_time(ended.get("startedAt")), finished, None if code is None else int(code), reason, message
