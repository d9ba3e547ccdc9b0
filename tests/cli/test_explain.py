"""`reasonrl explain`: every field can be asked for, with and without list marks and types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from reasonrl.api.field_tree import field_tree, walk

Cli = Callable[..., Any]
PATHS = list(dict.fromkeys(node.path for node in walk(field_tree()) if node.path))


def test_every_field_can_be_explained(reasonrl: Cli) -> None:
    descriptions = {node.path: node.description for node in walk(field_tree())}
    for path in PATHS:
        answer = reasonrl("explain", path)
        assert answer.code == 0, path
        assert f"FIELD:       {path}" in answer.out
        assert " ".join(descriptions[path].split()) in " ".join(answer.out.split())


def test_an_object_shows_its_fields_with_type_and_default(reasonrl: Cli) -> None:
    out = reasonrl("explain", "spec.algorithm").out
    assert "TYPE:        object" in out
    assert "  promptsPerStep  <integer>  default 128" in out


def test_a_field_with_types_shows_each(reasonrl: Cli) -> None:
    out = reasonrl("explain", "spec.algorithm.kl.schedule").out
    for tag in ("constant", "linear", "cosine", "piecewise", "adaptive"):
        assert f"TYPE {tag}:" in out
    assert "  value  <number>  required" in out


@pytest.mark.parametrize("written", ["spec.phases.until", "spec.phases[].until", "spec.phases[3].until", ".spec.phases.until"])
def test_list_marks_do_not_matter(written: str, reasonrl: Cli) -> None:
    assert "FIELD:       spec.phases[].until\n" in reasonrl("explain", written).out


def test_a_type_may_be_named(reasonrl: Cli) -> None:
    out = reasonrl("explain", "spec.rewards.overlong").out
    assert "bufferTokens" in out
    assert "timeoutSeconds" not in out


def test_recursive_is_an_outline(reasonrl: Cli) -> None:
    out = reasonrl("explain", "spec.phases", "--recursive").out
    assert "phases  <list of objects>  -required-" in out
    assert "    truncatedShare  <object>" in out
    assert "      forSteps  <integer>" in out


def test_the_whole_job_without_a_field(reasonrl: Cli) -> None:
    out = reasonrl("explain").out
    assert "apiVersion" in out
    assert "  spec  <object>  required" in out


@pytest.mark.parametrize(
    ("written", "meant"),
    [("spec.phase", "spec.phases"), ("spec.algorithm.kl.shedule", "spec.algorithm.kl.schedule"), ("learningRate", "learningRate")],
)
def test_an_unknown_field_finds_the_one_that_was_meant(written: str, meant: str, reasonrl: Cli) -> None:
    answer = reasonrl("explain", written)
    assert answer.code == 2
    assert answer.out == ""
    assert "did you mean" in answer.err
    assert meant in answer.err
