"""How a question becomes the prompt that the policy sees."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from reasonrl.api.contract_model import ContractModel, Template, Tokens


class PromptSpec(ContractModel):
    """The template around a question, and how long the result may be."""

    template: Literal["short", "long", "chat", "raw", "custom"] = Field(
        default="long",
        description="short: the R1-Zero frame. long: detailed instructions (STILL-3 §3.1.2: the same accuracy with shorter answers on 7B; "
        "the short one is better for 1.5B). chat: the tokenizer's chat template. raw: the question alone. custom: spec.prompt.text.",
    )
    text: Template | None = Field(
        default=None, description="The template when template is custom; {question} stands for the question, exactly once."
    )
    system: Template | None = Field(default=None, description="System message of the chat template. The report used none (STILL-3 §4.3).")
    max_tokens: Tokens = Field(default=1024, description="Longest prompt, in tokens (1,024 in the report's scripts).")
    long_prompts: Literal["drop", "error"] = Field(
        default="drop",
        description="What happens to a question whose prompt is longer: drop leaves it out and counts it, error ends the run at its start.",
    )
