"""The file of a sweep: what it may hold, what arms it makes, and what is said about a bad one."""

from __future__ import annotations

from typing import Any

import pytest

from reasonrl.api.problems import JobError
from reasonrl.api.sweep_jobs import FieldPathError, arms_of, record_of, sweep_runs, with_value
from reasonrl.api.sweep_spec import parse_record, parse_sweep

BASE: dict[str, Any] = {
    "apiVersion": "reasonrl.dev/v1alpha1",
    "kind": "ReasoningRLJob",
    "metadata": {"name": "base", "labels": {"team": "a"}},
    "spec": {
        "model": {"path": "hf://Qwen/Qwen2.5-7B"},
        "data": {"train": [{"path": "questions.jsonl"}]},
        "rewards": [{"type": "answer"}],
        "algorithm": {"kl": None},
        "phases": [
            {"name": "short", "maxResponseTokens": 512, "until": {"steps": 10}},
            {"name": "long", "maxResponseTokens": 1024, "until": {"steps": 10}},
        ],
    },
}


def sweep(**fields: object) -> dict[str, Any]:
    return {"name": "table", "job": "base.yaml", "seeds": [1, 2], **fields}


def runs(**fields: object) -> dict[tuple[str, int], Any]:
    return {(run.arm, run.seed): run.job for run in sweep_runs(parse_sweep(sweep(**fields)), BASE)}


def problems(**fields: object) -> dict[str, str]:
    with pytest.raises(JobError) as raised:
        sweep_runs(parse_sweep(sweep(**fields)), BASE)
    return {problem.field: problem.message for problem in raised.value.problems}


def test_each_arm_runs_with_each_seed_and_differs_in_what_it_sets_alone() -> None:
    found = runs(arms=[{"name": "base"}, {"name": "cold", "set": {"spec.rollout.temperature": 0.6}}])
    assert list(found) == [("base", 1), ("cold", 1), ("base", 2), ("cold", 2)]
    base, cold = found["base", 2].dumped(), found["cold", 2].dumped()
    assert base["spec"]["seed"] == cold["spec"]["seed"] == 2
    assert cold["metadata"]["name"] == "cold"
    assert cold["metadata"]["labels"] == {"team": "a"}
    assert cold["spec"]["rollout"].pop("temperature") == 0.6
    base["spec"]["rollout"].pop("temperature")
    assert cold["spec"] == base["spec"]


def test_axes_give_every_combination_under_names_of_their_values() -> None:
    kl = {"schedule": {"type": "constant", "value": 0.001}}
    axes = [
        {"field": "spec.rollout.temperature", "values": [0.6, 1.0]},
        {"field": "spec.algorithm.kl", "values": {"off": None, "on": kl}},
        {"field": "spec.algorithm.rolloutsPerPrompt", "name": "n", "values": [8]},
    ]
    found = runs(axes=axes)
    assert {arm for arm, _ in found} == {
        f"temperature-{temperature}-kl-{state}-n-8" for temperature in ("0-6", "1-0") for state in ("off", "on")
    }
    job = found["temperature-0-6-kl-on-n-8", 1].spec
    assert (job.rollout.temperature, job.algorithm.rollouts_per_prompt) == (0.6, 8)
    assert job.algorithm.kl is not None
    assert found["temperature-0-6-kl-off-n-8", 1].spec.algorithm.kl is None


def test_arms_and_axes_are_crossed() -> None:
    arms = arms_of(
        parse_sweep(
            sweep(
                arms=[{"name": "a"}, {"name": "b", "title": "second", "set": {"spec.rollout.temperature": 0.6}}],
                axes=[{"field": "spec.algorithm.promptsPerStep", "values": [64, 128]}],
            )
        )
    )
    assert [arm.name for arm in arms] == [f"{arm}-prompts-per-step-{size}" for arm in "ab" for size in (64, 128)]
    assert arms[2].title == "second, promptsPerStep 64"
    assert arms[2].set == {"spec.rollout.temperature": 0.6, "spec.algorithm.promptsPerStep": 64}


def test_a_path_makes_objects_that_are_not_there_and_finds_items_by_place_and_by_name() -> None:
    made = with_value(BASE, "spec.algorithm.kl.schedule.type", "constant")
    assert made["spec"]["algorithm"]["kl"] == {"schedule": {"type": "constant"}}
    assert BASE["spec"]["algorithm"]["kl"] is None
    assert with_value(BASE, "spec.phases[1].until.steps", 7)["spec"]["phases"][1]["until"] == {"steps": 7}
    assert with_value(BASE, "spec.phases[long].until.steps", 7) == with_value(BASE, "spec.phases[1].until.steps", 7)
    assert with_value(BASE, "spec.rewards[answer].weight", 2)["spec"]["rewards"] == [{"type": "answer", "weight": 2}]
    assert with_value(BASE, "spec.phases[0]", {})["spec"]["phases"][0] == {}


@pytest.mark.parametrize(
    "path", ["spec.phases[2].until", "spec.phases[none].until", "spec.phases.until", "spec.model.path.deeper", "spec.model[0]", "spec..a"]
)
def test_a_path_that_leads_nowhere_is_an_error(path: str) -> None:
    with pytest.raises(FieldPathError):
        with_value(BASE, path, 1)


def test_problems_name_arm_and_field_and_all_are_found_at_once() -> None:
    found = problems(
        arms=[
            {"name": "fine"},
            {"name": "typo", "set": {"spec.rollout.temprature": 0.6}},
            {"name": "uneven", "set": {"spec.algorithm.updatesPerStep": 3}},
            {"name": "nowhere", "set": {"spec.phases[5].until.steps": 3}},
            {"name": "seeded", "set": {"spec.seed": 3}},
        ],
        panels=[{"title": "(a)", "arms": ["fine", "missing"]}],
    )
    assert "did you mean temperature" in found["arm typo: spec.rollout.temprature"]
    assert any(field.startswith("arm uneven: spec.algorithm") for field in found)
    assert "2 items" in found["arm nowhere: spec.phases[5].until.steps"]
    assert "seeds" in found["arm seeded: spec.seed"]
    assert found["panels[0].arms"].startswith("there is no such arm")
    assert not any(field.startswith("arm fine") for field in found)


@pytest.mark.parametrize("base", [{}, {"spec": []}, {**BASE, "spec": {**BASE["spec"], "rewards": []}}])
def test_what_is_wrong_with_the_job_itself_is_said_once(base: dict[str, Any]) -> None:
    with pytest.raises(JobError) as raised:
        sweep_runs(parse_sweep(sweep(arms=[{"name": "a"}, {"name": "b", "set": {"spec.rollout.temprature": 0.6}}])), base)
    fields = [problem.field for problem in raised.value.problems]
    assert any(field.startswith("every arm: ") for field in fields)
    assert len(fields) == len(set(fields))
    assert not any(field.startswith("arm a: ") for field in fields)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "arms"),
        ({"arms": [{"name": "a"}, {"name": "a"}]}, "arms"),
        ({"arms": [{"name": "warm-start"}]}, "arms"),
        ({"arms": [{"name": "a"}], "seeds": [1, 1]}, "seeds"),
        ({"arms": [{"name": "a"}], "seeds": []}, "seeds"),
        ({"arms": [{"name": "a"}], "seed": [1]}, "seed"),
        ({"arms": [{"name": "A b"}]}, "arms[0].name"),
        ({"arms": [{"name": "a", "set": {"metadata.name": "x"}}]}, "arms[0].set.metadata.name"),
        ({"axes": [{"field": "spec.rollout.temperature", "values": []}]}, "axes[0].values"),
        ({"axes": [{"field": "spec.algorithm.kl", "values": [{"a": 1}]}]}, "axes"),
        ({"axes": [{"field": "spec.rollout.temperature", "values": [1, 1]}]}, "axes"),
        ({"arms": [{"name": "a"}], "seeds": list(range(100)), "axes": [{"field": "spec.x", "values": list(range(20))}]}, "arms"),
    ],
)
def test_a_bad_file_is_refused_by_its_field(fields: dict[str, object], field: str) -> None:
    assert field in problems(**fields)


def test_what_a_sweep_writes_about_itself_can_be_read_again() -> None:
    record = record_of(parse_sweep(sweep(arms=[{"name": "a", "set": {"spec.algorithm.kl": None}}], panels=[{"title": "p", "arms": ["a"]}])))
    assert parse_record(record.dumped()) == record
