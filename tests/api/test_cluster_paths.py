"""Paths of a job for a cluster: absolute, or of the hub. On one machine they may be relative to the job file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from reasonrl.api.parse import parse_job
from reasonrl.api.problems import JobError
from reasonrl.api.runtime import admit, admitted_job
from reasonrl.api.validation.cluster_paths import local_paths

JobWith = Callable[[Mapping[str, object]], dict[str, Any]]

EVERYWHERE: Mapping[str, object] = {
    "spec.model": {"path": "model", "tokenizer": "./tokenizer"},
    "spec.data.train[0].path": "questions.jsonl",
    "spec.sft": {"train": [{"path": "../sft.jsonl"}], "steps": 1},
    "spec.evaluation.benchmarks": [{"name": "aime", "path": "~/aime.jsonl"}],
    "spec.rewards[1]": {"type": "function", "path": "rewards.py"},
}
FIELDS = [
    "spec.model.path",
    "spec.model.tokenizer",
    "spec.data.train[0].path",
    "spec.sft.train[0].path",
    "spec.evaluation.benchmarks[0].path",
    "spec.rewards[1].path",
]


def test_each_relative_path_is_refused_where_it_stands_and_says_what_to_write(job_with: JobWith) -> None:
    job = job_with(EVERYWHERE)
    assert [path.field for path in local_paths(parse_job(job).spec)] == FIELDS
    with pytest.raises(JobError) as raised:
        admit(job, None)
    assert [problem.field for problem in raised.value.problems] == FIELDS
    assert all("is relative" in problem.message and "spec.volumes" in problem.message for problem in raised.value.problems)
    hub = [problem.field for problem in raised.value.problems if "hf://" in problem.message]
    assert hub == FIELDS[:2]


def test_the_operator_refuses_it_too(job_with: JobWith) -> None:
    with pytest.raises(JobError, match=r"spec\.data\.train\[0\]\.path: this path is relative"):
        admitted_job(name="first", namespace="team-a", spec=job_with({"spec.data.train[0].path": "questions.jsonl"})["spec"])


@pytest.mark.parametrize(
    "edits",
    [
        {"spec.model.path": "/models/qwen", "spec.model.tokenizer": "hf://Qwen/Qwen2.5-7B"},
        {"spec.data.train[0]": {"task": {"name": "chainedDigits"}}},
        {"spec.data.train[0]": {"huggingFace": {"name": "organisation/set"}}},
        {"spec.rewards[1]": {"type": "function", "path": "/opt/rewards.py"}},
    ],
    ids=lambda edits: next(iter(edits)),
)
def test_absolute_paths_and_the_hub_are_taken(edits: Mapping[str, object], job_with: JobWith) -> None:
    assert admit(job_with(edits), None) == parse_job(job_with(edits))


def test_another_scheme_is_refused_once(job_with: JobWith) -> None:
    with pytest.raises(JobError) as raised:
        admit(job_with({"spec.model.path": "s3://bucket/model"}), None)
    assert [problem.field for problem in raised.value.problems] == ["spec.model.path"]
