"""Blueprints: what a platform team says once for many jobs, and how a job and its blueprint become one spec.

A `ReasoningRLRuntime` (for one namespace) or `ClusterReasoningRLRuntime` (for all) holds part of a job's spec. The job wins: objects are
merged field by field, whatever the job says replaces what the blueprint says, and lists are replaced whole. A null in the job is as if the
field were not written. The operator resolves a job once, when it admits it, and keeps the result; later edits of the blueprint reach new
jobs only.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from reasonrl.api.checkpoint_spec import CheckpointSpec
from reasonrl.api.contract_model import ContractModel, DurationSeconds, NonNegativeCount
from reasonrl.api.failure_policy_spec import FailurePolicySpec
from reasonrl.api.job import API_VERSION, KIND, ReasoningRLJob
from reasonrl.api.lifecycle_spec import Metadata
from reasonrl.api.network_spec import NetworkSpec
from reasonrl.api.parse import parse_job
from reasonrl.api.pod_spec import Image, PodsSpec, VolumeMount
from reasonrl.api.problems import JobError
from reasonrl.api.rollout_spec import RolloutSpec
from reasonrl.api.scheduling_spec import SchedulingSpec
from reasonrl.api.telemetry_spec import TelemetrySpec
from reasonrl.api.trainer_spec import TrainerSpec
from reasonrl.api.validation.cluster_paths import cluster_path_problems

RUNTIME_KIND = "ReasoningRLRuntime"
CLUSTER_RUNTIME_KIND = "ClusterReasoningRLRuntime"


class RuntimeSpec(ContractModel):
    """Part of a job's spec. What is not written here is left to the job, and then to the defaults."""

    image: Image | None = Field(default=None, description="Image of all pods.")
    pods: PodsSpec | None = Field(default=None, description="Images, resources, placement and environment of the pods, by role.")
    volumes: Annotated[tuple[VolumeMount, ...], Field(max_length=16)] | None = Field(
        default=None, description="PersistentVolumeClaims that every pod mounts. A job that lists volumes replaces them all."
    )
    network: NetworkSpec | None = Field(default=None, description="Whom the pods may speak to.")
    scheduling: SchedulingSpec | None = Field(default=None, description="Queue, priority, gang and nearness.")
    failure_policy: FailurePolicySpec | None = Field(default=None, description="Restarts and their budgets, and answers to bad health.")
    rollout: RolloutSpec | None = Field(default=None, description="The engines that sample responses.")
    trainer: TrainerSpec | None = Field(default=None, description="The engine that learns.")
    checkpoint: CheckpointSpec | None = Field(default=None, description="When a run is saved, and which checkpoints stay.")
    telemetry: TelemetrySpec | None = Field(default=None, description="What a run tells while it goes on.")
    ttl_seconds_after_finished: Annotated[NonNegativeCount, Field(le=315_360_000)] | None = Field(
        default=None, description="A job and what belongs to it is deleted so many seconds after it ended."
    )
    active_deadline_seconds: DurationSeconds | None = Field(
        default=None, description="A job fails so many seconds after it started, after a last checkpoint."
    )


class ReasoningRLRuntime(ContractModel):
    """A blueprint for the jobs of its namespace: the part of their spec that is the platform's and not the experiment's."""

    api_version: Literal["reasonrl.dev/v1alpha1"] = Field(description="reasonrl.dev/v1alpha1.")
    kind: Literal["ReasoningRLRuntime"] = Field(description="ReasoningRLRuntime.")
    metadata: Metadata = Field(description="Name and labels.")
    spec: RuntimeSpec = Field(description="Part of a job's spec: what jobs that name this blueprint do not say themselves.")


class ClusterReasoningRLRuntime(ContractModel):
    """A blueprint for the jobs of all namespaces: the part of their spec that is the platform's and not the experiment's."""

    api_version: Literal["reasonrl.dev/v1alpha1"] = Field(description="reasonrl.dev/v1alpha1.")
    kind: Literal["ClusterReasoningRLRuntime"] = Field(description="ClusterReasoningRLRuntime.")
    metadata: Metadata = Field(description="Name and labels.")
    spec: RuntimeSpec = Field(description="Part of a job's spec: what jobs that name this blueprint do not say themselves.")


def resolve(job: Mapping[str, object], runtime_spec: Mapping[str, object] | None) -> dict[str, object]:
    """The job with its blueprint's spec filled in, as a mapping for `parse_job`; neither argument is changed.

    Objects are merged field by field, the job's fields win, lists are replaced whole, and null is as good as absent on both sides.
    """
    resolved = _without_nulls(job)
    spec = resolved.get("spec")
    if runtime_spec and isinstance(spec, dict):
        resolved["spec"] = _merged(_without_nulls(runtime_spec), spec)
    return resolved


def admitted_job(
    *, name: str, namespace: str, spec: Mapping[str, object], runtime_spec: Mapping[str, object] | None = None
) -> ReasoningRLJob:
    """A job of the cluster with its blueprint, checked as a whole. Raises JobError with every problem."""
    return admit({"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name, "namespace": namespace}, "spec": spec}, runtime_spec)


def admit(job: Mapping[str, object], runtime_spec: Mapping[str, object] | None) -> ReasoningRLJob:
    """A job as it was written, with its blueprint, checked as the operator checks it. Raises JobError with every problem."""
    admitted = parse_job(resolve(job, runtime_spec))
    problems = list(cluster_path_problems(admitted.spec))
    if problems:
        raise JobError(problems)
    return admitted


def _merged(under: Mapping[str, object], over: Mapping[str, object]) -> dict[str, object]:
    merged = dict(under)
    for key, value in over.items():
        below = under.get(key)
        merged[key] = _merged(below, value) if isinstance(below, Mapping) and isinstance(value, Mapping) else value
    return merged


def _without_nulls(mapping: Mapping[str, object]) -> dict[str, object]:
    return {
        key: _without_nulls(value) if isinstance(value, Mapping) else copy.deepcopy(value)
        for key, value in mapping.items()
        if value is not None
    }
