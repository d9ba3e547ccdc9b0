"""What the operator does when something of a job fails: how often it tries again, how long it waits, and when it gives up."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from reasonrl.api.contract_model import ContractModel, DurationSeconds, NonNegativeCount

UnhealthyAction = Literal["None", "Pause", "Rollback"]


class RestartBudget(ContractModel):
    """How often pods of one role are started again. A new checkpoint is progress: it gives the whole budget back."""

    max_restarts: Annotated[NonNegativeCount, Field(le=10_000)] = Field(
        default=5,
        description="Failures without progress between them after which the job fails. Drained nodes and preemptions do not count. 0 is "
        "never to try again.",
    )
    backoff_seconds: Annotated[NonNegativeCount, Field(le=86_400)] = Field(
        default=10, description="Wait before the first restart, in seconds; it doubles with each failure without progress."
    )
    max_backoff_seconds: Annotated[NonNegativeCount, Field(le=86_400)] = Field(default=300, description="Longest wait, in seconds.")


class OnUnhealthySpec(ContractModel):
    """What each health signal of a run leads to. None: a condition and an event tell of it. Pause: the run stops between two steps and
    waits. Rollback: it goes on from its last healthy checkpoint."""

    nan: UnhealthyAction = Field(default="None", description="A loss, gradient, KL, entropy or reward that is no finite number.")
    kl_explosion: UnhealthyAction = Field(default="None", description="The KL from the reference multiplies within a few steps.")
    reward_collapse: UnhealthyAction = Field(default="None", description="The mean reward falls far.")
    entropy_collapse: UnhealthyAction = Field(default="None", description="The policy hardly explores any more.")
    length_hacking: UnhealthyAction = Field(
        default="None", description="Responses grow and finish less often, while accuracy does not rise (STILL-3 §4.2)."
    )
    repetition: UnhealthyAction = Field(default="None", description="Many responses loop or repeat their own paragraphs.")


class StallDeadlines(ContractModel):
    """How long one stage of a run may last, in seconds, before the run counts as stalled and its trainers are started again."""

    loading: DurationSeconds = Field(default=3600, description="Loading the model and the data, in seconds.")
    warm_start: DurationSeconds = Field(default=1800, description="From one logged update of the warm start to the next, in seconds.")
    rollout: DurationSeconds = Field(default=7200, description="Sampling the responses of one step, in seconds.")
    grade: DurationSeconds = Field(default=1800, description="Rewards of one step, in seconds.")
    update: DurationSeconds = Field(default=7200, description="Optimizer updates of one step, in seconds.")
    weight_sync: DurationSeconds = Field(default=900, description="Handing new weights to the engines, in seconds.")
    checkpoint: DurationSeconds = Field(default=1800, description="Writing one checkpoint, in seconds.")
    evaluation: DurationSeconds = Field(default=14_400, description="One evaluation of all benchmarks, in seconds.")


class FailurePolicySpec(ContractModel):
    """Restarts and their budgets, deadlines, and answers to bad health. On a cluster."""

    trainer: RestartBudget = Field(
        default_factory=RestartBudget, description="Budget of the trainers, which are started again together, from the last checkpoint."
    )
    rollout: RestartBudget = Field(
        default_factory=RestartBudget, description="Budget of each rollout pod, which is replaced alone while training goes on."
    )
    on_out_of_memory: Literal["Fail", "Restart"] = Field(
        default="Fail",
        description="Whether a container that ran out of memory ends the job, with what to change, or counts as any other failure.",
    )
    on_unhealthy: OnUnhealthySpec = Field(default_factory=OnUnhealthySpec, description="What each health signal of the run leads to.")
    stall_deadline_seconds: StallDeadlines = Field(
        default_factory=StallDeadlines, description="How long each stage may last before the run counts as stalled, in seconds."
    )
    start_deadline_seconds: DurationSeconds = Field(
        default=3600,
        description="Time from the creation of the trainers' pods until all of them run, in seconds; a job that is not admitted yet by its "
        "queue does not wait here. A slower start is a failure of the trainers. There always is such a deadline; the longest is a year.",
    )
