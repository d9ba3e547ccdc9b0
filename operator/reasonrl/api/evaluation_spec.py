"""Held-out accuracy while the run goes on."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from reasonrl.api.contract_model import ContractModel, Count, NonNegativeCount, Tokens
from reasonrl.api.data_spec import DataSource
from reasonrl.api.prompt_spec import PromptSpec


class BenchmarkSpec(DataSource):
    """One held-out set of questions, with its own sampling."""

    name: Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = Field(
        description="Name of the benchmark, unique in the job."
    )
    samples: Annotated[Count, Field(le=10_000)] = Field(
        default=8, description="Responses to each question; accuracy is their mean (avg@k; 8 on AIME in STILL-3 Fig. 1 and §4.4)."
    )
    temperature: Annotated[float, Field(ge=0.0, le=10.0)] = Field(
        default=0.6, description="Sampling temperature; 0 is greedy (STILL-3 §4.4: 0.6)."
    )
    top_p: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        default=0.95, description="Nucleus: share of the probability sampled from (STILL-3 §4.4: 0.95)."
    )
    max_response_tokens: Tokens | None = Field(default=None, description="Longest response, in tokens. Null is the current phase's.")
    prompt: PromptSpec | None = Field(default=None, description="Template for this benchmark. Null is spec.prompt.")


class EvaluationSpec(ContractModel):
    """When to evaluate, and on what."""

    every_steps: NonNegativeCount = Field(
        default=10, description="Every so many steps (STILL-3 Fig. 1: 10). 0 is only at the start and the end."
    )
    at_start: bool = Field(default=True, description="Whether to evaluate before the first step.")
    benchmarks: Annotated[tuple[BenchmarkSpec, ...], Field(max_length=32)] = Field(default=(), description="Held-out sets of questions.")
