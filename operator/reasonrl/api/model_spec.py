"""Which model learns, and what it is held close to."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from reasonrl.api.contract_model import ContractModel, Count, NonNegativeCount, PathText, ShortText, Tokens

DType = Literal["float32", "bfloat16"]


class ScratchSpec(ContractModel):
    """A small Llama made from nothing, for tasks that ship a tokenizer. It needs no download and learns on a CPU."""

    hidden_size: Annotated[Count, Field(le=65536)] = Field(default=128, description="Width of the hidden states. heads must divide it.")
    layers: Annotated[Count, Field(le=1024)] = Field(default=3, description="Number of transformer layers.")
    heads: Annotated[Count, Field(le=1024)] = Field(default=4, description="Query heads of each attention layer.")
    key_value_heads: Annotated[Count, Field(le=1024)] = Field(
        default=4, description="Key and value heads of each attention layer; must divide heads."
    )
    feed_forward_size: Annotated[Count, Field(le=1048576)] = Field(default=384, description="Width of the feed-forward layers.")
    initializer_range: Annotated[float, Field(gt=0.0, le=1.0)] = Field(
        default=0.06,
        description="Standard deviation of the initial weights. Ours, not the report's: at this size the usual 0.02 does not learn.",
    )
    context_tokens: Tokens = Field(
        default=512, description="Longest sequence, prompt and response together, in tokens: the model's maximum position."
    )
    tie_embeddings: bool = Field(default=True, description="Whether the output layer shares its weights with the token embedding.")


class ReferenceSpec(ContractModel):
    """The frozen model that the KL term measures from."""

    enabled: bool = Field(
        default=True,
        description="Whether a reference model may be loaded. It is loaded only when spec.algorithm.kl is set, so false is needed only to "
        "say that the memory for one must never be taken.",
    )
    reset_every_steps: NonNegativeCount = Field(
        default=0,
        description="Every so many steps the reference becomes a copy of the policy (STILL-3 §4.3, which does not give the interval). 0 "
        "keeps the first reference for the whole run. 200 is ours, not the report's.",
    )
    reset_optimizer: bool = Field(
        default=False,
        description="Whether a reset of the reference also clears the optimizer's moments (as ProRL does). Keeping them is ours, not the "
        "report's.",
    )


class ModelSpec(ContractModel):
    """The policy to train: a model by path, or one made from nothing."""

    path: PathText | None = Field(
        default=None,
        description="A local directory in Hugging Face format, relative to the job file and on a cluster absolute, or "
        "hf://organisation/name from the hub. Exactly one of path and scratch. "
        "The report studied Qwen2.5 1.5B, 7B and 32B (STILL-3 §3.1.1, Table 1).",
    )
    revision: ShortText | None = Field(default=None, description="Branch, tag or commit of an hf:// model. Null is its main branch.")
    scratch: ScratchSpec | None = Field(
        default=None,
        description="A small model made from nothing, with the tokenizer of the first training source's task. Exactly one of path and "
        "scratch.",
    )
    tokenizer: PathText | None = Field(
        default=None,
        description="A directory (on a cluster absolute) or hf:// name with another tokenizer. Null is the model's own; with scratch, "
        "that of the first training source's task.",
    )
    dtype: DType = Field(
        default="bfloat16",
        description="Number format that the weights compute in. Master weights and optimizer moments are float32 always.",
    )
    reference: ReferenceSpec = Field(default_factory=ReferenceSpec, description="The frozen model that the KL term measures from.")
