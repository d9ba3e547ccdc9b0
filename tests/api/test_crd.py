"""The CRDs say what the models say: fresh, small enough, described, bounded, and structural."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from reasonrl.api.crd import DIRECTORY, custom_resource_definitions, write
from reasonrl.api.crd_immutability import fixed_fields
from reasonrl.api.crd_schema import structural_schema
from reasonrl.api.job import JobSpec
from reasonrl.api.live_edits import LIVE_FIELDS
from reasonrl.api.runtime import RuntimeSpec
from reasonrl.api.status import JobStatus
from reasonrl.api.yaml_text import yaml_text

REPOSITORY = Path(__file__).resolve().parents[2]
CRDS = custom_resource_definitions()
LARGEST_CRD = 256 * 1024
"""Bytes as JSON: kubectl apply keeps the whole object in an annotation of at most so many."""
FORBIDDEN = {"$ref", "$defs", "oneOf", "anyOf", "allOf", "not", "const", "title", "default", "nullable", "uniqueItems", "prefixItems"}

Schema = dict[str, Any]


def root(crd: Schema) -> Schema:
    schema: Schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


def schemas(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Every schema in a schema, with its path."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from schemas(child, f"{path}.{name}".removeprefix("."))
    if "items" in schema:
        yield from schemas(schema["items"], f"{path}[]")
    if "additionalProperties" in schema:
        yield from schemas(schema["additionalProperties"], f"{path}{{}}")


def fields_of(model: type[BaseModel], path: str = "") -> Iterator[str]:
    """Paths of all fields of a model, without looking at any schema."""
    for name, field in model.model_fields.items():
        here = f"{path}.{field.alias or name}".removeprefix(".")
        yield here
        for inner in models_in(field.annotation):
            yield from fields_of(inner, here)


def models_in(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in models_in(part)]


ALL = [(f"{name}: {path}", schema) for name, crd in CRDS.items() for path, schema in schemas(root(crd))]


@pytest.mark.parametrize("name", CRDS)
def test_the_files_are_fresh(name: str, tmp_path: Path) -> None:
    write(tmp_path)
    assert (REPOSITORY / DIRECTORY / name).read_text(encoding="utf-8") == (tmp_path / name).read_text(encoding="utf-8"), (
        "run: python -m reasonrl.api.crd"
    )
    assert yaml.safe_load((tmp_path / name).read_text(encoding="utf-8")) == json.loads(json.dumps(CRDS[name]))


def test_no_other_file_lies_beside_them() -> None:
    assert {path.name for path in (REPOSITORY / DIRECTORY).iterdir()} == set(CRDS)


@pytest.mark.parametrize("name", CRDS)
def test_a_crd_fits_into_an_annotation(name: str) -> None:
    assert len(json.dumps(CRDS[name], separators=(",", ":"))) < LARGEST_CRD


@pytest.mark.parametrize(("model", "part"), [(JobSpec, "spec"), (JobStatus, "status")], ids=["the job's spec", "the job's status"])
def test_every_field_of_the_job_is_in_its_crd(model: type[BaseModel], part: str) -> None:
    crd = root(CRDS["reasonrl.dev_reasoningrljobs.yaml"])["properties"][part]
    there = {path.replace("[]", "") for path, _ in schemas(crd)}
    assert set(fields_of(model)) - there == set()
    assert {path for path in there if path and "{}" not in path} - set(fields_of(model)) == set()


@pytest.mark.parametrize("plural", ["reasoningrlruntimes", "clusterreasoningrlruntimes"])
def test_every_field_of_a_blueprint_is_in_its_crd(plural: str) -> None:
    crd = root(CRDS[f"reasonrl.dev_{plural}.yaml"])["properties"]["spec"]
    assert set(fields_of(RuntimeSpec)) - {path.replace("[]", "") for path, _ in schemas(crd)} == set()


@pytest.mark.parametrize(("path", "schema"), ALL, ids=[path for path, _ in ALL])
def test_a_field_is_described_bounded_and_structural(path: str, schema: Schema) -> None:
    assert not FORBIDDEN & set(schema)
    assert "type" in schema or schema.get("x-kubernetes-int-or-string")
    of_kubernetes = path.endswith((" ", "metadata"))
    inside = path.endswith(("[]", "{}"))
    if not of_kubernetes and not (inside and schema.get("type") != "object"):
        assert schema.get("description", "").endswith(".") or path.endswith("tools[]")
    if not path.endswith(("metadata", "apiVersion", "kind")):
        assert bounded(schema)


def bounded(schema: Schema) -> bool:
    limits = {
        "string": {"maxLength", "enum"},
        "integer": {"maximum", "format"},
        "number": {"maximum"},
        "array": {"maxItems"},
        "object": {"properties", "maxProperties", "x-kubernetes-preserve-unknown-fields"},
        None: {"maxLength"},
    }
    if schema.get("type") == "boolean":
        return True
    return bool(limits[schema.get("type")] & set(schema))


def test_only_free_objects_keep_fields_that_nobody_knows() -> None:
    free = {path.partition(": ")[2] for path, schema in ALL if schema.get("x-kubernetes-preserve-unknown-fields")}
    assert {re.sub(r"^spec\.", "", path) for path in free} == {
        "data.train[].task.options",
        "data.train[].reasoningGym.options",
        "sft.train[].task.options",
        "sft.train[].reasoningGym.options",
        "evaluation.benchmarks[].task.options",
        "evaluation.benchmarks[].reasoningGym.options",
        "pods.trainer.affinity",
        "pods.rollout.affinity",
        "rollout.tools[]",
    }


@pytest.mark.parametrize(
    ("path", "rule"),
    [(path, rule) for path, schema in ALL for rule in schema.get("x-kubernetes-validations", ())],
    ids=lambda value: value if isinstance(value, str) else value["message"][:40],
)
def test_a_rule_speaks_to_its_reader(path: str, rule: dict[str, str]) -> None:
    assert 10 < len(rule["message"]) < 300
    assert "\n" not in rule["message"]
    assert len(rule["rule"]) < 5000


def test_a_kind_of_an_object_brings_its_own_fields_and_no_others() -> None:
    schedule = structural_schema(JobSpec)["properties"]["algorithm"]["properties"]["kl"]["properties"]["schedule"]
    assert schedule["properties"]["type"]["enum"] == ["constant", "linear", "cosine", "piecewise", "adaptive"]
    assert schedule["required"] == ["type"]
    messages = {rule["message"] for rule in schedule["x-kubernetes-validations"]}
    assert "steps is required for type linear and cosine" in messages
    assert "points is read by type piecewise alone; remove it" in messages
    assert "start of type adaptive must be more than 0" in messages
    assert schedule["properties"]["start"]["minimum"] == 0
    assert "exclusiveMinimum" not in schedule["properties"]["start"]


def test_what_may_be_edited_live_is_what_no_rule_fixes() -> None:
    spec = root(CRDS["reasonrl.dev_reasoningrljobs.yaml"])["properties"]["spec"]
    fixed = set(fixed_fields(spec, "spec"))
    live = {field for field in LIVE_FIELDS if field.startswith("spec.")} | {"spec.phases"}
    assert not any(one == other or one.startswith(f"{other}.") for one in live for other in fixed)
    for path, _ in schemas(spec, "spec"):
        if path != "spec" and "[" not in path and "{" not in path and not any(each.startswith(f"{path}.") for each in live):
            assert any(path == each or path.startswith(f"{each}.") for each in fixed | live), path


def test_short_names_columns_and_subresources() -> None:
    spec = CRDS["reasonrl.dev_reasoningrljobs.yaml"]["spec"]
    version = spec["versions"][0]
    assert (spec["names"]["shortNames"], spec["names"]["categories"], spec["scope"]) == (["rrlj"], ["reasonrl"], "Namespaced")
    shown = [column["name"] for column in version["additionalPrinterColumns"] if not column.get("priority")]
    assert shown == ["Status", "Step", "Phase", "Reward", "Length", "KL", "Age"]
    known = {f".{path}" for path, _ in schemas(root(CRDS["reasonrl.dev_reasoningrljobs.yaml"]))} | {".metadata.creationTimestamp"}
    assert {column["jsonPath"] for column in version["additionalPrinterColumns"]} <= known
    assert set(version["subresources"]["scale"].values()) <= known


PRINTABLE = st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(PRINTABLE, max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(PRINTABLE, min_size=1, max_size=6), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(PRINTABLE, min_size=1, max_size=6), VALUES, min_size=1, max_size=3))
def test_what_is_written_as_yaml_is_read_back(value: dict[str, object]) -> None:
    assert yaml.safe_load(yaml_text(value)) == value
