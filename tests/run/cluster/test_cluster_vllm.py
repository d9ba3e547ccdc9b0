"""Whole runs across pods with vLLM engines: beside the trainers' pods and inside them, where they sleep while the trainer works."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

pytest.importorskip("ray")
pytest.importorskip("vllm", reason="vLLM is not installed: pip install reasonrl[cpu] or reasonrl[vllm]")
pytestmark = [pytest.mark.slow, pytest.mark.vllm]

RUN_SECONDS = 480.0
"""A run takes three quarters of a minute on two idle cores, nearly all of it start-up."""
STEPS = 3


def job(rollout: dict[str, Any]) -> dict[str, Any]:
    def task(seed: int) -> dict[str, Any]:
        return {"task": {"name": "chainedDigits", "size": 200, "seed": seed, "options": {"minTerms": 2, "maxTerms": 8, "largestDigit": 3}}}

    scratch = {
        # vLLM on a CPU has kernels for heads of 32 and more.
        "hiddenSize": 64,
        "heads": 2,
        "keyValueHeads": 2,
        "layers": 2,
        "feedForwardSize": 128,
        "initializerRange": 0.06,
        "contextTokens": 256,
    }
    spec = {
        "seed": 1,
        "model": {"scratch": scratch, "dtype": "float32"},
        "prompt": {"template": "raw", "maxTokens": 96},
        "data": {"train": [task(1)]},
        # Enough for rewards that differ, without which a step changes no weight and a lost push would not show.
        "sft": {"train": [task(2)], "steps": 60, "batchSize": 16, "maxTokens": 128, "learningRate": 5e-3},
        "algorithm": {
            "promptsPerStep": 8,
            "rolloutsPerPrompt": 8,
            "kl": {"estimator": "k3", "placement": "loss", "schedule": {"type": "constant", "value": 0.001}},
            "optimizer": {"learningRate": 3e-3},
        },
        "rewards": [{"type": "answer"}],
        "phases": [{"name": "only", "maxResponseTokens": 24, "until": {"steps": STEPS}}],
        "rollout": {"engine": "vllm", "maxSequences": 32, "keyValueCache": "64Mi", **rollout},
        "checkpoint": {"everySteps": 100, "keepLast": 2},
    }
    return {"apiVersion": "reasonrl.dev/v1alpha1", "kind": "ReasoningRLJob", "metadata": {"name": "vllm"}, "spec": spec}


def run(directory: Path, **rollout: Any) -> Path:
    directory.mkdir()
    file = directory / "job.yaml"
    file.write_text(yaml.safe_dump(job(rollout)))
    output = directory / "run"
    command = [sys.executable, "-m", "reasonrl.cli", "run", "--cluster", str(file), "--output", str(output)]
    done = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=RUN_SECONDS, check=False
    )
    logs = "\n".join(f"--- {log.name}\n{log.read_text()[-3000:]}" for log in sorted((output / ".cluster" / "logs").glob("*")))
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{logs}"
    return output


def lines(output: Path, file: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (output / file).read_text().splitlines()]


def steps(output: Path) -> list[dict[str, Any]]:
    return [record for record in lines(output, "metrics.jsonl") if record["kind"] == "step"]


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One rollout pod."""
    return run(tmp_path_factory.mktemp("apart") / "job", placement="Disaggregated", replicas=1)


def test_engines_in_pods_of_their_own_stay_in_step_with_the_trainer(apart: Path) -> None:
    records = steps(apart)
    assert [record["step"] for record in records] == list(range(STEPS))
    gaps = [record["sampler_gap_max"] for record in records if record["sampler_gap_max"] is not None]
    # A push that did not arrive would show as a gap of the size of an update, which is a hundred times this bound.
    assert len(gaps) > 1
    assert max(gaps) < 1e-3
    assert all(record["staleness_max"] == 0 for record in records)
    start, end = (
        load_file(apart / place / "model.safetensors")["model.layers.0.mlp.down_proj.weight"]
        for place in ("checkpoints/step-000000/policy", "final")
    )
    assert float((start - end).abs().max()) > 1e-3


def test_engines_that_sleep_inside_the_trainers_pods_give_the_same_model(apart: Path, tmp_path: Path) -> None:
    together = run(tmp_path / "job", placement="Colocated", replicas=1)
    assert [event["reason"] for event in lines(together, "events.jsonl")].count("RolloutLost") == 0
    expected = load_file(apart / "final" / "model.safetensors")
    found = load_file(together / "final" / "model.safetensors")
    assert found.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in found.items())
