"""The engines that sample responses."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue

from reasonrl.api.contract_model import Bytes, ContractModel, Count, NonNegativeCount, Temperature
from reasonrl.api.model_spec import DType


class RolloutSpec(ContractModel):
    """How responses are sampled, and on what."""

    placement: Literal["Disaggregated", "Colocated"] = Field(
        default="Disaggregated",
        description="Disaggregated: rollout pods of their own. Colocated: rollout engines share the trainers' GPUs and take turns with "
        "them. On one machine everything is one process.",
    )
    replicas: Annotated[Count, Field(le=4096)] = Field(default=1, description="Rollout pods, each with one engine. On a cluster.")
    min_replicas: Annotated[Count, Field(le=4096)] = Field(
        default=1, description="Training goes on while at least so many are alive. On a cluster."
    )
    gpus_per_replica: Annotated[NonNegativeCount, Field(le=64)] = Field(
        default=0, description="GPUs of each engine; 0 is CPU. More than 1 is tensor parallel. On a cluster."
    )
    engine: Literal["torch", "vllm"] = Field(default="torch", description="torch: built in, for small models and CPUs. vllm: vLLM.")
    dtype: DType | None = Field(default=None, description="Number format that the engine samples in. Null is spec.model.dtype.")
    temperature: Temperature = Field(
        default=1.0, description="Sampling temperature (STILL-3 §3.1.1: 0.6, 1.0 or 1.2, and 1.2 recommended while the text stays normal)."
    )
    max_staleness: Annotated[NonNegativeCount, Field(le=16)] = Field(
        default=0,
        description="Steps that the weights which sample a response may be behind those that learn from it. 0 is on-policy sampling; with "
        "more, the next steps are sampled while an update runs, and importance sampling corrects for the difference. Ours, not the "
        "report's. On a cluster.",
    )
    max_sequences: Annotated[Count, Field(le=65536)] = Field(default=256, description="Sequences that one engine decodes at once.")
    memory_utilization: Annotated[float, Field(gt=0.0, lt=1.0)] = Field(
        default=0.85, description="Share of a GPU's memory that vLLM may take (0.7 in the report's scripts)."
    )
    key_value_cache: Bytes | None = Field(
        default=None, description="Size of vLLM's key-value cache on a CPU, as a quantity such as 2Gi. Null is vLLM's own."
    )
    tools: Annotated[tuple[JsonValue, ...], Field(max_length=16)] = Field(
        default=(), description="Tools that the policy may call (STILL-3 §4.4). Supported from version 0.5."
    )
