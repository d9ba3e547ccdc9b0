"""The tree of fields: everything is in it, everything is described."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from reasonrl.api import reference_page
from reasonrl.api.field_tree import FieldNode, field_tree, fields_at, fields_like, walk
from reasonrl.api.job import ReasoningRLJob
from reasonrl.api.schema_errors import without_tags

ALL = [node for node in walk(field_tree()) if node.path]
REPOSITORY = Path(__file__).resolve().parents[2]


def models_in(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in models_in(part)]


def count_of(model: type[BaseModel]) -> int:
    """Fields of a model and of all models within it, as often as they occur, without looking at any schema."""
    return sum(1 + sum(count_of(inner) for inner in models_in(field.annotation)) for field in model.model_fields.values())


def test_every_field_of_every_model_is_in_the_tree() -> None:
    assert len(ALL) == count_of(ReasoningRLJob)


@pytest.mark.parametrize("node", ALL, ids=lambda node: f"{node.path} {node.variant}")
def test_every_field_is_described(node: FieldNode) -> None:
    assert node.description.endswith(".")
    assert 4 < len(node.description) < 420
    assert node.type != "any value"


def unbounded(schema: Any, where: str) -> list[str]:
    """Places in a JSON schema that may grow without end."""
    if isinstance(schema, list):
        return [found for index, each in enumerate(schema) for found in unbounded(each, f"{where}[{index}]")]
    if not isinstance(schema, dict):
        return []
    kind = schema.get("type")
    limits = {
        "string": {"maxLength", "enum", "const"},
        "array": {"maxItems"},
        "integer": {"maximum"},
        "number": {"maximum", "exclusiveMaximum"},
    }
    limits["object"] = {"properties", "maxProperties"}
    here = [where] if isinstance(kind, str) and kind in limits and not limits[kind] & set(schema) else []
    return here + [found for key, each in schema.items() for found in unbounded(each, f"{where}.{key}")]


def test_nothing_in_a_job_may_grow_without_end() -> None:
    """A cluster stores the schema and the objects."""
    schema = ReasoningRLJob.model_json_schema(by_alias=True)
    assert unbounded(schema, "") == []


def test_paths_with_and_without_types() -> None:
    tree = field_tree()
    assert [node.type for node in fields_at(tree, ["spec", "algorithm", "promptsPerStep"])] == ["integer"]
    rewards = {"answer", "format", "function", "overlong", "responseLength", "reasoningActions"}
    assert {node.variant for node in fields_at(tree, ["spec", "rewards", "weight"])} == rewards
    assert [node.default for node in fields_at(tree, ["spec", "rewards", "overlong", "bufferTokens"])] == ["4096"]
    assert [node.path for node in fields_at(tree, ["spec", "rewards", "function", "function"])] == ["spec.rewards[].function"]
    assert [node.path for node in fields_at(tree, ["spec", "rewards", "function"])] == ["spec.rewards", "spec.rewards[].function"]
    assert fields_at(tree, ["spec", "rewards", "answer", "bufferTokens"]) == []
    assert fields_at(tree, ["spec", "nothing"]) == []


def test_defaults_and_bounds_as_they_are_written() -> None:
    nodes = {node.path: node for node in ALL}
    assert nodes["spec.trainer.gpuMemory"].default == "80Gi"
    assert nodes["spec.algorithm.optimizer.learningRate"].default == "1.0e-6"
    assert nodes["spec.model.path"].default == "null"
    assert nodes["spec.phases"].required
    assert nodes["spec.trainer.zeroStage"].bounds == "at least 0, at most 3"
    assert nodes["spec.prompt.template"].choices == ("short", "long", "chat", "raw", "custom")


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("spec.phase", "spec.phases"),
        ("spec.algorithm.klschedule", "spec.algorithm.kl.schedule"),
        ("learningRate", "spec.algorithm.optimizer.learningRate"),
    ],
)
def test_a_path_that_there_is_not_finds_the_one_that_was_meant(written: str, meant: str) -> None:
    assert meant in fields_like(written)


def test_places_are_those_of_the_file_and_not_of_the_schema() -> None:
    assert without_tags(("spec", "rewards", 2, "function", "function")) == ("spec", "rewards", 2, "function")
    assert without_tags(("spec", "algorithm", "kl", "schedule", "cosine", "steps")) == ("spec", "algorithm", "kl", "schedule", "steps")
    assert without_tags(("spec", "phases", 0, "klSchedule", "piecewise", "points", 1, "step")) == (
        "spec",
        "phases",
        0,
        "klSchedule",
        "points",
        1,
        "step",
    )


def test_the_reference_page_is_fresh() -> None:
    page = REPOSITORY / reference_page.PAGE
    assert page.read_text(encoding="utf-8") == reference_page.reference_page(), "run: python -m reasonrl.api.reference_page"


def test_the_reference_page_has_every_field() -> None:
    page = reference_page.reference_page()
    assert [node.path for node in ALL if f"`{node.path}`" not in page and f"## {node.path}" not in page and node.name != "type"] == []
