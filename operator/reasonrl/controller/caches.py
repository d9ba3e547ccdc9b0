"""All that the operator knows of the cluster, in one place: a store for each kind, and what is gathered from them for one job."""

from __future__ import annotations

from dataclasses import dataclass, field

from reasonrl.controller import kinds
from reasonrl.controller.kinds import Kind
from reasonrl.controller.object_record import parse_config_map, parse_job, parse_object, same_job, same_object
from reasonrl.controller.pod_record import parse_pod, same_pod
from reasonrl.controller.records import Children, JobKey, JobRecord, ObjectRecord, PodRecord, Progress
from reasonrl.controller.store import Store

_STRANGER_SECONDS = 20.0


def _object_stores() -> dict[Kind, Store[ObjectRecord]]:
    stores = {kind: Store(parse_object(kind.kind), same_object) for kind in kinds.CHILD_KINDS if kind is not kinds.POD}
    stores[kinds.CONFIG_MAP] = Store(parse_config_map, same_object)
    return stores


@dataclass(slots=True)
class Caches:
    """`progress` is by the job's UID. `refused` are names of a job that an object of somebody else holds, found when a create was refused:
    such an object need not carry our labels, so that no watch shows it. They count until the time given, and are then tried again."""

    jobs: Store[JobRecord] = field(default_factory=lambda: Store(parse_job, same_job))
    pods: Store[PodRecord] = field(default_factory=lambda: Store(parse_pod, same_pod))
    objects: dict[Kind, Store[ObjectRecord]] = field(default_factory=_object_stores)
    progress: dict[str, Progress] = field(default_factory=dict)
    refused: dict[JobKey, dict[str, float]] = field(default_factory=dict)

    def store_of(self, kind: Kind) -> Store[PodRecord] | Store[ObjectRecord]:
        return self.pods if kind is kinds.POD else self.objects[kind]

    def children(self, job: JobRecord, *, now: float) -> Children:
        """The job's own children, and the names of those that carry its name but belong to another."""
        pods, objects, strangers = [], [], []
        for pod in self.pods.of_job(job.key):
            if pod.job_uid == job.uid:
                pods.append(pod.record)
            else:
                strangers.append(pod.name)
        for store in self.objects.values():
            for child in store.of_job(job.key):
                if child.job_uid == job.uid:
                    objects.append(child.record)
                else:
                    strangers.append(child.name)
        strangers += [name for name, until in self.refused.get(job.key, {}).items() if until > now and name not in strangers]
        return Children(pods=tuple(pods), objects=tuple(objects), strangers=tuple(strangers))

    def refuse(self, job: JobKey, name: str, *, now: float) -> None:
        self.refused.setdefault(job, {})[name] = now + _STRANGER_SECONDS

    def kind_holding(self, job: JobKey, kind: str, uid: str) -> Kind:
        """Which of the APIs that know a kind of that name (PodGroup has two) the child came from."""
        found = [candidate for candidate in kinds.CHILD_KINDS if candidate.kind == kind]
        if not found:
            raise KeyError(f"jobs have no children of kind {kind}")
        for candidate in found:
            if any(entry.uid == uid for entry in self.store_of(candidate).of_job(job)):
                return candidate
        return found[0]

    def forget(self, job: JobKey, uid: str | None) -> None:
        """The job is gone; its children go by the garbage collector."""
        self.refused.pop(job, None)
        if uid is not None:
            self.progress.pop(uid, None)
