"""Parsing a job: defaults, round trips, and telling everything that is wrong at once."""

from __future__ import annotations

import datetime
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from reasonrl.api import job as job_module
from reasonrl.api.parse import parse_job
from reasonrl.api.problems import JobError, Problem

JobWith = Callable[[Mapping[str, object]], dict[str, Any]]

FULL = {
    "spec.model.reference": {"resetEverySteps": 200, "resetOptimizer": True},
    "spec.data": {
        "train": [
            {"path": "/data/rl-90k.jsonl", "questionField": "q", "answerField": "a", "limit": 4000},
            {"huggingFace": {"name": "org/set", "subset": "main", "split": "test", "revision": "abc"}},
            {"reasoningGym": {"name": "chain_sum", "size": 500, "seed": 3, "options": {"min_terms": 2}}},
            {"task": {"name": "chainedDigits", "size": 10, "seed": 2, "options": {"minTerms": 4, "maxTerms": 9}}},
        ],
        "filters": [{"type": "numericAnswer"}, {"type": "passRate", "min": 0.1, "samples": 4, "maxResponseTokens": 512}],
        "order": "sortedBy",
        "sortField": "level",
        "sortDescending": True,
    },
    "spec.sft": {"train": [{"path": "sft.parquet", "responseField": "r"}], "epochs": 3, "packing": True},
    "spec.algorithm": {
        "promptsPerStep": 96,
        "updatesPerStep": 3,
        "epochs": 2,
        "loss": {"dualClip": 3.0},
        "entropy": {"target": 0.2},
        "kl": {"estimator": "k3+", "schedule": {"type": "piecewise", "points": [{"step": 0, "value": 0.1}, {"step": 9, "value": 0}]}},
        "optimizer": {"schedule": {"type": "cosine", "end": 0.1, "steps": 100}, "warmupSteps": 5},
    },
    "spec.rewards": [
        {"type": "answer", "incorrect": -1, "missing": -1},
        {"type": "format", "mode": "additive", "weight": 0.2},
        {"type": "function", "path": "rewards.py", "function": "score"},
        {"type": "overlong", "bufferTokens": 512},
        {"type": "responseLength", "maxTokens": 16000},
        {"type": "reasoningActions", "words": ["wait", "double check"], "maxActions": 10, "weight": 0.5},
    ],
    "spec.selection": [
        {"type": "overlengthMask", "when": "afterGroupStatistics"},
        {"type": "accuracyWindow", "above": 0.1, "below": 0.9},
        {"type": "questionSelection"},
        {"type": "responseSelection", "when": "beforeGroupStatistics"},
        {"type": "dynamicSampling", "maxRefills": 5},
    ],
    "spec.phases[1]": {
        "name": "ctx-4k",
        "maxResponseTokens": 4096,
        "temperature": 1.1,
        "klSchedule": {"type": "linear", "start": 0.1, "steps": 50, "clock": "run"},
        "clipLow": 0.1,
        "clipHigh": 0.3,
        "learningRate": 5e-7,
        "promptsPerStep": 48,
        "rollout": {"replicas": 2},
        "until": {
            "truncatedShare": {"above": 0.1},
            "responseLength": {"above": 4000},
            "accuracyPlateau": {},
            "lengthPlateau": {},
            "maxSteps": 800,
        },
        "advance": "Manual",
    },
    "spec.evaluation.benchmarks": [{"name": "aime24", "path": "aime.jsonl", "prompt": {"template": "custom", "text": "{question}"}}],
    "spec.checkpoint": {"volume": {"claimName": "ckpt"}, "keepBest": {"metric": "aime24"}, "maxBytes": "50Gi"},
    "spec.image": "registry/reasonrl:1",
    "spec.pods": {
        "trainer": {
            "env": [{"name": "A", "value": ""}, {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
            "resources": {"requests": {"cpu": 4, "memory": "64Gi"}, "limits": {"cpu": "4500m"}},
            "sharedMemory": "16Gi",
            "tolerations": [{"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}],
            "affinity": {"nodeAffinity": {"anything": [{"goes": True}]}},
        }
    },
    "spec.volumes": [{"claimName": "data", "mountPath": "/data"}],
    "spec.network": {"egress": [{"cidr": "10.0.0.0/8", "ports": [{"port": 443}]}]},
    "spec.scheduling": {"gang": "Kueue", "queue": "team-a", "spread": "Preferred"},
    "spec.failurePolicy": {"trainer": {"maxRestarts": 2}, "onUnhealthy": {"nan": "Rollback"}, "startDeadlineSeconds": 60},
    "spec.telemetry": {"prometheusPort": 9100, "prometheusAddress": "0.0.0.0"},
}


def test_the_minimal_job_is_valid_and_has_the_documented_defaults(minimal: dict[str, Any]) -> None:
    spec = parse_job(minimal).spec
    algorithm = spec.algorithm
    assert (spec.seed, algorithm.prompts_per_step, algorithm.rollouts_per_prompt, algorithm.updates_per_step) == (42, 128, 16, 1)
    assert (algorithm.loss.clip_low, algorithm.loss.clip_high, algorithm.advantage.epsilon) == (0.2, 0.28, 1e-6)
    assert (algorithm.kl, algorithm.optimizer.learning_rate, algorithm.optimizer.betas) == (None, 1e-6, (0.9, 0.95))
    assert (spec.prompt.template, spec.prompt.max_tokens, spec.data.order) == ("long", 1024, "shuffled")
    assert (spec.rollout.engine, spec.rollout.temperature, spec.trainer.engine) == ("torch", 1.0, "torch")
    assert (spec.checkpoint.every_steps, spec.checkpoint.keep_last, spec.evaluation.every_steps) == (20, 3, 10)


def test_the_job_in_the_documentation_is_valid() -> None:
    documentation = inspect.getdoc(job_module)
    assert documentation is not None
    example = documentation[documentation.index("apiVersion:") :]
    assert parse_job(yaml.safe_load(inspect.cleandoc("    " + example))).metadata.name == "first"


def test_a_job_survives_being_dumped_and_parsed_again(minimal: dict[str, Any], job_with: JobWith) -> None:
    for mapping in (minimal, job_with(FULL)):
        job = parse_job(mapping)
        assert parse_job(job.dumped()) == job
        assert parse_job(yaml.safe_load(yaml.safe_dump(job.dumped()))) == job


def test_a_dumped_job_has_the_names_of_the_file(job_with: JobWith) -> None:
    dumped = parse_job(job_with(FULL)).dumped()
    spec: Any = dumped["spec"]
    assert spec["algorithm"]["kl"]["estimator"] == "k3+"
    assert spec["phases"][1]["until"]["truncatedShare"] == {"above": 0.1, "forSteps": 20}
    assert spec["checkpoint"]["maxBytes"] == "50Gi"
    assert parse_job(dumped).spec.checkpoint.max_bytes == 50 * 1024**3


def test_a_job_cannot_be_changed(minimal: dict[str, Any]) -> None:
    spec = parse_job(minimal).spec
    with pytest.raises(ValueError, match="frozen"):
        spec.seed = 3  # type: ignore[misc]


def test_a_whole_number_stands_for_a_number_but_text_does_not(job_with: JobWith) -> None:
    assert parse_job(job_with({"spec.rollout.temperature": 1})).spec.rollout.temperature == 1.0
    with pytest.raises(JobError, match="without quotes"):
        parse_job(job_with({"spec.rollout.temperature": "1.0"}))


def test_every_problem_is_told_at_once_even_behind_a_misspelt_field(job_with: JobWith) -> None:
    with pytest.raises(JobError) as raised:
        parse_job(
            job_with(
                {
                    "spec.algoritm": {},
                    "spec.model.dtype": "bf16",
                    "spec.rewards[1]": {"type": "answr"},
                    "spec.rollout.minReplicas": 2,
                    "spec.checkpoint.keepBest": {"metric": "aime"},
                    "spec.phases[1]": {"name": "ctx-2k", "maxResponseTokens": 4096, "until": {"steps": 5}},
                }
            )
        )
    assert {problem.field for problem in raised.value.problems} == {
        "spec.algoritm",
        "spec.model.dtype",
        "spec.rewards[1].type",
        "spec.rollout.minReplicas",
        "spec.checkpoint.keepBest.metric",
        "spec.phases[1].name",
    }


def test_a_rule_is_silent_about_what_a_wrong_value_may_have_meant(job_with: JobWith) -> None:
    """`steps: "200"` is a wrong type, and not also a phase that never ends."""
    with pytest.raises(JobError) as raised:
        parse_job(job_with({"spec.phases[0].until": {"steps": "200"}}))
    assert [problem.field for problem in raised.value.problems] == ["spec.phases[0].until.steps"]


def test_items_after_a_refused_one_keep_their_place(job_with: JobWith) -> None:
    with pytest.raises(JobError) as raised:
        parse_job(job_with({"spec.rewards": [{"type": "answer"}, {"type": "nonsense"}, {"type": "format", "mode": "gte"}]}))
    assert [problem.field for problem in raised.value.problems] == ["spec.rewards[1].type", "spec.rewards[2].mode"]


@pytest.mark.parametrize(
    ("value", "kind"), [(datetime.date(2024, 1, 1), "date"), (b"raw", "bytes"), ({1: 2}, "must be text"), ({True: 2}, "must be text")]
)
def test_values_that_only_yaml_has_are_refused(value: object, kind: str, job_with: JobWith) -> None:
    with pytest.raises(JobError, match=kind):
        parse_job(job_with({"metadata.annotations": {"a": value}}))


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
PATHS = (
    "spec",
    "spec.model",
    "spec.data.train",
    "spec.data.train[0]",
    "spec.rewards",
    "spec.rewards[0]",
    "spec.rewards[0].type",
    "spec.phases[0].until",
    "spec.phases[0].klSchedule",
    "spec.algorithm.kl",
    "spec.sft",
    "spec.checkpoint.maxBytes",
    "metadata.labels",
)


@given(path=st.sampled_from(PATHS), value=JSON_VALUES)
def test_nonsense_anywhere_is_a_list_of_problems_and_never_a_crash(path: str, value: object) -> None:
    mapping: dict[str, Any] = {
        "apiVersion": "reasonrl.dev/v1alpha1",
        "kind": "ReasoningRLJob",
        "metadata": {"name": "first"},
        "spec": {
            "model": {"path": "hf://Qwen/Qwen2.5-1.5B"},
            "data": {"train": [{"path": "questions.jsonl"}]},
            "rewards": [{"type": "answer"}],
            "phases": [{"name": "ctx-2k", "maxResponseTokens": 2048, "until": {"steps": 200}}],
            "algorithm": {},
            "checkpoint": {},
        },
    }
    place: Any = mapping
    *parents, last = path.replace("[0]", ".0").split(".")
    for part in parents:
        place = place[int(part) if part.isdigit() else part]
    place[int(last) if last.isdigit() else last] = value
    assert all(problem.message and problem.field for problem in problems_of(mapping))


def problems_of(mapping: Mapping[str, object]) -> tuple[Problem, ...]:
    try:
        parse_job(mapping)
    except JobError as error:
        return error.problems
    return ()
