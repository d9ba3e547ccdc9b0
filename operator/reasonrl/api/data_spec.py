"""Where the questions come from, which of them are kept, and in what order they are asked."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from reasonrl.api.contract_model import ContractModel, Count, FreeObject, PathText, Seed, Share, ShortText, Temperature, Tokens


class HuggingFaceSource(ContractModel):
    """A data set of the Hugging Face hub."""

    name: ShortText = Field(description="organisation/set.")
    subset: ShortText | None = Field(default=None, description="Configuration of the set, where it has several.")
    split: ShortText = Field(default="train", description="Split of the set.")
    revision: ShortText | None = Field(default=None, description="Branch, tag or commit. Null is its main branch.")


class ReasoningGymSource(ContractModel):
    """Questions made by a task of the reasoning-gym package."""

    name: ShortText = Field(description="Name of the task, such as chain_sum.")
    size: Annotated[Count, Field(le=10_000_000)] = Field(default=1000, description="How many questions to make.")
    seed: Seed = Field(default=1, description="Seed of the questions. Use another one for a benchmark than for training.")
    options: FreeObject = Field(default_factory=dict, description="Settings of the task itself, by its own names.")


class TaskSource(ContractModel):
    """Questions made by a task that ships with ReasonRL, with a tokenizer of its own and worked answers for a warm start."""

    name: Literal["chainedDigits"] = Field(description="chainedDigits: chains of signed digits, such as a 7 b + 9 c - 5.")
    size: Annotated[Count, Field(le=10_000_000)] = Field(default=20000, description="How many questions to make.")
    seed: Seed = Field(default=1, description="Seed of the questions. Sets whose seeds differ modulo 8 have no question in common.")
    options: FreeObject = Field(
        default_factory=dict,
        description="Settings of the task: minTerms and maxTerms, the length of a chain, in terms; largestDigit, 2 to 9.",
    )


class DataSource(ContractModel):
    """One set of questions with gold answers: exactly one of path, huggingFace, reasoningGym and task."""

    path: PathText | None = Field(
        default=None,
        description="A .jsonl, .jsonl.gz, .json or .parquet file, or a directory saved by the datasets package; relative to the job file, "
        "and on a cluster absolute.",
    )
    hugging_face: HuggingFaceSource | None = Field(default=None, description="A data set of the Hugging Face hub.")
    reasoning_gym: ReasoningGymSource | None = Field(default=None, description="Questions made by a task of the reasoning-gym package.")
    task: TaskSource | None = Field(default=None, description="Questions made by a task that ships with ReasonRL.")
    question_field: ShortText = Field(default="question", description="Column with the question; for path and huggingFace.")
    answer_field: ShortText = Field(default="answer", description="Column with the gold answer; for path and huggingFace.")
    limit: Count | None = Field(default=None, description="Only the first so many rows. Null is all.")


class NumericAnswerFilter(ContractModel):
    """Keeps questions whose gold answer is one number (STILL-3 §2)."""

    type: Literal["numericAnswer"] = Field(description="numericAnswer.")


class PassRateFilter(ContractModel):
    """Keeps questions that the policy, as training begins, answers now and then: sampled and graded before the first step (STILL-3 §2,
    whose model, number of answers and bounds are not known; those here are ours)."""

    type: Literal["passRate"] = Field(description="passRate. It must be the last filter.")
    min: Share = Field(default=0.125, description="Least share of right answers that is kept.")
    max: Share = Field(default=0.875, description="Largest share of right answers that is kept.")
    samples: Annotated[Count, Field(le=1024)] = Field(default=8, description="Answers sampled for each question.")
    temperature: Temperature = Field(default=1.0, description="Sampling temperature.")
    max_response_tokens: Tokens | None = Field(default=None, description="Longest answer, in tokens. Null is that of the first phase.")


DataFilter = Annotated[NumericAnswerFilter | PassRateFilter, Field(discriminator="type")]


class DataSpec(ContractModel):
    """The questions to train on (STILL-3 §2: about 90,000)."""

    train: Annotated[tuple[DataSource, ...], Field(min_length=1, max_length=64)] = Field(description="Sources, one after another.")
    filters: Annotated[tuple[DataFilter, ...], Field(max_length=16)] = Field(
        default=(), description="Rules that leave questions out, in order; the run says how many each of them dropped."
    )
    order: Literal["shuffled", "given", "sortedBy"] = Field(
        default="shuffled",
        description="shuffled: anew in each epoch, from spec.seed. given: as the sources have them. sortedBy: by sortField (the report's "
        "32B run had a sorted order; by what is not known).",
    )
    sort_field: ShortText | None = Field(default=None, description="Column to sort by, ascending, when order is sortedBy.")
    sort_descending: bool = Field(default=False, description="Sort from the largest value to the smallest.")
