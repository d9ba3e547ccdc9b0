"""Slim records of what the operator watches: a few hundred bytes an object instead of the whole body.

Watch caches hold them, `plan` reads them, and nothing else of an object is remembered. Times are Unix seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from reasonrl.api.names import Role

PodPhase = Literal["Pending", "Running", "Succeeded", "Failed", "Unknown"]


@dataclass(frozen=True, slots=True)
class JobKey:
    namespace: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """One ReasoningRLJob. `spec` and `status` are the objects as the API server holds them."""

    key: JobKey
    uid: str
    generation: int
    resource_version: str
    created: float
    deleting: bool
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    spec: Mapping[str, Any]
    status: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class PodRecord:
    """One pod of a job.

    `ended`, `exit_code`, `reason` (`OOMKilled`, `Error`, `Completed`, `Evicted`, …) and `message` (the termination message) are of the
    main container's last end, None and "" while it runs. `waiting` is the reason a container cannot start (`ImagePullBackOff`, …) and
    `unschedulable` what the scheduler says. `disrupted` says that something outside (a drain, a preemption, the node's loss) ends it.
    `gated` says that something, such as a queue, keeps it from the scheduler; `placed` is when it got its node.
    """

    namespace: str
    name: str
    uid: str
    resource_version: str
    job: str
    job_uid: str
    role: Role
    index: int
    attempt: int
    template: str
    created: float
    deleting: bool
    phase: PodPhase
    ready: bool
    scheduled: bool
    unschedulable: str
    waiting: str
    waiting_message: str
    node: str
    address: str
    started: float | None
    ended: float | None
    exit_code: int | None
    reason: str
    message: str
    disrupted: bool
    gated: bool = False
    placed: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectRecord:
    """Another child of a job: Service, ConfigMap, Secret, NetworkPolicy, PodGroup. `content` is a hash of what was asked for, kept in the
    label of the template; `data` is a ConfigMap's, and empty for the others."""

    kind: str
    namespace: str
    name: str
    uid: str
    job_uid: str
    content: str
    deleting: bool
    data: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Children:
    """Everything of one job that the caches hold. Whatever carries the job's name but another job's UID is in `strangers`."""

    pods: tuple[PodRecord, ...] = ()
    objects: tuple[ObjectRecord, ...] = ()
    strangers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The last answer of trainer-0's /status: `seen` is when it came by our clock, `at` the same by a clock that is never set, `told` when
    it was given by the pod's, where it says."""

    pod_uid: str
    seen: float
    body: Mapping[str, Any]
    told: float | None = None
    at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """All that `plan` may know. `now` is Unix seconds.

    `runtime` is the spec of the blueprint that the job names and `runtime_version` its resource version, where it exists;
    `runtime_forbidden` says that the operator may not look.
    """

    job: JobRecord
    children: Children
    progress: Progress | None
    runtime: Mapping[str, Any] | None
    now: float
    runtime_version: str | None = None
    runtime_forbidden: bool = False
