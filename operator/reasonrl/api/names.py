"""Names by which the pieces of a job find each other on a cluster: labels, annotations, ports, files and child objects.

The operator writes them, the pods read them, the chart selects by them; so they belong to the contract.
"""

from __future__ import annotations

from typing import Literal

GROUP = "reasonrl.dev"
VERSION = "v1alpha1"
JOB_PLURAL = "reasoningrljobs"
RUNTIME_PLURAL = "reasoningrlruntimes"
CLUSTER_RUNTIME_PLURAL = "clusterreasoningrlruntimes"

Role = Literal["trainer", "rollout"]
ROLES: tuple[Role, ...] = ("trainer", "rollout")

LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGED_BY = "reasonrl"
LABEL_JOB = "reasonrl.dev/job"
LABEL_JOB_UID = "reasonrl.dev/job-uid"
LABEL_ROLE = "reasonrl.dev/role"
LABEL_INDEX = "reasonrl.dev/index"
LABEL_ATTEMPT = "reasonrl.dev/attempt"
"""Which start of its role a pod belongs to, from 0: a gang restart raises that of all trainers."""
LABEL_TEMPLATE = "reasonrl.dev/template-hash"
"""Hash of the pod as it was made; a pod whose hash is not the wanted one has an old shape."""

ANNOTATION_ADVANCE = "reasonrl.dev/advance-to"
"""On a job: the name of the phase with `advance: Manual` that may now be entered."""
ANNOTATION_ROLLBACK = "reasonrl.dev/rollback-to"
"""On a job: the step of a kept checkpoint to go on from."""

CONTAINER = "main"
STATUS_PORT = 8471
"""Port on which trainer-0 serves /status, /metrics and /healthz, and a rollout pod /healthz."""

CONFIG_DIRECTORY = "/etc/reasonrl"
CONFIG_JOB_FILE = "job.yaml"
"""The resolved job: what runs. The operator rewrites it for live edits."""
CONFIG_CONTROL_FILE = "control.json"
"""What a person asked for: `{"advanceTo": name or null, "rollbackTo": step or null}`."""
CHECKPOINT_DIRECTORY = "/checkpoints"


def pod_name(job: str, role: Role, index: int) -> str:
    return f"{job}-{role}-{index}"


def service_name(job: str) -> str:
    """The headless Service, which gives each pod the name `<pod>.<job>.<namespace>.svc`."""
    return job


def config_name(job: str) -> str:
    return f"{job}-config"


def token_name(job: str) -> str:
    """The Secret with the Ray token."""
    return f"{job}-token"


def network_policy_name(job: str) -> str:
    return job


def pod_group_name(job: str) -> str:
    return job
