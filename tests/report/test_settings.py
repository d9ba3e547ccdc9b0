from __future__ import annotations

from reasonrl.report.read import read_runs
from reasonrl.report.settings import differing_settings, flattened


def _rows(make_run, *specs):
    runs = read_runs([make_run(f"run{i}", job=spec) for i, spec in enumerate(specs)])
    return {row.path: row.values for row in differing_settings(runs)}


def test_only_what_differs_is_listed(make_run):
    rows = _rows(
        make_run,
        {"seed": 1, "rollout": {"temperature": 1.0, "engine": "torch"}},
        {"seed": 1, "rollout": {"temperature": 1.2, "engine": "torch"}},
    )
    assert rows == {"rollout.temperature": ("1.0", "1.2")}


def test_a_part_that_one_run_turned_off_shows_null(make_run):
    rows = _rows(make_run, {"kl": {"estimator": "k3", "schedule": {"type": "cosine"}}}, {"kl": None})
    assert rows == {"kl.estimator": ("k3", "null"), "kl.schedule.type": ("cosine", "null")}


def test_items_of_a_list_go_by_name_then_by_type(make_run):
    short, long = {"name": "short", "steps": 10}, {"name": "long", "steps": 20}
    rows = _rows(make_run, {"phases": [long]}, {"phases": [short, long]})
    assert rows == {"phases[short].name": ("–", "short"), "phases[short].steps": ("–", "10")}
    assert flattened([{"type": "answer", "weight": 1.0}, {"type": "format"}]) == {
        "[answer].type": "answer",
        "[answer].weight": "1.0",
        "[format].type": "format",
    }


def test_lists_of_values_are_one_value():
    assert flattened({"betas": [0.9, 0.95], "tools": [], "on": True}) == {"betas": "0.9, 0.95", "tools": "[]", "on": "true"}
