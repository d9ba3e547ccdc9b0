"""The supervised warm start before reinforcement learning (STILL-3 §4.1, cold start)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from reasonrl.api.contract_model import ContractModel, Count, NonNegativeCount, ShortText, Tokens
from reasonrl.api.data_spec import DataSource


class SftSource(DataSource):
    """A set of questions with answers to imitate."""

    response_field: ShortText = Field(
        default="response",
        description="Column with the response to imitate; for path and huggingFace. A task writes its own worked answers.",
    )


class SftSpec(ContractModel):
    """Learning to imitate given responses. Only response tokens are learnt, never the prompt's."""

    train: Annotated[tuple[SftSource, ...], Field(min_length=1, max_length=64)] = Field(description="Sources of questions with responses.")
    steps: Count | None = Field(default=None, description="Optimizer updates. Exactly one of steps and epochs.")
    epochs: Annotated[Count, Field(le=10000)] | None = Field(
        default=None, description="Passes over the data. Exactly one of steps and epochs."
    )
    batch_size: Count = Field(default=32, description="Responses of one optimizer update.")
    max_tokens: Tokens = Field(
        default=1024, description="Longest prompt with its response, in tokens; longer ones are left out and counted."
    )
    learning_rate: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        default=1.0e-5, description="Peak learning rate. The report does not give it (STILL-3 §4.1)."
    )
    warmup_steps: NonNegativeCount = Field(default=0, description="Updates over which the learning rate rises linearly to its peak.")
    schedule: Literal["constant", "linear", "cosine"] = Field(
        default="cosine", description="How the learning rate falls from its peak to 0 at the end of the warm start; constant does not fall."
    )
    weight_decay: Annotated[float, Field(ge=0.0, le=1.0)] = Field(default=0.0, description="Decoupled weight decay (AdamW).")
    max_gradient_norm: Annotated[float, Field(gt=0.0, le=1.0e6)] = Field(
        default=1.0, description="The gradient is scaled down to this 2-norm."
    )
    packing: bool = Field(default=False, description="Whether several short responses share one row of a batch.")
    only_warm_start: bool = Field(
        default=False,
        description="Whether the job ends after the warm start: the SFT arms of STILL-3 §4.1, Table 3, without reinforcement learning. "
        "Such a job still names a reward and a phase: benchmarks are graded by the one and limited by the other.",
    )
