"""The volumes of the job's pods, and where they are mounted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reasonrl.api import names
from reasonrl.api.names import Role
from reasonrl.controller.records import JobRecord
from reasonrl.controller.settings import JobSettings, part

SHARED_MEMORY = "1Gi"
"""A container's usual 64 MiB are too few for NCCL and for the object store of Ray."""


def pod_volumes(
    job: JobRecord, settings: JobSettings, *, role: Role, shared_memory: str | None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Volumes of the pod, and mounts of its container."""
    volumes: list[dict[str, Any]] = [
        {
            "name": "config",
            # The whole directory and no subPath: only so do live edits reach a running pod.
            "configMap": {
                "name": names.config_name(job.key.name),
                "items": [{"key": key, "path": key} for key in (names.CONFIG_JOB_FILE, names.CONFIG_CONTROL_FILE)],
            },
        },
        {"name": "tmp", "emptyDir": {}},
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": shared_memory or SHARED_MEMORY}},
    ]
    mounts: list[dict[str, Any]] = [
        {"name": "config", "mountPath": names.CONFIG_DIRECTORY, "readOnly": True},
        {"name": "tmp", "mountPath": "/tmp"},
        {"name": "shm", "mountPath": "/dev/shm"},
    ]
    if role == "trainer":
        volumes.append({"name": "checkpoints", **_checkpoints(settings)})
        mounts.append({"name": "checkpoints", "mountPath": names.CHECKPOINT_DIRECTORY})
    for number, volume in enumerate(settings.spec.get("volumes") or ()):
        name, read_only = f"volume-{number}", volume.get("readOnly", True)
        volumes.append({"name": name, "persistentVolumeClaim": {"claimName": volume["claimName"], "readOnly": read_only}})
        mounts.append({"name": name, "mountPath": volume["mountPath"], "readOnly": read_only})
    return volumes, mounts


def keeps_checkpoints(settings: JobSettings) -> bool:
    """Whether checkpoints outlive the pod that wrote them."""
    return bool(part(part(settings.spec, "checkpoint"), "volume"))


def _checkpoints(settings: JobSettings) -> dict[str, Any]:
    volume: Mapping[str, Any] = part(part(settings.spec, "checkpoint"), "volume")
    return {"persistentVolumeClaim": {"claimName": volume["claimName"]}} if volume else {"emptyDir": {}}
