"""Whole runs across pods of this machine: each placement, each trainer, sampling ahead. Real Ray nodes, real processes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

pytest.importorskip("ray")

RUN_SECONDS = 420.0
"""A run takes half a minute on two idle cores, most of it start-up."""
START = "checkpoints/step-000000/policy"
TASK = {"minTerms": 2, "maxTerms": 3}


def job(**changes: Any) -> dict[str, Any]:
    def task(size: int, seed: int) -> dict[str, Any]:
        return {"name": "chainedDigits", "size": size, "seed": seed, "options": TASK}

    scratch = {
        "hiddenSize": 64,
        "layers": 2,
        "heads": 2,
        "keyValueHeads": 2,
        "feedForwardSize": 128,
        "initializerRange": 0.06,
        "contextTokens": 256,
    }
    spec = {
        "seed": 1,
        "model": {"scratch": scratch, "dtype": "float32"},
        "prompt": {"template": "raw", "maxTokens": 96},
        "data": {"train": [{"task": task(80, 1)}]},
        "sft": {"train": [{"task": task(120, 2)}], "steps": 80, "batchSize": 16, "maxTokens": 128, "learningRate": 4e-3},
        "algorithm": {
            "promptsPerStep": 8,
            "rolloutsPerPrompt": 4,
            "kl": {"estimator": "k3", "placement": "loss", "schedule": {"type": "constant", "value": 0.001}},
            "optimizer": {"learningRate": 1e-4},
        },
        "rewards": [{"type": "answer"}],
        "phases": [
            {"name": "short", "maxResponseTokens": 16, "until": {"steps": 3}},
            {"name": "long", "maxResponseTokens": 32, "until": {"steps": 4}},
        ],
        "rollout": {"engine": "torch", "replicas": 2},
        "checkpoint": {"everySteps": 3, "keepLast": 10},
        **changes,
    }
    return {"apiVersion": "reasonrl.dev/v1alpha1", "kind": "ReasoningRLJob", "metadata": {"name": "pods"}, "spec": spec}


def run(directory: Path, **changes: Any) -> Path:
    directory.mkdir()
    file = directory / "job.yaml"
    file.write_text(yaml.safe_dump(job(**changes)))
    output = directory / "run"
    command = [sys.executable, "-m", "reasonrl.cli", "run", "--cluster", str(file), "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_SECONDS, check=False)
    logs = "\n".join(f"--- {log.name}\n{log.read_text()[-3000:]}" for log in sorted((output / ".cluster" / "logs").glob("*")))
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{logs}"
    return output


def steps(output: Path) -> list[dict[str, Any]]:
    records = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    return [record for record in records if record["kind"] == "step"]


def weights(output: Path, model: str = "final") -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(output / model / "model.safetensors")
    return found


def distance(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    return sum(float((tensor - other[name]).square().sum()) for name, tensor in one.items()) ** 0.5


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rollout pods and one trainer rank with the built-in engines."""
    return run(tmp_path_factory.mktemp("apart") / "job")


@pytest.mark.slow
def test_a_run_across_pods_ends_in_a_model_and_a_complete_record(apart: Path) -> None:
    assert [record["step"] for record in steps(apart)] == list(range(7))
    assert all(record["staleness_max"] == 0 for record in steps(apart))
    assert all(record["sampler_gap_max"] < 1e-3 for record in steps(apart) if record["sampler_gap_max"] is not None)
    events = [json.loads(line)["reason"] for line in (apart / "events.jsonl").read_text().splitlines()]
    assert events.count("RolloutJoined") >= 1
    assert "Completed" in events


@pytest.mark.slow
def test_the_run_learns_so_that_the_other_tests_compare_something(apart: Path) -> None:
    assert all(record["gradient_norm"] > 0 for record in steps(apart))
    assert distance(weights(apart), weights(apart, START)) > 0.01


@pytest.mark.slow
def test_engines_in_the_trainers_pods_give_the_same_model(apart: Path, tmp_path: Path) -> None:
    """Where an engine is, and how many there are, changes nothing: tasks and seeds follow from the job."""
    together = run(tmp_path / "job", rollout={"engine": "torch", "replicas": 1, "placement": "Colocated"})
    expected = weights(apart)
    assert all(torch.equal(tensor, expected[name]) for name, tensor in weights(together).items())


@pytest.mark.slow
def test_two_deepspeed_ranks_make_the_built_in_trainers_model(apart: Path, tmp_path: Path) -> None:
    pytest.importorskip("deepspeed")
    divided = run(
        tmp_path / "job",
        trainer={"engine": "deepspeed", "replicas": 2, "zeroStage": 2},
        rollout={"engine": "torch", "replicas": 1, "maxStaleness": 0},
    )
    first, expected = steps(divided)[0], steps(apart)[0]
    for field in ("reward_mean", "response_length_mean", "loss", "gradient_norm", "kl_k3"):
        assert first[field] == pytest.approx(expected[field], rel=1e-3, abs=1e-5)
    # Rounding may tip a token that was drawn on the edge, and what follows from it.
    assert distance(weights(divided), weights(apart)) < 0.1 * distance(weights(apart), weights(apart, START))


@pytest.mark.slow
def test_steps_sampled_ahead_are_as_stale_as_allowed_and_no_more(tmp_path: Path) -> None:
    ahead = run(tmp_path / "job", rollout={"engine": "torch", "replicas": 1, "maxStaleness": 1})
    staleness = [record["staleness_max"] for record in steps(ahead)]
    assert max(staleness) == 1
    # The first step of a phase has nothing that was sampled for it before.
    assert [staleness[0], staleness[3]] == [0, 0]
