"""Slim records of jobs and of their children other than pods, from the JSON of the API server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from sys import intern
from typing import Any

from reasonrl.api import names
from reasonrl.controller.records import JobKey, JobRecord, ObjectRecord
from reasonrl.controller.store import Entry, revision_of


def unix_time(text: str | None) -> float | None:
    """Seconds of a Kubernetes timestamp; None for none, or for something that is not one."""
    if not text:
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def owner_uid(metadata: Mapping[str, Any]) -> str:
    """The UID of the job that controls the object; where no controller is recorded, the one in its label."""
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("controller"):
            return intern(str(owner.get("uid") or ""))
    return intern(str((metadata.get("labels") or {}).get(names.LABEL_JOB_UID) or ""))


def parse_job(body: Mapping[str, Any]) -> Entry[JobRecord]:
    metadata = body["metadata"]
    key = JobKey(intern(str(metadata["namespace"])), intern(str(metadata["name"])))
    uid = intern(str(metadata["uid"]))
    record = JobRecord(
        key=key,
        uid=uid,
        generation=int(metadata.get("generation") or 0),
        resource_version=str(metadata["resourceVersion"]),
        created=unix_time(metadata.get("creationTimestamp")) or 0.0,
        deleting="deletionTimestamp" in metadata,
        labels=metadata.get("labels") or {},
        annotations=_own_annotations(metadata),
        spec=body.get("spec") or {},
        status=body.get("status") or {},
    )
    return Entry(
        job=key, job_uid=uid, namespace=key.namespace, name=key.name, uid=uid, revision=revision_of(record.resource_version), record=record
    )


def _own_annotations(metadata: Mapping[str, Any]) -> dict[str, str]:
    # kubectl keeps a copy of the whole job in an annotation: nobody needs it twice in memory.
    found = metadata.get("annotations") or {}
    return {name: value for name, value in found.items() if not name.startswith("kubectl.kubernetes.io/")}


def same_job(one: JobRecord, other: JobRecord) -> bool:
    return one == replace(other, resource_version=one.resource_version)


def parse_object(kind: str) -> Callable[[Mapping[str, Any]], Entry[ObjectRecord] | None]:
    """The parser of a kind whose objects are known by their metadata."""

    def parse(body: Mapping[str, Any]) -> Entry[ObjectRecord] | None:
        return _entry(kind, body, {})

    return parse


def parse_config_map(body: Mapping[str, Any]) -> Entry[ObjectRecord] | None:
    return _entry("ConfigMap", body, body.get("data") or {})


def _entry(kind: str, body: Mapping[str, Any], data: Mapping[str, str]) -> Entry[ObjectRecord] | None:
    metadata = body["metadata"]
    labels = metadata.get("labels") or {}
    job = labels.get(names.LABEL_JOB)
    if not job or labels.get(names.LABEL_MANAGED_BY) != names.MANAGED_BY:
        return None
    namespace = intern(str(metadata["namespace"]))
    record = ObjectRecord(
        kind=kind,
        namespace=namespace,
        name=str(metadata["name"]),
        uid=str(metadata["uid"]),
        job_uid=owner_uid(metadata),
        content=intern(str(labels.get(names.LABEL_TEMPLATE) or "")),
        deleting="deletionTimestamp" in metadata,
        data=data,
    )
    return Entry(
        job=JobKey(namespace, intern(str(job))),
        job_uid=record.job_uid,
        namespace=namespace,
        name=record.name,
        uid=record.uid,
        revision=revision_of(str(metadata["resourceVersion"])),
        record=record,
    )


def same_object(one: ObjectRecord, other: ObjectRecord) -> bool:
    return one == other
