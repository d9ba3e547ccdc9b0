"""Shapes of a coefficient over time. Their values are computed in `schedules`, from the step alone."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from reasonrl.api.contract_model import Coefficient, ContractModel, Count, NonNegativeCount, Share

Clock = Literal["run", "phase"]
_CLOCK = (
    "Which steps count: run counts from the start of the run, phase from the start of the current phase. Null is run for "
    "spec.algorithm.kl.schedule, and phase for a phase's own klSchedule."
)


class ConstantSchedule(ContractModel):
    """The same coefficient at every step (STILL-3 §3.1.1: 0.001)."""

    type: Literal["constant"] = Field(description="constant.")
    value: Coefficient = Field(description="The coefficient.")


class LinearSchedule(ContractModel):
    """A straight line from start to end, then end."""

    type: Literal["linear"] = Field(description="linear.")
    start: Coefficient = Field(description="Coefficient of the first step.")
    end: Coefficient = Field(default=0.0, description="Coefficient once `steps` have passed.")
    steps: Count = Field(description="Length of the fall, in steps.")
    clock: Clock | None = Field(default=None, description=_CLOCK)


class CosineSchedule(ContractModel):
    """Cosine annealing from start to end, then end: the report's recommended KL schedule, 0.001 to 0 over 500 steps (STILL-3 §3.1.1)."""

    type: Literal["cosine"] = Field(description="cosine.")
    start: Coefficient = Field(description="Coefficient of the first step.")
    end: Coefficient = Field(default=0.0, description="Coefficient once `steps` have passed.")
    steps: Count = Field(description="Length of the fall, in steps.")
    clock: Clock | None = Field(default=None, description=_CLOCK)


class SchedulePoint(ContractModel):
    """From this step on, this value."""

    step: NonNegativeCount = Field(description="Step from which the value holds, from 0.")
    value: Coefficient = Field(description="The coefficient.")


class PiecewiseSchedule(ContractModel):
    """A value from each point's step until the next one: stairs, without interpolation."""

    type: Literal["piecewise"] = Field(description="piecewise.")
    points: Annotated[tuple[SchedulePoint, ...], Field(min_length=1, max_length=256)] = Field(
        description="In rising order of step; the first is step 0."
    )
    clock: Clock | None = Field(default=None, description=_CLOCK)


class AdaptiveSchedule(ContractModel):
    """A coefficient that follows the measured KL (Ziegler et al. 2019, arXiv 1909.08593). It is state, and kept in the checkpoint."""

    type: Literal["adaptive"] = Field(description="adaptive.")
    start: Annotated[float, Field(gt=0.0, le=1000.0)] = Field(description="First coefficient.")
    target: Annotated[float, Field(gt=0.0, le=1000.0)] = Field(description="Wanted mean KL (k1) of a token, in nats.")
    horizon: Annotated[Count, Field(le=10**9)] = Field(
        default=10000, description="Responses over which the coefficient moves by up to a fifth of itself."
    )


FixedKLSchedule = Annotated[ConstantSchedule | LinearSchedule | CosineSchedule | PiecewiseSchedule, Field(discriminator="type")]
KLSchedule = Annotated[
    ConstantSchedule | LinearSchedule | CosineSchedule | PiecewiseSchedule | AdaptiveSchedule, Field(discriminator="type")
]


class ConstantLearningRate(ContractModel):
    """The learning rate stays at its peak (the report's scripts)."""

    type: Literal["constant"] = Field(description="constant.")


class LinearLearningRate(ContractModel):
    """A straight line from the peak to `end` times the peak."""

    type: Literal["linear"] = Field(description="linear.")
    end: Share = Field(default=0.0, description="Share of the peak that is left at the end.")
    steps: Count = Field(description="Length of the fall after the warm-up, in steps of the run.")


class CosineLearningRate(ContractModel):
    """Cosine annealing from the peak to `end` times the peak."""

    type: Literal["cosine"] = Field(description="cosine.")
    end: Share = Field(default=0.0, description="Share of the peak that is left at the end.")
    steps: Count = Field(description="Length of the fall after the warm-up, in steps of the run.")


LearningRateSchedule = Annotated[ConstantLearningRate | LinearLearningRate | CosineLearningRate, Field(discriminator="type")]
