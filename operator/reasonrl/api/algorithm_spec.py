"""How a step learns: batch, advantages, loss, KL, entropy and optimizer."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from reasonrl.api.contract_model import ContractModel, Count, NonNegativeCount
from reasonrl.api.schedule_spec import KLSchedule, LearningRateSchedule

ClipWidth = Annotated[float, Field(ge=0.0, le=100.0)]


class AdvantageSpec(ContractModel):
    """How rewards of a group become advantages."""

    estimator: Literal["grpo", "dr_grpo", "rloo", "reinforce_plus_plus", "reinforce_plus_plus_baseline"] = Field(
        default="grpo",
        description="grpo: (reward − group mean) / group std, unbiased (the report's scripts). dr_grpo: without the std. rloo: against "
        "the mean of the others. reinforce_plus_plus: normalised over the batch. reinforce_plus_plus_baseline: group mean first, then "
        "over the batch.",
    )
    epsilon: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        default=1.0e-6, description="Added to the standard deviation before dividing. Ours, not the report's."
    )


class LossSpec(ContractModel):
    """The policy loss, token by token, and how it is averaged."""

    type: Literal["clip", "gspo", "cispo"] = Field(
        default="clip",
        description="clip: PPO's clipped surrogate. gspo: one ratio for a whole response. cispo: the ratio is a clipped weight.",
    )
    aggregation: Literal["tokenMean", "sequenceMean", "constant"] = Field(
        default="tokenMean",
        description="tokenMean: over all response tokens of the update (DAPO). sequenceMean: over the tokens of a response, then over "
        "responses (GRPO). constant: the sum over tokens divided by the phase's maxResponseTokens, then over responses (Dr. GRPO).",
    )
    clip_low: ClipWidth = Field(default=0.2, description="The ratio is clipped below at 1 − clipLow (0.2 in the report's scripts).")
    clip_high: ClipWidth = Field(
        default=0.28, description="The ratio is clipped above at 1 + clipHigh. 0.28 is DAPO's; the report's scripts have 0.2."
    )
    dual_clip: Annotated[float, Field(gt=1.0, le=100.0)] | None = Field(
        default=None,
        description="Bound on the loss of a token with negative advantage, as a multiple of the advantage (dual-clip PPO, often 3). Null "
        "is none.",
    )


class ImportanceSamplingSpec(ContractModel):
    """Correction for the difference between the engine that sampled and the trainer."""

    correction: Literal["truncate", "mask", "none"] = Field(
        default="truncate",
        description="truncate: weight by the ratio trainer / sampler, at most cap (TIS). mask: the ratio as weight inside [floor, cap], 0 "
        "outside. none: no correction. Ours, not the report's.",
    )
    level: Literal["token", "sequence"] = Field(default="token", description="Whether the ratio is of each token or of the whole response.")
    cap: Annotated[float, Field(ge=1.0, le=1000.0)] = Field(default=2.0, description="Largest ratio.")
    floor: Annotated[float, Field(ge=0.0, le=1.0)] = Field(default=0.5, description="Smallest ratio, for mask.")
    old_log_probs: Literal["trainer", "sampler"] = Field(
        default="trainer",
        description="trainer: the policy before the update, computed anew by the trainer, is what the clipped ratio starts from. sampler: "
        "the engine's own log-probs are taken for them, which saves a forward pass and leaves nothing to correct.",
    )


class EntropySpec(ContractModel):
    """The entropy bonus: fixed, or adaptive towards a target (Skywork-OR1)."""

    coefficient: Annotated[float, Field(ge=0.0, le=100.0)] = Field(
        default=0.0, description="Weight of the entropy bonus (STILL-3 §3.1.2: 0); with a target, where it starts."
    )
    target: Annotated[float, Field(gt=0.0, le=100.0)] | None = Field(
        default=None,
        description="Wanted mean entropy of a token, in nats. Set, the coefficient rises by delta below it and falls by delta above it.",
    )
    delta: Annotated[float, Field(gt=0.0, le=100.0)] = Field(default=0.0001, description="Change of the adaptive coefficient in one step.")
    max_coefficient: Annotated[float, Field(gt=0.0, le=100.0)] = Field(default=0.005, description="Largest adaptive coefficient.")


class KLSpec(ContractModel):
    """The KL divergence from the reference: estimator, place and schedule. It is applied once (the report's code adds it twice)."""

    estimator: Literal["k1", "k2", "k3", "k3+"] = Field(
        default="k3",
        description="Of d = log policy − log reference: k1 is d, k2 is d²/2, k3 is exp(−d) − 1 + d (the report's scripts), k3+ has the "
        "value of k3 and the gradient of k2.",
    )
    placement: Literal["loss", "reward"] = Field(
        default="loss",
        description="Whether it is a term of the loss (Zero models) or taken from the reward of each token (STILL-3 §4.3 scripts).",
    )
    clamp: Annotated[float, Field(gt=0.0, le=80.0)] = Field(default=10.0, description="Bound on |d|, in nats (10 in the report's scripts).")
    schedule: KLSchedule = Field(
        description="The coefficient over time. The report found cosine annealing from 0.001 to 0 best (STILL-3 §3.1.1)."
    )


class OptimizerSpec(ContractModel):
    """AdamW."""

    learning_rate: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        default=1.0e-6, description="Peak learning rate (STILL-3 §3.1.2: 1e-6; §4.3: 2e-6)."
    )
    schedule: LearningRateSchedule | None = Field(
        default=None, description="How the learning rate falls after the warm-up. Null is constant."
    )
    betas: Annotated[tuple[Annotated[float, Field(ge=0.0, lt=1.0)], Annotated[float, Field(ge=0.0, lt=1.0)]], Field()] = Field(
        default=(0.9, 0.95), description="Decay of the first and second moment (STILL-3 §4.3 scripts)."
    )
    epsilon: Annotated[float, Field(gt=0.0, le=1.0)] = Field(default=1.0e-8, description="Added to the root of the second moment.")
    weight_decay: Annotated[float, Field(ge=0.0, le=1.0)] = Field(default=0.0, description="Decoupled weight decay.")
    max_gradient_norm: Annotated[float, Field(gt=0.0, le=1.0e6)] = Field(
        default=1.0, description="The gradient is scaled down to this 2-norm (1.0 in the report's scripts)."
    )
    warmup_steps: NonNegativeCount = Field(
        default=0, description="Steps over which the learning rate rises linearly: step t, from 0, has (t + 1) / warmupSteps of the peak."
    )


class AlgorithmSpec(ContractModel):
    """One step samples promptsPerStep × rolloutsPerPrompt responses and makes updatesPerStep × epochs optimizer updates."""

    prompts_per_step: Annotated[Count, Field(le=1_000_000)] = Field(
        default=128, description="Questions of one step (STILL-3 §3.1.1: 128 or 1,024, and 1,024 recommended)."
    )
    rollouts_per_prompt: Annotated[Count, Field(le=10_000)] = Field(
        default=16, description="Responses to each question (STILL-3 §3.1.1: 8 or 64; §3.2: 16)."
    )
    updates_per_step: Annotated[Count, Field(le=10_000)] = Field(
        default=1,
        description="Optimizer updates on disjoint parts of a step; must divide promptsPerStep. 1 is on-policy (STILL-3 §3.1.1, "
        "recommended); for the off-policy arm 4 is ours, not the report's.",
    )
    epochs: Annotated[Count, Field(le=100)] = Field(
        default=1, description="Passes over the responses of a step. More than 1 is off-policy."
    )
    advantage: AdvantageSpec = Field(default_factory=AdvantageSpec, description="How rewards become advantages.")
    loss: LossSpec = Field(default_factory=LossSpec, description="The policy loss.")
    importance_sampling: ImportanceSamplingSpec = Field(
        default_factory=ImportanceSamplingSpec, description="Correction for the difference between sampler and trainer."
    )
    entropy: EntropySpec = Field(default_factory=EntropySpec, description="The entropy bonus.")
    kl: KLSpec | None = Field(default=None, description="The KL term. Null is off: no reference model is loaded (STILL-3 §3.2).")
    optimizer: OptimizerSpec = Field(default_factory=OptimizerSpec, description="AdamW.")
