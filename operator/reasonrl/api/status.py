"""The status of a `ReasoningRLJob`: what the operator saw, written for `kubectl get` and `kubectl describe`, and nothing that it needs to
remember beyond the attempts it has counted.

The operator fills it as a plain mapping; these models are its schema, from which the CRD is made. Every field may be absent.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

MOST_CHECKPOINTS = 64
"""Newest kept checkpoints that a status lists."""
LONGEST_MESSAGE = 4096
"""Characters of a message in a status."""
LONGEST_REASON = 1024

Summary = Literal["Pending", "Starting", "Running", "Paused", "Suspended", "Restarting", "Stalled", "Succeeded", "Failed"]

Time = Annotated[str, Field(max_length=40, json_schema_extra={"format": "date-time"})]
Count = Annotated[int, Field(ge=0, le=2**31 - 1)]
Message = Annotated[str, Field(max_length=LONGEST_MESSAGE)]
Name = Annotated[str, Field(max_length=253)]
Number = Annotated[float, Field(ge=-1e12, le=1e12)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


class _StatusPart(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True, allow_inf_nan=False, protected_namespaces=()
    )


class Condition(_StatusPart):
    """One condition, as Kubernetes' metav1.Condition."""

    type: Annotated[str, Field(min_length=1, max_length=316, pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_./]*[A-Za-z0-9])?$")] = Field(
        description="What it is about: Admitted, TrainersReady, RolloutsReady, Progressing, CheckpointSaved, RewardHealthy, LengthHealthy, "
        "KLWithinTarget, Suspended, Stalled, or Succeeded, which sums the job up."
    )
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    reason: Annotated[str, Field(min_length=1, max_length=LONGEST_REASON, pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$")] = Field(
        description="Why, as one stable CamelCase word."
    )
    message: Annotated[str, Field(max_length=LONGEST_MESSAGE)] = Field(description="Why, as a sentence.")
    last_transition_time: Time = Field(description="When status last changed.")
    observed_generation: Annotated[int, Field(ge=0, le=2**53)] | None = Field(
        default=None, description="Generation of the job that it was judged by."
    )


class PhaseEntered(_StatusPart):
    """A phase that the run has entered."""

    name: Name = Field(description="Name of the phase.")
    entered_at_step: Count | None = Field(default=None, description="Global step at which it began.")
    time: Time | None = Field(default=None, description="When it began.")


class ResponseLength(_StatusPart):
    """Response lengths of the last step, in tokens."""

    mean: Number | None = Field(default=None, description="Mean, in tokens.")
    p95: Number | None = Field(default=None, description="95th percentile, in tokens.")


class Checkpoint(_StatusPart):
    """A complete checkpoint that is kept."""

    step: Count = Field(description="Global step that it goes on from.")
    time: Time | None = Field(default=None, description="When it was complete.")
    healthy: bool | None = Field(default=None, description="Whether a rollback may go back to it.")


class ResolvedRuntime(_StatusPart):
    """The blueprint as it was when the job took it in."""

    kind: Name | None = Field(default=None, description="ClusterReasoningRLRuntime or ReasoningRLRuntime.")
    name: Name | None = Field(default=None, description="Name of the blueprint.")
    resource_version: Annotated[str, Field(max_length=64)] | None = Field(
        default=None, description="Its resourceVersion at that time; later edits of it do not reach this job."
    )


class Trainers(_StatusPart):
    """Trainer pods, by number."""

    desired: Count | None = Field(default=None, description="Wanted.")
    created: Count | None = Field(default=None, description="That exist.")
    ready: Count | None = Field(default=None, description="That are ready.")


class Rollouts(_StatusPart):
    """Rollout pods, by number; the scale subresource reads them here."""

    desired: Count | None = Field(default=None, description="Wanted.")
    created: Count | None = Field(default=None, description="That exist.")
    ready: Count | None = Field(default=None, description="That are ready.")
    selector: Annotated[str, Field(max_length=1024)] | None = Field(
        default=None, description="Label selector of the rollout pods, for autoscalers."
    )


class Attempts(_StatusPart):
    """How often pods were started, and what their failures count."""

    started: Count | None = Field(default=None, description="Starts so far.")
    failures: Count | None = Field(default=None, description="Failures so far; drained nodes and preemptions are not counted.")
    consecutive_failures: Count | None = Field(default=None, description="Failures since the last progress: what the budget counts.")
    last_reason: Annotated[str, Field(max_length=LONGEST_REASON)] | None = Field(default=None, description="Why the last one failed.")
    not_before: Time | None = Field(default=None, description="The next start waits until then.")


class ReplacedRollout(Attempts):
    """One rollout pod that was replaced."""

    index: Count = Field(description="Index of the pod.")


class RolloutAttempts(Attempts):
    """Attempts of all rollout pods together, and of each that was replaced."""

    replaced: Annotated[tuple[ReplacedRollout, ...], Field(max_length=4096)] | None = Field(
        default=None, description="Rollout pods that were replaced, by index."
    )


class AttemptsByRole(_StatusPart):
    """Restarts by role."""

    trainer: Attempts | None = Field(default=None, description="The trainers, which start together.")
    rollout: RolloutAttempts | None = Field(default=None, description="The rollout pods, which are replaced one by one.")


class JobStatus(_StatusPart):
    """What the operator saw. Numbers of the run are those of its last complete step."""

    observed_generation: Annotated[int, Field(ge=0, le=2**53)] | None = Field(
        default=None, description="Generation of the job that this status is about."
    )
    summary: Summary | None = Field(
        default=None,
        description="One word for people, derived from the conditions: Pending, Starting, Running, Paused, Suspended, Restarting, Stalled, "
        "Succeeded or Failed.",
    )
    message: Message | None = Field(default=None, description="One sentence on how it goes, or on why it does not.")
    conditions: Annotated[tuple[Condition, ...], Field(max_length=32)] | None = Field(
        default=None, description="Conditions; Succeeded sums the job up and is Unknown while it runs."
    )
    start_time: Time | None = Field(default=None, description="When the job first had pods. From then on most of its spec cannot change.")
    completion_time: Time | None = Field(default=None, description="When the job ended.")
    step: Count | None = Field(default=None, description="Complete global steps.")
    total_steps: Count | None = Field(default=None, description="Steps at most, over all phases.")
    phase: Name | None = Field(default=None, description="Name of the current phase.")
    phase_index: Annotated[int, Field(ge=0, le=1023)] | None = Field(default=None, description="Its place in spec.phases, from 0.")
    waiting_to_enter: Name | None = Field(
        default=None, description="The phase with advance: Manual that is due; the annotation reasonrl.dev/advance-to lets it begin."
    )
    phases: Annotated[tuple[PhaseEntered, ...], Field(max_length=64)] | None = Field(default=None, description="Phases entered so far.")
    kl_coefficient: Number | None = Field(default=None, description="KL coefficient of the last step.")
    reward: Number | None = Field(default=None, description="Mean reward of the last step.")
    accuracy: Share | None = Field(default=None, description="Share of right answers among the last step's responses.")
    response_length: ResponseLength | None = Field(default=None, description="Response lengths of the last step, in tokens.")
    truncated_share: Share | None = Field(default=None, description="Share of the last step's responses that were cut off.")
    on_policy: bool | None = Field(default=None, description="Whether every update learns from the current policy's own responses.")
    tokens_per_second: Number | None = Field(default=None, description="Response tokens a second, over the whole last step.")
    checkpoints: Annotated[tuple[Checkpoint, ...], Field(max_length=MOST_CHECKPOINTS)] | None = Field(
        default=None, description="Newest of the complete checkpoints that are kept, oldest first."
    )
    last_checkpoint_step: Count | None = Field(default=None, description="Step of the newest complete checkpoint.")
    runtime: ResolvedRuntime | None = Field(default=None, description="The blueprint that the job was resolved with.")
    trainers: Trainers | None = Field(default=None, description="Trainer pods, by number.")
    rollouts: Rollouts | None = Field(default=None, description="Rollout pods, by number.")
    attempts: AttemptsByRole | None = Field(default=None, description="Restarts by role.")
    spec_hash: Name | None = Field(default=None, description="Hash of the resolved spec that runs.")


def parse_job_status(status: object) -> JobStatus:
    """A status as the API server holds it. Raises pydantic.ValidationError for what is none: the operator's own tests use it."""
    return JobStatus.model_validate(status)
