"""Whole runs with each selection rule and each of the report's rewards: what is kept adds up, and an empty step changes nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from reasonrl.api.exit_codes import ExitCode
from reasonrl.cli.job_file import load_job_file
from reasonrl.run.local import run_on_one_machine

STEPS, RESPONSES = 3, 16


@pytest.fixture
def finished(tiny_job: dict[str, Any], tmp_path: Path) -> Callable[..., Path]:
    """The run's directory, after it trained without a warm start's length: three steps of four questions with four responses."""

    def run(name: str, spec: Mapping[str, Any]) -> Path:
        job = json.loads(json.dumps(tiny_job))
        job["spec"] |= {
            "phases": [{"name": "only", "maxResponseTokens": 12, "until": {"steps": STEPS}}],
            "evaluation": {"everySteps": 0, "benchmarks": []},
            **spec,
        }
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(job))
        directory = tmp_path / name
        result = run_on_one_machine(load_job_file(path), directory=directory, base_directory=tmp_path, console=None)
        assert result.exit_code is ExitCode.SUCCESS
        return directory

    return run


def steps(directory: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == "step"]


def policy(directory: Path, step: int) -> dict[str, torch.Tensor]:
    return load_file(directory / "checkpoints" / f"step-{step:06d}" / "policy" / "model.safetensors")


def test_what_each_rule_keeps_adds_up(finished: Callable[..., Path]) -> None:
    rules = [{"type": "overlengthMask", "when": "afterGroupStatistics"}, {"type": "questionSelection"}, {"type": "responseSelection"}]
    found = steps(finished("run", {"selection": rules}))
    assert len(found) == STEPS
    for step in found:
        names = ["unscored", *(rule["type"] for rule in rules)]
        assert list(step["selection_kept"]) == list(step["selection_dropped"]) == names
        left = RESPONSES
        for name in names:
            left -= step["selection_dropped"][name]
            assert step["selection_kept"][name] == left
        assert step["kept_responses"] == left
        assert step["responses"] == RESPONSES
        for name in ("loss", "entropy", "gradient_norm"):
            assert step[name] is None or math.isfinite(step[name])


def test_a_step_of_which_nothing_is_left_leaves_the_weights_and_goes_on(finished: Callable[..., Path]) -> None:
    # No share of right answers lies between these bounds, so every step is empty.
    directory = finished(
        "empty",
        {"selection": [{"type": "accuracyWindow", "above": 0.51, "below": 0.52}], "checkpoint": {"everySteps": 1, "keepLast": 10}},
    )
    found = steps(directory)
    assert [step["skipped_updates"] for step in found] == [2] * STEPS
    assert [step["kept_responses"] for step in found] == [0] * STEPS
    assert [step["loss"] for step in found] == [step["gradient_norm"] for step in found] == [None] * STEPS
    assert len({step["kl_coefficient"] for step in found}) == STEPS, "schedules go on"
    first, last = policy(directory, 0), policy(directory, STEPS)
    assert all(torch.equal(first[name], tensor) for name, tensor in last.items())


def test_dynamic_sampling_replaces_questions_and_says_what_its_bound_leaves_out(finished: Callable[..., Path]) -> None:
    directory = finished("dynamic", {"selection": [{"type": "dynamicSampling", "maxRefills": 2}]})
    found = steps(directory)
    assert any(step["refills"] for step in found)
    for step in found:
        assert step["refills"] <= 2
        assert step["responses"] == RESPONSES + 4 * step["replaced_questions"]
        # A step ends its refills early only when nothing is lacking.
        assert step["refills"] == 2 or step["empty_questions"] == 0
        assert step["selection_kept"]["dynamicSampling"] == RESPONSES - 4 * step["empty_questions"]


def test_the_reports_rewards_are_told_apart_and_leave_accuracy_alone(finished: Callable[..., Path]) -> None:
    answer = {"type": "answer", "correct": 1, "incorrect": -1, "missing": -1}
    others = [{"type": "responseLength"}, {"type": "reasoningActions", "words": ["a", "b"], "maxActions": 4}]
    directory = finished("rewards", {"rewards": [answer, *others], "telemetry": {"rolloutsEverySteps": 1, "rolloutsPerStep": RESPONSES}})
    for step in steps(directory):
        means = step["reward_components"]
        assert set(means) == {"answer", "responseLength", "reasoningActions"}
        assert step["accuracy"] == pytest.approx((means["answer"] + 1) / 2)
        assert step["reward_mean"] == pytest.approx(sum(means.values()))
        lines = [json.loads(line) for line in (directory / "rollouts" / f"step-{step['step']:06d}.jsonl").read_text().splitlines()]
        assert len(lines) == RESPONSES
        for line in lines:
            values = {score["component"]: score["value"] for score in line["scores"]}
            assert values["responseLength"] == pytest.approx(min(line["length"] / 12, 1))
            assert values["reasoningActions"] == pytest.approx(min(sum(w in ("a", "b") for w in line["response"].split()), 4) / 4)
            assert line["reward"] == pytest.approx(sum(values.values()))
            assert line["correct"] == (values["answer"] == 1)
