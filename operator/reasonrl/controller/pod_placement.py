"""Where the job's pods may run: the job's own rules, nearness of the gang, distance between pods of a role, and the gang's scheduler."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reasonrl.api import names
from reasonrl.api.names import Role
from reasonrl.controller.kueue import group_annotations, group_labels, queue_labels
from reasonrl.controller.records import JobRecord
from reasonrl.controller.settings import JobSettings, Platform, part


@dataclass(frozen=True, slots=True)
class Placement:
    """Fields of the pod's spec, and labels and annotations by which a scheduler finds the gang."""

    spec: dict[str, Any]
    labels: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)


def pod_placement(
    job: JobRecord, settings: JobSettings, platform: Platform, *, role: Role, attempt: int, own: Mapping[str, Any]
) -> Placement:
    scheduling = part(settings.spec, "scheduling")
    spec: dict[str, Any] = {}
    if own.get("nodeSelector"):
        spec["nodeSelector"] = dict(own["nodeSelector"])
    if own.get("tolerations"):
        spec["tolerations"] = [{key: value for key, value in each.items() if value is not None} for each in own["tolerations"]]
    affinity = _affinity(job, role, scheduling, own)
    if affinity:
        spec["affinity"] = affinity
    if scheduling.get("priorityClassName"):
        spec["priorityClassName"] = scheduling["priorityClassName"]
    group = names.pod_group_name(job.key.name)
    if settings.gang == "Volcano":
        spec["schedulerName"] = platform.volcano_scheduler
        annotations = {"scheduling.k8s.io/group-name": group} if role == "trainer" else {}
        if settings.queue and role == "rollout":
            annotations["scheduling.volcano.sh/queue-name"] = settings.queue
        return Placement(spec, annotations=annotations)
    if settings.gang == "Coscheduling":
        spec["schedulerName"] = platform.coscheduler
        return Placement(spec, labels={"scheduling.x-k8s.io/pod-group": group} if role == "trainer" else {})
    if settings.gang == "Kueue" and settings.queue:
        labels = queue_labels(settings.queue)
        if role == "rollout":
            return Placement(spec, labels=labels)
        return Placement(spec, labels | group_labels(job.key.name, attempt), group_annotations(settings.trainers))
    return Placement(spec)


def _affinity(job: JobRecord, role: Role, scheduling: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    affinity: dict[str, Any] = copy.deepcopy(dict(own.get("affinity") or {}))
    like = {"labelSelector": {"matchLabels": {names.LABEL_JOB_UID: job.uid, names.LABEL_ROLE: role}}}
    required, preferred = "requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution"
    key = scheduling.get("topologyKey")
    if key and role == "trainer":
        _append(affinity, "podAffinity", required, {**like, "topologyKey": key})
    apart = {**like, "topologyKey": "kubernetes.io/hostname"}
    if scheduling.get("spread") == "Required":
        _append(affinity, "podAntiAffinity", required, apart)
    elif scheduling.get("spread") == "Preferred":
        _append(affinity, "podAntiAffinity", preferred, {"weight": 100, "podAffinityTerm": apart})
    return affinity


def _append(affinity: dict[str, Any], kind: str, when: str, term: dict[str, Any]) -> None:
    """The job's own terms stay."""
    rules = affinity[kind] = dict(affinity.get(kind) or {})
    rules[when] = [*(rules.get(when) or ()), term]
