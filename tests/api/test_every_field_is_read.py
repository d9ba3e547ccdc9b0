"""Nothing is accepted and ignored: each field is read by a run, by the plan or by a rule, or it is refused with a version."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic.alias_generators import to_snake

from reasonrl.api.job import ReasoningRLJob
from reasonrl.api.support import FUTURE_FIELDS

PACKAGE = Path(__file__).resolve().parents[2] / "operator" / "reasonrl"
OF_KUBERNETES = {"api_version", "kind", "labels", "annotations"}
"""Every object of a cluster has these."""
HANDED_OVER = {"effect", "toleration_seconds"}
"""Fields of objects that have Kubernetes' own shape and go into a pod as they are."""


def fields_of(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, str]]:
    """Attribute name and path in the file."""
    for name, field in model.model_fields.items():
        here = f"{path}.{field.alias}".removeprefix(".")
        yield name, here
        for inner in models_in(field.annotation):
            yield from fields_of(inner, here)


def models_in(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in models_in(part)]


def names_read() -> set[str]:
    """Attributes that some code reads, arguments that some function takes (a registry may hand a model's fields over by name), and keys
    that the operator reads: it has objects as the API server gives them."""
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        operator = path.is_relative_to(PACKAGE / "controller")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                found.add(node.attr)
            elif isinstance(node, ast.arg):
                found.add(node.arg)
            elif operator and isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(to_snake(node.value))
    return found


@pytest.mark.parametrize("name", sorted({name for name, _ in fields_of(ReasoningRLJob)} - OF_KUBERNETES - HANDED_OVER))
def test_a_field_is_read_or_refused(name: str) -> None:
    refused = [future.field for future in FUTURE_FIELDS]
    paths = [path for each, path in fields_of(ReasoningRLJob) if each == name]
    if all(any(path == field or path.startswith(f"{field}.") for field in refused) for path in paths):
        return
    assert name in READ, f"nothing reads {' or '.join(paths)}; read it, or refuse it in api/support.py"


READ = names_read()
