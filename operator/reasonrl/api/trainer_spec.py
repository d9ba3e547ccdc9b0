"""The engine that learns."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from reasonrl.api.contract_model import Bytes, ContractModel, Count, NonNegativeCount, Tokens


class TrainerSpec(ContractModel):
    """How updates are computed, and on what."""

    replicas: Annotated[Count, Field(le=4096)] = Field(default=1, description="Trainer pods: a gang, all or none. On a cluster.")
    gpus_per_replica: Annotated[NonNegativeCount, Field(le=64)] = Field(
        default=0, description="GPUs of each trainer pod; 0 is CPU. On a cluster."
    )
    engine: Literal["torch", "deepspeed"] = Field(
        default="torch", description="torch: one process. deepspeed: ranks over GPUs and pods, each a process of its own."
    )
    zero_stage: Annotated[int, Field(ge=0, le=3)] = Field(
        default=0,
        description="What deepspeed divides among the ranks: 1 the optimizer, 2 also gradients, 3 also weights (STILL-3 §4.3 scripts: 2 "
        "or 3).",
    )
    offload: Literal["none", "optimizer", "parameters"] = Field(
        default="none", description="What deepspeed keeps in the host's memory: the optimizer's state, or that and the weights."
    )
    tokens_per_micro_batch: Annotated[Tokens, Field()] = Field(
        default=16384,
        description="Tokens of one forward and backward pass; a single longer response still goes alone. Memory grows with it.",
    )
    logits_chunk_tokens: Tokens = Field(
        default=2048, description="Tokens whose logits exist at once: memory of the output layer is this times the vocabulary."
    )
    gradient_checkpointing: bool = Field(
        default=False, description="Whether activations are computed again in the backward pass: less memory, about a third more compute."
    )
    gpu_memory: Bytes = Field(
        default=80 * 2**30, description="Memory of one GPU, as a quantity such as 80Gi, for the arithmetic of the plan."
    )
