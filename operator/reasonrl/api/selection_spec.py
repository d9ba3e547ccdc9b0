"""Which responses of a step count in the group statistics and in the gradient."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from reasonrl.api.contract_model import ContractModel


class OverlengthMask(ContractModel):
    """Truncated responses take no part in the gradient (STILL-3 §4.2, overlength response masking)."""

    type: Literal["overlengthMask"] = Field(description="overlengthMask.")
    when: Literal["beforeGroupStatistics", "afterGroupStatistics"] = Field(
        default="beforeGroupStatistics",
        description="beforeGroupStatistics: they do not move the group's mean and std either. afterGroupStatistics: their reward still "
        "does. The report does not say which; the default is ours.",
    )
