"""The context-extension curriculum: phases in order, each with its limit, its overrides and its end (STILL-3 §3.2)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from reasonrl.api.algorithm_spec import ClipWidth
from reasonrl.api.contract_model import ContractModel, Count, DnsLabel, NonNegativeCount, Share, Temperature, Tokens
from reasonrl.api.schedule_spec import FixedKLSchedule

TriggerSteps = Annotated[Count, Field(le=100_000)]


class TruncatedShareTrigger(ContractModel):
    """Too many responses are cut off."""

    above: Share = Field(default=0.06, description="Share of truncated responses of a step, 0 to 1. Ours, not the report's.")
    for_steps: TriggerSteps = Field(default=20, description="Steps in a row. Ours, not the report's.")


class ResponseLengthTrigger(ContractModel):
    """Responses come close to the limit."""

    percentile: Annotated[float, Field(gt=0.0, le=100.0)] = Field(default=95.0, description="Percentile of the response lengths of a step.")
    above: Tokens = Field(description="Length, in tokens.")
    for_steps: TriggerSteps = Field(default=20, description="Steps in a row.")


class AccuracyPlateauTrigger(ContractModel):
    """Training accuracy no longer rises."""

    window: TriggerSteps = Field(default=50, description="Steps whose mean is compared with that of as many steps before them.")
    min_gain: Annotated[float, Field(ge=-1.0, le=1.0)] = Field(
        default=0.01, description="Smallest gain that counts as rising, in accuracy (0 to 1)."
    )


class LengthPlateauTrigger(ContractModel):
    """Mean response length no longer rises."""

    window: TriggerSteps = Field(default=50, description="Steps whose mean is compared with that of as many steps before them.")
    min_gain: Annotated[float, Field(ge=-1.0, le=100.0)] = Field(
        default=0.02, description="Smallest gain that counts as rising, as a share of the earlier mean length."
    )


class UntilSpec(ContractModel):
    """When a phase ends: at the first trigger that fires. One of steps and maxSteps bounds it."""

    steps: Count | None = Field(default=None, description="The phase ends after so many steps.")
    max_steps: Count | None = Field(
        default=None, description="The phase ends after so many steps at the latest, if no other trigger ends it before."
    )
    truncated_share: TruncatedShareTrigger | None = Field(default=None, description="Ends when too many responses are cut off.")
    response_length: ResponseLengthTrigger | None = Field(default=None, description="Ends when responses come close to the limit.")
    accuracy_plateau: AccuracyPlateauTrigger | None = Field(default=None, description="Ends when training accuracy no longer rises.")
    length_plateau: LengthPlateauTrigger | None = Field(default=None, description="Ends when mean response length no longer rises.")


class PhaseRolloutSpec(ContractModel):
    """The shape of the rollout pods in this phase."""

    replicas: Annotated[Count, Field(le=4096)] | None = Field(default=None, description="Rollout pods. Null is spec.rollout.replicas.")
    gpus_per_replica: Annotated[NonNegativeCount, Field(le=64)] | None = Field(
        default=None, description="GPUs of each. Null is spec.rollout.gpusPerReplica."
    )


class PhaseSpec(ContractModel):
    """One stage of the run. Null fields keep the run's value."""

    name: DnsLabel = Field(description="Name of the phase, unique in the job: it is a label of the metrics.")
    max_response_tokens: Tokens = Field(
        description="Longest response, in tokens; a longer one is cut off and counts as truncated (STILL-3 §3.2: 8k first, then gradually "
        "to 20k)."
    )
    allow_shrink: bool = Field(default=False, description="Allows a smaller limit than that of the phase before.")
    temperature: Temperature | None = Field(default=None, description="Sampling temperature. Null is spec.rollout.temperature.")
    kl_schedule: FixedKLSchedule | None = Field(
        default=None,
        description="KL coefficient over time, instead of spec.algorithm.kl.schedule. Its clock counts the phase's steps by default.",
    )
    clip_low: ClipWidth | None = Field(default=None, description="Instead of spec.algorithm.loss.clipLow.")
    clip_high: ClipWidth | None = Field(default=None, description="Instead of spec.algorithm.loss.clipHigh.")
    learning_rate: Annotated[float, Field(gt=0.0, le=1.0)] | None = Field(
        default=None,
        description="Peak learning rate, instead of spec.algorithm.optimizer.learningRate; warm-up and schedule go on by the run's steps.",
    )
    prompts_per_step: Annotated[Count, Field(le=1_000_000)] | None = Field(
        default=None, description="Questions of one step, instead of spec.algorithm.promptsPerStep."
    )
    rollout: PhaseRolloutSpec | None = Field(default=None, description="Shape of the rollout pods in this phase.")
    until: UntilSpec = Field(description="When the phase ends.")
    advance: Literal["Auto", "Manual"] = Field(
        default="Auto",
        description="Auto: the phase begins when the one before ends. Manual: it waits for a person, and the phase before goes on "
        "training.",
    )
