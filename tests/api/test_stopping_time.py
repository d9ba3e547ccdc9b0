"""How long a trainer may take to stop, from what the job says about its model."""

from __future__ import annotations

from typing import Any

import pytest

from reasonrl.api.memory import checkpoint_bytes
from reasonrl.api.model_shape import ModelShape, UnknownShape
from reasonrl.api.parse import parse_job
from reasonrl.api.resource_plan import plan_resources
from reasonrl.api.stopping_time import LONGEST, SHORTEST, grace_seconds, parameters_by_name, stopping_seconds
from reasonrl.api.validation.warnings import job_warnings

QWEN_32B = ModelShape(
    hidden_size=5120,
    layers=64,
    heads=40,
    key_value_heads=8,
    head_size=128,
    feed_forward_size=27648,
    vocabulary=152064,
    tied_embeddings=False,
    query_key_value_bias=True,
)


def job(**spec: Any) -> Any:
    body: dict[str, Any] = {
        "model": {"path": "hf://Qwen/Qwen2.5-32B"},
        "data": {"train": [{"path": "/data/train.jsonl"}]},
        "algorithm": {
            "promptsPerStep": 128,
            "rolloutsPerPrompt": 16,
            "kl": {"schedule": {"type": "constant", "value": 0.001}},
        },
        "rewards": [{"type": "answer"}],
        "phases": [{"name": "main", "maxResponseTokens": 1024, "until": {"steps": 100}}],
        "rollout": {"placement": "Disaggregated", "replicas": 4, "gpusPerReplica": 2, "engine": "vllm"},
        "trainer": {"replicas": 4, "gpusPerReplica": 8, "engine": "deepspeed", "zeroStage": 3, "gradientCheckpointing": True},
        "checkpoint": {"volume": {"claimName": "shared"}},
    }
    return parse_job({"apiVersion": "reasonrl.dev/v1alpha1", "kind": "ReasoningRLJob", "metadata": {"name": "zero"}, "spec": body | spec})


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("hf://Qwen/Qwen2.5-32B", 32_000_000_000),
        ("hf://Qwen/Qwen2.5-Math-1.5B-Instruct", 1_500_000_000),
        ("/models/llama-3.1-8b/", 8_000_000_000),
        ("hf://HuggingFaceTB/SmolLM2-135M", 135_000_000),
        ("hf://Qwen/Qwen3-30B-A3B", 30_000_000_000),
        ("hf://example/model", None),
        ("hf://7b/model", None),
        ("hf://example/v2Beta", None),
    ],
)
def test_the_size_that_a_models_name_tells(path: str, parameters: int | None) -> None:
    assert parameters_by_name(path) == parameters


def test_the_grace_period_holds_a_checkpoint_and_has_a_floor_and_a_ceiling() -> None:
    size, _ = checkpoint_bytes(job().spec, QWEN_32B)
    # The name says 32B, and the shape has 32.8 billion parameters.
    assert 32e9 * 18 / size == pytest.approx(1.0, abs=0.03)
    assert grace_seconds(32_000_000_000, "bfloat16", reference=True) == stopping_seconds(32_000_000_000 * 18) == 60 + 1152
    assert grace_seconds(32_000_000_000, "bfloat16", reference=False) < grace_seconds(32_000_000_000, "bfloat16", reference=True)
    assert grace_seconds(135_000_000, "bfloat16", reference=True) == SHORTEST
    assert grace_seconds(None, "bfloat16", reference=True) == SHORTEST
    assert grace_seconds(700_000_000_000, "bfloat16", reference=True) == LONGEST


def test_plan_says_when_a_checkpoint_does_not_fit_into_the_grace_period() -> None:
    def notes(**spec: Any) -> str:
        return "\n".join(plan_resources(job(**spec), model_shape=QWEN_32B).notes)

    short = notes(pods={"trainer": {"terminationGracePeriodSeconds": 300}})
    assert "killed 300 s after" in short
    assert "raise spec.pods.trainer.terminationGracePeriodSeconds" in short
    assert "terminationGracePeriodSeconds" not in notes(pods={"trainer": {"terminationGracePeriodSeconds": 1800}})
    assert "terminationGracePeriodSeconds" in notes(model={"path": "hf://example/model"}), "the name says nothing, the config.json does"


def test_several_trainer_pods_need_a_volume_that_all_of_them_can_mount() -> None:
    notes = plan_resources(job(), model_shape=QWEN_32B).notes
    assert any("volume shared at once" in note and "ReadWriteMany" in note for note in notes)
    (warning,) = [each for each in job_warnings(job(checkpoint={})) if each.field == "spec.checkpoint.volume"]
    assert "ReadWriteMany" in warning.message
    alone = {"replicas": 1, "gpusPerReplica": 8, "engine": "deepspeed", "zeroStage": 3}
    assert not [each for each in job_warnings(job(checkpoint={}, trainer=alone)) if each.field == "spec.checkpoint.volume"]
    unknown = UnknownShape("nobody looked")
    assert any("ReadWriteMany" in note for note in plan_resources(job(), model_shape=unknown).notes)
    assert not any("ReadWriteMany" in note for note in plan_resources(job(trainer=alone), model_shape=unknown).notes)
