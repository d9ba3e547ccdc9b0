"""The environment of the job's pods: who they are, where the others are, the token of their Ray cluster, and what the job adds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reasonrl.api import names
from reasonrl.api.names import Role
from reasonrl.controller.records import JobRecord
from reasonrl.controller.settings import JobSettings, Platform

TOKEN_KEY = "token"
_CACHES = {
    # The root file system is read-only: whatever wants to write finds a place in /tmp. A job may say otherwise.
    "HOME": "/tmp",
    "XDG_CACHE_HOME": "/tmp/.cache",
    "HF_HOME": "/tmp/.cache/huggingface",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
}


def host_of(job: JobRecord, role: Role, index: int, platform: Platform) -> str:
    """The stable name by which the job's other pods reach one."""
    pod = names.pod_name(job.key.name, role, index)
    return f"{pod}.{names.service_name(job.key.name)}.{job.key.namespace}.svc.{platform.cluster_domain}"


def pod_environment(
    job: JobRecord,
    settings: JobSettings,
    platform: Platform,
    *,
    role: Role,
    index: int,
    attempt: int,
    gpus: int,
    own: list[Mapping[str, Any]],
) -> list[dict[str, Any]]:
    """`own` is what the job gives the role; names that are the operator's stay the operator's."""
    ours: dict[str, str] = {
        "REASONRL_JOB": job.key.name,
        "REASONRL_NAMESPACE": job.key.namespace,
        "REASONRL_ROLE": role,
        "REASONRL_INDEX": str(index),
        "REASONRL_ATTEMPT": str(attempt),
        "REASONRL_TRAINERS": str(settings.trainers),
        "REASONRL_GPUS": str(gpus),
        "REASONRL_HEAD": host_of(job, "trainer", 0, platform),
        "REASONRL_HOST": host_of(job, role, index, platform),
        "REASONRL_STATUS_PORT": str(names.STATUS_PORT),
        "REASONRL_CHECKPOINTS": names.CHECKPOINT_DIRECTORY,
        "REASONRL_CONTROL": f"{names.CONFIG_DIRECTORY}/{names.CONFIG_CONTROL_FILE}",
        "RAY_AUTH_MODE": "token",
    }
    secret = {"secretKeyRef": {"name": names.token_name(job.key.name), "key": TOKEN_KEY}}
    fixed: list[dict[str, Any]] = [
        *({"name": name, "value": value} for name, value in ours.items()),
        {"name": "REASONRL_ADDRESS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "RAY_AUTH_TOKEN", "valueFrom": secret},
    ]
    taken = {each["name"] for each in fixed}
    given = [dict(each) for each in own if each.get("name") not in taken]
    named = {each["name"] for each in given}
    caches = [{"name": name, "value": value} for name, value in _CACHES.items() if name not in named]
    return [*caches, *given, *fixed]
