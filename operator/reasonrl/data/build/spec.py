"""What `reasonrl data build` is to do, as its YAML file says it: sources, rules, benchmarks, and what is written.

The rules stand in the file in the order in which they work. Unknown keys are refused, as in a job. Where the report is silent, a default
is ours and says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from reasonrl.api.contract_model import ContractModel, Count, NonNegativeCount, Seed, Share, ShortText, Temperature, Tokens
from reasonrl.api.data_spec import DataSource
from reasonrl.api.model_spec import ModelSpec
from reasonrl.api.prompt_spec import PromptSpec
from reasonrl.api.schema_errors import close_matches, field_path
from reasonrl.api.validation.data import source_problems
from reasonrl.data.errors import DataError
from reasonrl.data.ngram_overlap import OTHER_NUMBERS, SAME_QUESTION

QuestionType = Literal["proof", "multipleChoice", "multiPart", "yesNo", "openEnded", "figure"]
ALL_TYPES: tuple[QuestionType, ...] = ("proof", "multipleChoice", "multiPart", "yesNo", "openEnded", "figure")


class BuildSource(DataSource):
    """A set of questions to take from; see data.train of a job."""

    licence: ShortText | None = Field(default=None, description="Licence of the set, for the data card.")


class BenchmarkSource(DataSource):
    """A held-out set that no training question may be like."""

    name: ShortText | None = Field(default=None, description="What the card calls it. Null is its path or hub name.")


class TextLimits(ContractModel):
    """Language and length of questions."""

    language: Literal["english", "any"] = Field(default="english", description="english drops questions in another language.")
    min_characters: NonNegativeCount = Field(default=15, description="Shortest question, in characters.")
    max_characters: Count = Field(default=4000, description="Longest question, in characters.")


class Duplicates(ContractModel):
    """Repeats within and across the sources; the first is kept."""

    near: Share | None = Field(
        default=0.8,
        description="Least Jaccard similarity (0 to 1) of the sets of runs of three words at which a question with the same numbers and "
        "the same answer is a repeat. Null drops equal questions alone.",
    )


class Overlaps(ContractModel):
    """When a training question counts as one of a benchmark."""

    same_question: Share = Field(
        default=SAME_QUESTION,
        description="Least share (0 to 1) of one question's runs of three words, rare ones counting more, that the other has too, their "
        "numbers agreeing.",
    )
    other_numbers: Share | None = Field(
        default=OTHER_NUMBERS,
        description="Least Jaccard similarity (0 to 1) of the runs of three words with all numbers blotted out: a benchmark's wording with "
        "other numbers. Null keeps such questions.",
    )


class PassRate(ContractModel):
    """Keeps questions that a model answers now and then (STILL-3 §2 names a Qwen2.5-7B-Instruct and neither its number of answers nor its
    bounds; those here are ours)."""

    model: ModelSpec = Field(description="The model that answers, as in a job; path is relative to this file.")
    prompt: PromptSpec = Field(default_factory=PromptSpec, description="How it is asked, as in a job.")
    engine: Literal["torch", "vllm"] = Field(default="torch", description="What samples.")
    max_sequences: Annotated[Count, Field(le=65536)] = Field(default=64, description="Answers sampled at once.")
    max_response_tokens: Tokens = Field(description="Longest answer, in tokens.")
    require_boxed: bool = Field(default=False, description="Whether only an answer in \\boxed{} counts.")
    samples: Annotated[Count, Field(le=1024)] = Field(default=8, description="Answers to each question.")
    temperature: Temperature = Field(default=1.0, description="Sampling temperature.")
    min: Share = Field(default=0.125, description="Least share of right answers that is kept.")
    max: Share = Field(default=0.875, description="Largest share of right answers that is kept.")
    block: Annotated[Count, Field(le=256)] = Field(
        default=256, description="Questions measured at a time: what a build that is stopped has to measure again."
    )


class Order(ContractModel):
    """In which order the kept questions are written."""

    by: Literal["given", "shuffled", "field", "passRate"] = Field(
        default="given", description="given: as the sources have them. field: by a column. passRate: easiest first."
    )
    field: ShortText | None = Field(default=None, description="Column to sort by, when by is field.")
    descending: bool = Field(default=False, description="From the largest value to the smallest; for field and passRate.")


class BuildSpec(ContractModel):
    """A data set to be built."""

    sources: Annotated[tuple[BuildSource, ...], Field(min_length=1, max_length=64)] = Field(description="Sets to take from, in order.")
    drop_types: Annotated[tuple[QuestionType, ...], Field(max_length=6)] = Field(
        default=ALL_TYPES,
        description="Kinds of questions that are dropped (STILL-3 §2: proofs, multiple choice, several parts, concepts and open ends; "
        "yes or no, and figures that are not there, are ours).",
    )
    answers: Literal["numeric", "any"] = Field(default="numeric", description="numeric keeps answers that are one number (STILL-3 §2).")
    text: TextLimits = Field(default_factory=TextLimits, description="Language and length.")
    duplicates: Duplicates | None = Field(default_factory=Duplicates, description="Repeats. Null keeps them.")
    benchmarks: Annotated[tuple[BenchmarkSource, ...], Field(max_length=64)] = Field(
        default=(), description="Sets that no kept question may be like."
    )
    overlaps: Overlaps = Field(default_factory=Overlaps, description="When a question is like one of a benchmark.")
    pass_rate: PassRate | None = Field(default=None, description="Filter by a model's share of right answers. Null is none.")
    held_out: NonNegativeCount = Field(
        default=0, description="Questions that are set apart at random, in questions, into a file of their own."
    )
    order: Order = Field(default_factory=Order, description="Order of the training file.")
    seed: Seed = Field(default=1, description="Seed of the split, the shuffle and the sampling.")
    format: Literal["jsonl", "parquet"] = Field(default="jsonl", description="Kind of the files that are written.")


def parse_build_spec(mapping: Mapping[str, object]) -> BuildSpec:
    """Raises DataError with everything that is wrong, a line for each field."""
    try:
        spec = BuildSpec.model_validate_json(json.dumps(mapping, default=str), strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        raise DataError("\n".join(_told(each["loc"], each["type"], each["msg"]) for each in error.errors())) from error
    problems = [
        str(problem)
        for name, sources in (("sources", spec.sources), ("benchmarks", spec.benchmarks))
        for index, source in enumerate(sources)
        for problem in source_problems(f"{name}[{index}]", source)
    ]
    problems += _combinations(spec)
    if problems:
        raise DataError("\n".join(problems))
    return spec


def _combinations(spec: BuildSpec) -> list[str]:
    found = []
    if (spec.order.by == "field") != (spec.order.field is not None):
        found.append("order.field: is given exactly when order.by is field")
    if spec.order.by == "passRate" and spec.pass_rate is None:
        found.append("order.by: passRate needs the filter passRate, which measures it")
    if spec.text.min_characters > spec.text.max_characters:
        found.append("text.minCharacters: is more than maxCharacters, so no question would be kept")
    if spec.pass_rate is not None and spec.pass_rate.min > spec.pass_rate.max:
        found.append("passRate.min: is more than max, so no question would be kept")
    return found


def _told(location: tuple[str | int, ...], kind: str, message: str) -> str:
    path = field_path(location)
    if kind == "extra_forbidden":
        near = close_matches(str(location[-1]), _known_names())
        return f"{path}: there is no such field" + (f"; did you mean {near[0]}?" if near else "")
    return f"{path}: is required" if kind == "missing" else f"{path}: {message}"


def _known_names() -> list[str]:
    models = (BuildSpec, BuildSource, BenchmarkSource, TextLimits, Duplicates, Overlaps, PassRate, Order)
    return sorted({field.alias or name for model in models for name, field in model.model_fields.items()})
