"""The table of runs: how fast each was, and how old its responses were."""

from __future__ import annotations

from dataclasses import replace

import pytest

from reasonrl.report.read import read_run
from reasonrl.report.tables import run_rows


def faster(run, factor, *, staleness):
    steps = [
        step.model_copy(
            update={"seconds": {name: value / factor for name, value in step.seconds.items()}, "staleness_max": staleness(step.step)}
        )
        for step in run.steps
    ]
    return replace(run, steps=steps)


@pytest.fixture
def runs(make_run):
    first = faster(read_run(make_run("on-time")), 1.0, staleness=lambda step: 0)
    return [first, faster(read_run(make_run("ahead")), 1.5, staleness=lambda step: 0 if step < 10 else 2)]


def test_a_run_is_held_against_the_speed_of_the_first(runs):
    # 1,600 tokens in two seconds, and in two thirds of that.
    assert [row.speed for row in run_rows(runs)] == ["800", "1,200 (1.50×)"]


def test_measured_staleness_is_shown_where_there_was_any(runs):
    assert [row.staleness for row in run_rows(runs)] == [None, "2 (mean 1.50)"]


def test_a_run_without_steps_has_no_speed(runs):
    empty = replace(runs[0], steps=[])
    assert [(row.speed, row.staleness) for row in run_rows([empty, runs[0]])][1] == ("800", None)
