"""What a run tells while it goes on."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from reasonrl.api.contract_model import ContractModel, NonNegativeCount, ShortText


class TelemetrySpec(ContractModel):
    """Metrics are always written to the run directory; this is about the rest."""

    prometheus_port: Annotated[int, Field(ge=1, le=65535)] | None = Field(
        default=None, description="Port that serves /metrics. Null is none."
    )
    prometheus_address: ShortText = Field(default="127.0.0.1", description="Address that it listens at; 0.0.0.0 is every interface.")
    rollouts_every_steps: NonNegativeCount = Field(default=1, description="Responses are written out every so many steps. 0 is never.")
    rollouts_per_step: NonNegativeCount = Field(default=16, description="How many responses of such a step.")
