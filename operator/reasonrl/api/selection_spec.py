"""Which responses of a step count in the group statistics and in the gradient, and whether questions that taught nothing are replaced."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from reasonrl.api.contract_model import ContractModel, Count, Share

When = Literal["beforeGroupStatistics", "afterGroupStatistics"]


class OverlengthMask(ContractModel):
    """Truncated responses take no part in the gradient (STILL-3 §4.2, ORM: overlength response masking)."""

    type: Literal["overlengthMask"] = Field(description="overlengthMask.")
    when: When = Field(
        default="beforeGroupStatistics",
        description="beforeGroupStatistics: they do not move the group's mean and std either. afterGroupStatistics: their reward still "
        "does. The report does not say which; the default is ours.",
    )


class QuestionSelection(ContractModel):
    """Keeps questions whose right answers are longer than their wrong ones, on average (STILL-3 §4.2, QS). A question without right or
    without wrong answers has no such means and is not kept (ours: the report does not say)."""

    type: Literal["questionSelection"] = Field(description="questionSelection.")


class ResponseSelection(ContractModel):
    """Learns from two responses of a question: the longest right and the shortest wrong one, and only where that right one is the longer
    (STILL-3 §4.2, RS). Elsewhere nothing is learnt from the question."""

    type: Literal["responseSelection"] = Field(description="responseSelection.")
    when: When = Field(
        default="afterGroupStatistics",
        description="beforeGroupStatistics: the group's mean and std are those of the two. afterGroupStatistics: those of all responses, "
        "as a mask on the loss has it. The report does not say which; the default is ours.",
    )


class AccuracyWindow(ContractModel):
    """Keeps questions that are neither too hard nor too easy for the policy as it is: above < share of right answers < below."""

    type: Literal["accuracyWindow"] = Field(description="accuracyWindow.")
    above: Share = Field(default=0.2, description="The share of right answers must be more than this (0.2: the report's private code).")
    below: Share = Field(default=0.8, description="The share of right answers must be less than this (0.8: the report's private code).")


class DynamicSampling(ContractModel):
    """Keeps questions with right and with wrong answers, and samples new questions in place of those of which selection leaves nothing,
    until the step has promptsPerStep of them (DAPO). What maxRefills leaves out is a metric."""

    type: Literal["dynamicSampling"] = Field(description="dynamicSampling.")
    max_refills: Annotated[Count, Field(le=64)] = Field(
        default=3, description="How often a step may sample anew, each time as many questions as it lacks. Then it learns from what it has."
    )


SelectionRule = Annotated[
    OverlengthMask | QuestionSelection | ResponseSelection | AccuracyWindow | DynamicSampling, Field(discriminator="type")
]
