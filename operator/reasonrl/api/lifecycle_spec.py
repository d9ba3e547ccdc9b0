"""The job as an object of a cluster: its name, its blueprint, and what becomes of it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from reasonrl.api.contract_model import ContractModel, DnsLabel, LabelKey, ObjectName


class Metadata(ContractModel):
    """Name and labels, as of any Kubernetes object."""

    name: DnsLabel = Field(description="Name of the job; its pods are named after it.")
    namespace: DnsLabel = Field(default="default", description="Namespace of the job.")
    labels: Annotated[dict[LabelKey, Annotated[str, Field(max_length=63)]], Field(max_length=64)] = Field(
        default_factory=dict, description="Labels of the job."
    )
    annotations: Annotated[dict[LabelKey, Annotated[str, Field(max_length=65536)]], Field(max_length=64)] = Field(
        default_factory=dict, description="Annotations of the job."
    )


class RuntimeReference(ContractModel):
    """A platform team's blueprint, which the job overrides."""

    kind: Literal["ClusterReasoningRLRuntime", "ReasoningRLRuntime"] = Field(
        default="ClusterReasoningRLRuntime", description="Whether the blueprint belongs to the cluster or to the job's namespace."
    )
    name: ObjectName = Field(description="Name of the blueprint.")
