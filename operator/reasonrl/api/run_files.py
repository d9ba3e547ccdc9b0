"""What a run leaves on disk: the names of its files, and the record of one step and one evaluation.

A run writes them, the report and the command line read them, and none of those may import each other; so the shape of the files
belongs to the contract. `metrics.jsonl` holds one `StepMetrics` or `EvaluationMetrics` a line, told apart by `kind`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

METRICS_FILE = "metrics.jsonl"
EVENTS_FILE = "events.jsonl"
ROLLOUTS_DIRECTORY = "rollouts"
CHECKPOINTS_DIRECTORY = "checkpoints"
FINAL_DIRECTORY = "final"
JOB_FILE = "job.yaml"
SUMMARY_FILE = "summary.json"
REPORT_FILE = "report.html"
CONTROL_DIRECTORY = "control"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StepMetrics(_Record):
    """Everything the report's authors watched, of one training step. Lengths are in tokens, times in seconds, logs in nats."""

    kind: Literal["step"] = "step"
    step: int = Field(description="Global step, from 0.")
    time: float = Field(description="Unix time at the end of the step.")
    phase: str
    phase_index: int
    phase_step: int
    max_response_tokens: int
    temperature: float
    kl_coefficient: float
    learning_rate: float
    entropy_coefficient: float
    reward_mean: float | None = Field(description="None when no response of the step could be scored.")
    reward_std: float | None
    reward_components: dict[str, float] = Field(description="Mean value by component.")
    outcomes: dict[str, int] = Field(description="Scoring attempts by outcome: value, error, timeout, unscorable.")
    accuracy: float | None
    response_length_mean: float
    response_length_p50: float
    response_length_p95: float
    response_length_max: int
    correct_length_mean: float | None
    incorrect_length_mean: float | None
    lengths_by_outcome: dict[str, list[int]] = Field(description="Response lengths under correct, incorrect, truncated, unscored.")
    truncated_share: float
    completed_share: float
    all_right_share: float = Field(description="Share of groups in which every response is right.")
    all_wrong_share: float
    kept_responses: int = Field(description="Responses that took part in the gradient.")
    responses: int
    selection_kept: dict[str, int] = Field(
        default_factory=dict, description="Responses left in the gradient after each selection rule, in order; unscored ones leave first."
    )
    selection_dropped: dict[str, int] = Field(
        default_factory=dict, description="Responses that each selection rule took out of the gradient, in order."
    )
    empty_questions: int = Field(default=0, description="Questions of the batch without a response in the gradient.")
    refills: int = Field(default=0, description="How often the step sampled new questions in place of empty ones (dynamicSampling).")
    replaced_questions: int = Field(default=0, description="Questions that were sampled, taught nothing and were replaced.")
    skipped_updates: int = Field(default=0, description="Optimizer updates left out because nothing was left to learn from.")
    entropy: float | None
    clip_fraction: float | None
    gradient_norm: float | None
    loss: float | None
    kl_k1: float | None
    kl_k2: float | None
    kl_k3: float | None
    sampler_gap_mean: float | None
    sampler_gap_max: float | None
    staleness_max: int = Field(description="Oldest weights that a response of this step was sampled with, in steps.")
    reflection_share: dict[str, float] = Field(description="Share of responses with at least one keyword, by category.")
    reflection_per_1000_tokens: dict[str, float]
    repetitive_share: float | None = Field(
        default=None, description="Share of responses that end in a loop, or most of whose paragraphs stood in them before."
    )
    duplicate_paragraphs: float | None = Field(default=None, description="Paragraphs that stood in the response before, a response.")
    repeated_ngrams: float | None = Field(
        default=None, description="Share of a response's 4-grams of tokens that it had already; mean over responses."
    )
    distinct_ngrams: float | None = Field(
        default=None, description="Share of different 4-grams of tokens among all responses to a question; mean over questions."
    )
    prompt_tokens: int
    response_tokens: int
    tokens_per_second: float = Field(description="Response tokens a second, over the whole step.")
    seconds: dict[str, float] = Field(
        description="By stage: rollout, grade, reference, update, weight_sync, total; checkpoint and evaluation are those before the step."
    )
    reference_resets: int


class EvaluationMetrics(_Record):
    """One benchmark at one point of the run. Accuracy is pass@1 as the mean over `samples` answers a question (avg@k)."""

    kind: Literal["evaluation"] = "evaluation"
    step: int = Field(description="Optimizer steps done before this evaluation; 0 is before training.")
    time: float
    phase: str
    benchmark: str
    questions: int
    samples: int
    temperature: float
    max_response_tokens: int
    accuracy: float
    accuracy_error: float = Field(description="Standard error of the accuracy over questions.")
    response_length_mean: float
    correct_length_mean: float | None
    incorrect_length_mean: float | None
    truncated_share: float
    unscored: int
    seconds: float


class WarmStartMetrics(_Record):
    """One logged point of the supervised warm start."""

    kind: Literal["warm_start"] = "warm_start"
    step: int
    time: float
    loss: float
    learning_rate: float
    tokens_per_second: float


class Event(_Record):
    """Something that a person would want to know happened (`events.jsonl`)."""

    time: float
    step: int
    reason: str = Field(description="CamelCase and stable, as in Kubernetes: PhaseEntered, CheckpointSaved, ReferenceReset, …")
    message: str


MetricsLine = Annotated[StepMetrics | EvaluationMetrics | WarmStartMetrics, Field(discriminator="kind")]
METRICS_LINE: TypeAdapter[StepMetrics | EvaluationMetrics | WarmStartMetrics] = TypeAdapter(MetricsLine)
