"""The job that is hurt: small, learning, the same in every run, and with a gate in its reward at which a run can be made to wait.

The gate is a file. While it lies beside the reward function, every call of that function waits, so the run stays in its stage `grade` and
uses no processor. It is a user's reward function like any other: nothing of the product knows of it, and what it returns never changes.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

STEPS = 30
CHECKPOINT_EVERY = 2
ROLLOUT_PODS = 2
GATE = "wait-here"
_TASK = {"minTerms": 2, "maxTerms": 3}
_REWARD = '''"""Worth nothing, once it is let through."""

import os
import time


def score(response, answer, question):
    while os.path.exists({gate!r}):
        time.sleep(0.05)
    return 0.0
'''


def write_job(directory: Path) -> Path:
    """Returns the job file, below `directory`, with its reward function beside it."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "reward.py").write_text(_REWARD.format(gate=str(gate_of(directory))))
    file = directory / "job.yaml"
    file.write_text(yaml.safe_dump(_job()))
    return file


def gate_of(directory: Path) -> Path:
    return directory.resolve() / GATE


def close_gate(directory: Path) -> None:
    gate_of(directory).touch()


def open_gate(directory: Path) -> None:
    gate_of(directory).unlink(missing_ok=True)


def _job() -> dict[str, Any]:
    def task(size: int, seed: int) -> dict[str, Any]:
        return {"name": "chainedDigits", "size": size, "seed": seed, "options": _TASK}

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
        "rewards": [{"type": "answer", "timeoutSeconds": 60}, {"type": "function", "path": "reward.py", "timeoutSeconds": 900}],
        "phases": [
            {"name": "short", "maxResponseTokens": 32, "until": {"steps": STEPS // 2}},
            {"name": "long", "maxResponseTokens": 48, "until": {"steps": STEPS - STEPS // 2}},
        ],
        "rollout": {"engine": "torch", "replicas": ROLLOUT_PODS},
        "checkpoint": {"everySteps": CHECKPOINT_EVERY, "keepLast": 3},
        "failurePolicy": {"trainer": {"backoffSeconds": 1}, "rollout": {"backoffSeconds": 1}},
    }
    return {"apiVersion": "reasonrl.dev/v1alpha1", "kind": "ReasoningRLJob", "metadata": {"name": "faults"}, "spec": spec}


def quiet_environment() -> dict[str, str]:
    """One thread a process: threads that wait for each other would be measured too. And Ray's workers are as important as their pods,
    which they would otherwise let go first on a machine that has other work."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"}
