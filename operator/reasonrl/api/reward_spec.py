"""What a response is paid for. Values are weighted and added; gates multiply the sum."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from reasonrl.api.contract_model import ContractModel, Count, PathText, Tokens

Weight = Annotated[float, Field(ge=-1000.0, le=1000.0)]
Value = Annotated[float, Field(ge=-1000.0, le=1000.0)]
TimeoutSeconds = Annotated[float, Field(gt=0.0, le=3600.0)]


class AnswerReward(ContractModel):
    """Compares the final answer with the gold answer (STILL-3 §2: 1 or 0; §4.2: 1 or −1). Accuracy is this component's verdict alone."""

    type: Literal["answer"] = Field(description="answer.")
    weight: Weight = Field(default=1.0, description="Factor of this component in the sum.")
    correct: Value = Field(default=1.0, description="Value of a right answer.")
    incorrect: Value = Field(default=0.0, description="Value of a wrong answer.")
    missing: Value = Field(default=0.0, description="Value of a response without an answer.")
    require_boxed: bool = Field(
        default=False,
        description="Whether only an answer in \\boxed{} counts; otherwise the body of the last <answer> does too. The report requires "
        "the box, though its long template asks for the tags.",
    )
    timeout_seconds: TimeoutSeconds = Field(
        default=5.0, description="Wall-clock limit of one comparison, in seconds. A response that takes longer is counted and left out."
    )


class FormatReward(ContractModel):
    """The five format checks of the report's Zero models (scripts of STILL-3 §3.2): <think> and <answer> once each, in order, neither of
    them empty, nothing between them, and nothing around them."""

    type: Literal["format"] = Field(description="format.")
    mode: Literal["gate", "additive"] = Field(
        default="gate", description="gate: the combined reward is 0 unless all checks pass. additive: weight is added when they pass."
    )
    weight: Weight = Field(default=1.0, description="Factor of this component in the sum, for additive.")


class FunctionReward(ContractModel):
    """A Python function of yours, run in a killable process."""

    type: Literal["function"] = Field(description="function.")
    path: PathText = Field(description="Python file, relative to the job file, and on a cluster absolute.")
    function: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = Field(
        default="score", description="Name of the function in it."
    )
    weight: Weight = Field(default=1.0, description="Factor of this component in the sum.")
    timeout_seconds: TimeoutSeconds = Field(
        default=10.0, description="Wall-clock limit of one call, in seconds. A response that takes longer is counted and left out."
    )


class OverlongReward(ContractModel):
    """Soft punishment near the limit (DAPO): 0 until bufferTokens before the phase's limit, then falling to −1 at the limit."""

    type: Literal["overlong"] = Field(description="overlong.")
    buffer_tokens: Tokens = Field(
        default=4096, description="Length of the zone before the phase's limit in which the value falls, in tokens."
    )
    weight: Weight = Field(default=1.0, description="Factor of this component in the sum.")


class ResponseLengthReward(ContractModel):
    """Pays for length: a response's tokens over the longest that it may have (STILL-3 §4.2, RRL), to be added to {type: answer, correct: 1,
    incorrect: -1, missing: -1}. The report found that it makes models longer and worse; it is here to repeat that."""

    type: Literal["responseLength"] = Field(description="responseLength.")
    max_tokens: Tokens | None = Field(
        default=None,
        description="Length that is worth 1, in tokens; longer is worth no more. Null is maxResponseTokens of the phase that sampled the "
        "response (ours: the report says the context window, and had one).",
    )
    weight: Weight = Field(default=1.0, description="Factor of this component in the sum. A negative one pays for short responses.")


ActionWord = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^\S+( \S+)*$")]


class ReasoningActionsReward(ContractModel):
    """Pays for words of reflection: how many there are in a response, at most maxActions, over maxActions (STILL-3 §4.2, RRA), to be added
    to {type: answer, correct: 1, incorrect: -1, missing: -1}."""

    type: Literal["reasoningActions"] = Field(description="reasoningActions.")
    words: Annotated[tuple[ActionWord, ...], Field(min_length=1, max_length=64)] = Field(
        default=("however", "but", "wait", "verify", "alternatively"),
        description="Words to count, of the response alone. Whole words in upper or lower case (ours: the report does not say); several "
        "words match with any white space or one hyphen between them.",
    )
    max_actions: Count = Field(default=20, description="Count from which the value is 1; the report's limit to spamming.")
    weight: Weight = Field(default=1.0, description="Factor of this component in the sum.")


Reward = Annotated[
    AnswerReward | FormatReward | FunctionReward | OverlongReward | ResponseLengthReward | ReasoningActionsReward,
    Field(discriminator="type"),
]
