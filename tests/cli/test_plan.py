"""`reasonrl plan`: tables for people, JSON for programs, and a refusal with numbers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]
JobFile = Callable[..., Path]

QUICKSTART = Path(__file__).resolve().parents[2] / "examples" / "quickstart.yaml"
REAL_MODEL = QUICKSTART.with_name("real-model.yaml")
QWEN_1_5B = {
    "model_type": "qwen2",
    "hidden_size": 1536,
    "num_hidden_layers": 28,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "intermediate_size": 8960,
    "vocab_size": 151936,
    "tie_word_embeddings": True,
}


@pytest.fixture
def model_config(tmp_path: Path) -> Path:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(QWEN_1_5B))
    return path


def test_the_quickstart_as_tables(reasonrl: Cli) -> None:
    answer = reasonrl("plan", QUICKSTART)
    assert answer.code == 0
    for text in ("quickstart-trainer-0", "ctx-40", "ctx-96", "On-policy", "Memory of the trainer, on a CPU", "A checkpoint has"):
        assert text in answer.out


def test_the_plan_as_json(reasonrl: Cli) -> None:
    answer = reasonrl("plan", QUICKSTART, "--output", "json")
    assert answer.code == 0
    found = json.loads(answer.out)
    assert [phase["name"] for phase in found["phases"]] == ["ctx-40", "ctx-96"]
    assert found["phases"][0]["responses_per_step"] == 256
    assert found["memory"][0]["total"] == sum(item["bytes"] for item in found["memory"][0]["items"])


def test_a_model_that_is_not_here_is_not_guessed(reasonrl: Cli) -> None:
    answer = reasonrl("plan", REAL_MODEL)
    assert answer.code == 0
    assert "could not be estimated" in answer.out
    assert "--model-config" in answer.out
    assert json.loads(reasonrl("plan", REAL_MODEL, "-o", "json").out)["memory"] == []


def test_a_config_makes_the_estimate(reasonrl: Cli, model_config: Path) -> None:
    answer = reasonrl("plan", REAL_MODEL, "--model-config", model_config)
    assert answer.code == 0
    assert "1,543,714,304 parameters" in answer.out
    assert "shared by a trainer and a rollout engine" in answer.out


def test_a_local_model_is_read_from_its_directory(reasonrl: Cli, job_file: JobFile, tmp_path: Path, minimal_text: str) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(QWEN_1_5B))
    path = job_file(minimal_text.replace("hf://Qwen/Qwen2.5-1.5B", "model"))
    assert json.loads(reasonrl("plan", path, "-o", "json").out)["parameters"] == 1_543_714_304


@pytest.mark.parametrize("text", ["{", "[]", '{"model_type": "mixtral"}'])
def test_a_config_that_cannot_be_used_is_said(text: str, reasonrl: Cli, job_file: JobFile, tmp_path: Path, minimal_text: str) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(text)
    answer = reasonrl("plan", job_file(minimal_text.replace("hf://Qwen/Qwen2.5-1.5B", "model")))
    assert answer.code == 0
    assert "could not be estimated" in answer.out


def test_a_named_config_must_be_readable(reasonrl: Cli, tmp_path: Path) -> None:
    answer = reasonrl("plan", REAL_MODEL, "--model-config", tmp_path / "nothing.json")
    assert answer.code == 2
    assert "--model-config" in answer.err


def test_a_job_that_cannot_fit_is_refused_with_the_arithmetic(
    reasonrl: Cli, job_file: JobFile, model_config: Path, minimal_text: str
) -> None:
    path = job_file(minimal_text + "  trainer: {gpusPerReplica: 1, gpuMemory: 16Gi}\n")
    answer = reasonrl("plan", path, "--model-config", model_config)
    assert answer.code == 2
    assert "error: spec.trainer" in answer.err
    assert "of 16 GiB (trainer.gpuMemory)" in answer.err
    assert "1,543,714,304 parameters × 8 bytes" in answer.err
    assert f"at {path}:17" in answer.err


def test_a_bad_job_has_no_plan(reasonrl: Cli, job_file: JobFile) -> None:
    answer = reasonrl("plan", job_file("kind: Nothing\n"))
    assert answer.code == 2
    assert answer.out == ""
    assert "error: kind" in answer.err


def test_deepspeed_is_planned_although_it_does_not_run_yet(reasonrl: Cli, job_file: JobFile, minimal_text: str) -> None:
    path = job_file(minimal_text + "  trainer: {engine: deepspeed, replicas: 2, gpusPerReplica: 8, zeroStage: 3}\n")
    answer = reasonrl("plan", path)
    assert answer.code == 0
    assert "first-trainer-1" in answer.out
    assert "GPUs: 16" in answer.out
