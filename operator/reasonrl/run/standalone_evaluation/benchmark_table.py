"""The report's benchmarks by name: where they are on the Hugging Face hub, and how their columns are called.

Facts from public repositories that load these sets. The hub could not be reached from where this was written, so **none of
these rows has been tried**; a set that moved or renamed a column is told by its error, and `--data name=path` puts a local file in its
place.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownBenchmark:
    """`title` as the report's tables call it, `questions` as many as the set has; `source` says where the entry was read."""

    title: str
    hub_name: str
    subset: str | None
    split: str
    question_field: str
    answer_field: str
    questions: int
    source: str


KNOWN_BENCHMARKS: Mapping[str, KnownBenchmark] = {
    "aime24": KnownBenchmark(
        title="AIME 2024",
        hub_name="HuggingFaceH4/aime_2024",
        subset=None,
        split="train",
        question_field="problem",
        answer_field="answer",
        questions=30,
        source="loaders of several evaluation suites, lighteval among them",
    ),
    "aime25": KnownBenchmark(
        title="AIME 2025",
        hub_name="yentinglin/aime_2025",
        subset=None,
        split="train",
        question_field="problem",
        answer_field="answer",
        questions=30,
        source="loaders of several evaluation suites, lighteval among them",
    ),
    "math500": KnownBenchmark(
        title="MATH-500 (the report's MATH-OAI)",
        hub_name="HuggingFaceH4/MATH-500",
        subset=None,
        split="test",
        question_field="problem",
        answer_field="answer",
        questions=500,
        source="loaders of several evaluation suites; the 500 problems are openai/prm800k's test split",
    ),
    "omni-math": KnownBenchmark(
        title="Omni-MATH",
        hub_name="KbsdJames/Omni-MATH",
        subset=None,
        split="test",
        question_field="problem",
        answer_field="answer",
        questions=4428,
        source="its loaders; the report's tables use 500 of the 4,428 (omni_math_num_500 of its repository)",
    ),
    "liveaops": KnownBenchmark(
        title="LiveAOPS",
        hub_name="jojo23333/LiveAoPSBench-2024",
        subset=None,
        split="train",
        question_field="question",
        answer_field="answer",
        questions=5317,
        source="README of DSL-Lab/aops; its split is a guess. The report's tables use 519 of August to November 2024, from its repository",
    ),
    "olympiadbench": KnownBenchmark(
        title="OlympiadBench, English mathematics as text with final answers",
        hub_name="Hothan/OlympiadBench",
        subset="OE_TO_maths_en_COMP",
        split="train",
        question_field="question",
        answer_field="final_answer.0",
        questions=674,
        source="its loaders; of a question with several final answers the first is compared",
    ),
}
