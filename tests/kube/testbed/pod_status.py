"""The status that a kubelet reports for a pod, as strategic merge patches: pure functions of the pod and of what happens to it.

Each patch names the pod's UID, so one that comes too late never lands on a pod of the same name made since.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from testbed.pod_script import Ending

Object = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class PodShape:
    """What of a pod's spec its status repeats."""

    namespace: str
    name: str
    uid: str
    containers: tuple[tuple[str, str], ...]
    init_containers: tuple[tuple[str, str], ...]


def shape_of(pod: Object) -> PodShape:
    metadata, spec = pod["metadata"], pod["spec"]
    return PodShape(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        containers=_names(spec["containers"]),
        init_containers=_names(spec.get("initContainers", ())),
    )


def _names(containers: Sequence[Object]) -> tuple[tuple[str, str], ...]:
    return tuple((container["name"], container.get("image", "")) for container in containers)


def running(shape: PodShape, *, address: str, ready: bool, at: float) -> Object:
    state = {"running": {"startedAt": _time(at)}}
    status = {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "hostIP": "127.0.0.1",
        "hostIPs": [{"ip": "127.0.0.1"}],
        "startTime": _time(at),
        "conditions": _conditions(initialized=True, ready=ready, at=at),
        "containerStatuses": [_container(name, image, state, ready=ready, started=True) for name, image in shape.containers],
    }
    if shape.init_containers:
        done = {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": _time(at), "finishedAt": _time(at)}}
        status["initContainerStatuses"] = [
            _container(name, image, done, ready=True, started=False) for name, image in shape.init_containers
        ]
    return _patch(shape, status)


def ready(shape: PodShape, *, is_ready: bool, at: float, reason: str = "") -> Object:
    """Only the conditions: a readiness probe's word, or the node controller's after the node is lost."""
    return _patch(shape, {"conditions": _conditions(initialized=True, ready=is_ready, at=at, reason=reason)})


def ended(shape: PodShape, *, ending: Ending, started: float, at: float) -> Object:
    terminated: Object = {"exitCode": ending.exit_code, "reason": ending.shown_reason, "startedAt": _time(started), "finishedAt": _time(at)}
    if ending.message:
        terminated["message"] = ending.message
    status: Object = {
        "phase": "Succeeded" if ending.exit_code == 0 else "Failed",
        "conditions": _conditions(initialized=True, ready=False, at=at, reason="PodCompleted" if ending.exit_code == 0 else "PodFailed"),
        "containerStatuses": [
            _container(name, image, {"terminated": terminated}, ready=False, started=False) for name, image in shape.containers
        ],
    }
    return _patch(shape, status)


def lost(shape: PodShape, *, reason: str, message: str) -> Object:
    """Failed by the control plane, which knows nothing of the containers: an eviction, a node that is gone."""
    return _patch(shape, {"phase": "Failed", "reason": reason, "message": message})


def waiting(shape: PodShape, *, reason: str, message: str, at: float) -> Object:
    state = {"waiting": {"reason": reason, "message": message}}
    status = {
        "phase": "Pending",
        "startTime": _time(at),
        "conditions": _conditions(initialized=True, ready=False, at=at, reason="ContainersNotReady"),
        "containerStatuses": [_container(name, image, state, ready=False, started=False) for name, image in shape.containers],
    }
    return _patch(shape, status)


def unschedulable(shape: PodShape, *, message: str, at: float) -> Object:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message, "lastTransitionTime": _time(at)}
    return _patch(shape, {"phase": "Pending", "conditions": [condition]})


def disrupted(shape: PodShape, *, reason: str, message: str, at: float) -> Object:
    condition = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message, "lastTransitionTime": _time(at)}
    return _patch(shape, {"conditions": [condition]})


def _patch(shape: PodShape, status: Object) -> Object:
    return {"metadata": {"uid": shape.uid}, "status": status}


def _conditions(*, initialized: bool, ready: bool, at: float, reason: str = "") -> list[Object]:
    def condition(kind: str, value: bool) -> Object:
        found: Object = {"type": kind, "status": str(value), "lastTransitionTime": _time(at)}
        return found | ({"reason": reason} if reason and not value else {})

    return [
        condition("PodReadyToStartContainers", initialized),
        condition("Initialized", initialized),
        condition("ContainersReady", ready),
        condition("Ready", ready),
    ]


def _container(name: str, image: str, state: Object, *, ready: bool, started: bool) -> Object:
    return {"name": name, "image": image, "imageID": "", "ready": ready, "started": started, "restartCount": 0, "state": state}


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
