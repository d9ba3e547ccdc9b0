"""Whom a job's pods may speak to."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from reasonrl.api.contract_model import ContractModel

Cidr = Annotated[str, Field(min_length=3, max_length=43, pattern=r"^[0-9a-fA-F.:]+/[0-9]{1,3}$")]


class EgressPort(ContractModel):
    """One port that the pods may reach."""

    port: Annotated[int, Field(ge=1, le=65535)] = Field(description="Number of the port.")
    protocol: Literal["TCP", "UDP", "SCTP"] = Field(default="TCP", description="Protocol of the port.")


class EgressRule(ContractModel):
    """Addresses outside the job that the pods may reach, such as a model hub's or a judge's."""

    cidr: Cidr = Field(description="Range of addresses, such as 10.2.0.0/16; 0.0.0.0/0 is everywhere.")
    ports: Annotated[tuple[EgressPort, ...], Field(max_length=16)] = Field(default=(), description="Ports there. None listed is all.")


class NetworkSpec(ContractModel):
    """The job's NetworkPolicy. On a cluster."""

    policy: Literal["Restricted", "None"] = Field(
        default="Restricted",
        description="Restricted: the pods reach each other, DNS and what egress lists, and are reached by scrapes of their metrics. None: "
        "no policy is made.",
    )
    egress: Annotated[tuple[EgressRule, ...], Field(max_length=32)] = Field(
        default=(), description="What else the pods may reach, with policy: Restricted."
    )
