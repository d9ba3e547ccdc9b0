"""The contract: one `ReasoningRLJob`, the same on a laptop and on a cluster.

The smallest job names a model, data, a reward and a phase; everything else has a default:

    apiVersion: reasonrl.dev/v1alpha1
    kind: ReasoningRLJob
    metadata: {name: first}
    spec:
      model: {path: hf://Qwen/Qwen2.5-1.5B}
      data: {train: [{path: questions.jsonl}]}
      rewards: [{type: answer}]
      phases: [{name: ctx-2k, maxResponseTokens: 2048, until: {steps: 200}}]
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from reasonrl.api.algorithm_spec import AlgorithmSpec
from reasonrl.api.checkpoint_spec import CheckpointSpec
from reasonrl.api.contract_model import ContractModel, DurationSeconds, NonNegativeCount, Seed
from reasonrl.api.data_spec import DataSpec
from reasonrl.api.evaluation_spec import EvaluationSpec
from reasonrl.api.failure_policy_spec import FailurePolicySpec
from reasonrl.api.lifecycle_spec import Metadata, RuntimeReference
from reasonrl.api.model_spec import ModelSpec
from reasonrl.api.network_spec import NetworkSpec
from reasonrl.api.phase_spec import PhaseSpec
from reasonrl.api.pod_spec import Image, PodsSpec, VolumeMount
from reasonrl.api.prompt_spec import PromptSpec
from reasonrl.api.reward_spec import Reward
from reasonrl.api.rollout_spec import RolloutSpec
from reasonrl.api.scheduling_spec import SchedulingSpec
from reasonrl.api.selection_spec import SelectionRule
from reasonrl.api.sft_spec import SftSpec
from reasonrl.api.telemetry_spec import TelemetrySpec
from reasonrl.api.trainer_spec import TrainerSpec

API_VERSION = "reasonrl.dev/v1alpha1"
KIND = "ReasoningRLJob"


class JobSpec(ContractModel):
    """What to train, on what, and how."""

    runtime_ref: RuntimeReference | None = Field(
        default=None, description="A platform team's blueprint: what the job does not say is taken from it. On a cluster. Null is none."
    )
    suspend: bool = Field(
        default=False,
        description="Whether the job waits without pods. Set while it runs, it saves a checkpoint and gives its GPUs back; unset, it goes "
        "on at the same step. On a cluster.",
    )
    seed: Seed = Field(default=42, description="Every random choice of the run follows from it.")
    model: ModelSpec = Field(description="The policy to train.")
    prompt: PromptSpec = Field(default_factory=PromptSpec, description="How a question becomes a prompt.")
    data: DataSpec = Field(description="The questions to train on.")
    sft: SftSpec | None = Field(default=None, description="A supervised warm start before reinforcement learning. Null is none.")
    algorithm: AlgorithmSpec = Field(default_factory=AlgorithmSpec, description="How a step learns.")
    rewards: Annotated[tuple[Reward, ...], Field(min_length=1, max_length=16)] = Field(
        description="What a response is paid for: the sum of weight × value, multiplied by every gate."
    )
    selection: Annotated[tuple[SelectionRule, ...], Field(max_length=16)] = Field(
        default=(),
        description="Rules that take responses out of the group statistics or the gradient, in order (STILL-3 §4.2). How many each leaves "
        "is a metric; a step of which nothing is left makes no update.",
    )
    phases: Annotated[tuple[PhaseSpec, ...], Field(min_length=1, max_length=64)] = Field(
        description="The stages of the run, in order; maxResponseTokens never falls (STILL-3 §3.2)."
    )
    rollout: RolloutSpec = Field(default_factory=RolloutSpec, description="The engines that sample responses.")
    trainer: TrainerSpec = Field(default_factory=TrainerSpec, description="The engine that learns.")
    evaluation: EvaluationSpec = Field(default_factory=EvaluationSpec, description="Held-out accuracy while the run goes on.")
    checkpoint: CheckpointSpec = Field(default_factory=CheckpointSpec, description="When a run is saved, and which checkpoints stay.")
    telemetry: TelemetrySpec = Field(default_factory=TelemetrySpec, description="What a run tells while it goes on.")
    image: Image | None = Field(default=None, description="Image of all pods. On a cluster. Null is that of the operator's settings.")
    pods: PodsSpec = Field(
        default_factory=PodsSpec, description="Images, resources, placement and environment of the pods, by role. On a cluster."
    )
    volumes: Annotated[tuple[VolumeMount, ...], Field(max_length=16)] = Field(
        default=(), description="PersistentVolumeClaims that every pod mounts: models, data, reward files. On a cluster."
    )
    network: NetworkSpec = Field(default_factory=NetworkSpec, description="Whom the pods may speak to. On a cluster.")
    scheduling: SchedulingSpec = Field(default_factory=SchedulingSpec, description="Queue, priority, gang and nearness. On a cluster.")
    failure_policy: FailurePolicySpec = Field(
        default_factory=FailurePolicySpec, description="Restarts and their budgets, deadlines, and answers to bad health. On a cluster."
    )
    ttl_seconds_after_finished: Annotated[NonNegativeCount, Field(le=315_360_000)] | None = Field(
        default=None, description="The job and what belongs to it is deleted so many seconds after it ended. On a cluster. Null is never."
    )
    active_deadline_seconds: DurationSeconds | None = Field(
        default=None,
        description="The job fails, after a last checkpoint, so many seconds after it started; time suspended does not count. On a "
        "cluster. Null is no limit.",
    )


class ReasoningRLJob(ContractModel):
    """Reinforcement learning of a reasoning model, as one object."""

    api_version: Literal["reasonrl.dev/v1alpha1"] = Field(description="reasonrl.dev/v1alpha1.")
    kind: Literal["ReasoningRLJob"] = Field(description="ReasoningRLJob.")
    metadata: Metadata = Field(description="Name and labels.")
    spec: JobSpec = Field(description="What to train, on what, and how.")

    def dumped(self) -> dict[str, object]:
        """The resolved job, defaults and all, as YAML holds it: `parse_job(job.dumped()) == job`."""
        return self.model_dump(mode="json", by_alias=True)
