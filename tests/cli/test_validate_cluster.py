"""`reasonrl validate --cluster` and `--runtime`, and `plan --runtime`: a job as the operator would admit it, before there is a cluster."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Cli = Callable[..., Any]
JobFile = Callable[..., Path]

RUNTIME = """\
apiVersion: reasonrl.dev/v1alpha1
kind: ClusterReasoningRLRuntime
metadata: {name: h100}
spec:
  image: registry/reasonrl:1
  trainer: {engine: deepspeed, replicas: 4, gpusPerReplica: 8, zeroStage: 3}
  rollout: {engine: vllm, replicas: 4, gpusPerReplica: 2}
  checkpoint: {volume: {claimName: shared}}
"""


@pytest.fixture
def cluster_text(minimal_text: str) -> str:
    return minimal_text.replace("questions.jsonl", "/data/questions.jsonl").replace("spec:\n", "spec:\n  runtimeRef: {name: h100}\n")


@pytest.fixture
def runtime_file(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str = RUNTIME) -> Path:
        path = tmp_path / "runtime.yaml"
        path.write_text(text)
        return path

    return write


def test_a_relative_path_is_good_here_and_refused_for_a_cluster(reasonrl: Cli, job_file: JobFile) -> None:
    path = job_file()
    assert reasonrl("validate", path).code == 0
    answer = reasonrl("validate", path, "--cluster")
    assert answer.code == 2
    lines = answer.err.splitlines()
    first = lines.index("error: spec.data.train[0].path = 'questions.jsonl'")
    assert "this path is relative" in lines[first + 1]
    assert lines[first + 2] == f"  at {path}:8"


def test_files_of_the_cluster_are_not_looked_for_here(reasonrl: Cli, job_file: JobFile, minimal_text: str) -> None:
    path = job_file(minimal_text.replace("questions.jsonl", "/not/here.jsonl"))
    assert reasonrl("validate", path).code == 2
    assert reasonrl("validate", path, "--cluster").code == 0


def test_a_job_is_checked_with_the_blueprint_that_it_names(
    reasonrl: Cli, job_file: JobFile, runtime_file: Callable[..., Path], cluster_text: str
) -> None:
    path = job_file(cluster_text + "  trainer: {zeroStage: 2}\n")
    alone = reasonrl("validate", path, "--cluster")
    assert alone.code == 2
    assert "error: spec.trainer.zeroStage" in alone.err
    assert "ClusterReasoningRLRuntime h100 was not looked at; give its file with --runtime" in alone.err
    together = reasonrl("validate", path, "--runtime", runtime_file())
    assert (together.code, together.err) == (0, "")
    assert "first is valid" in together.out


def test_what_the_blueprint_says_wrong_is_laid_at_its_door(
    reasonrl: Cli, job_file: JobFile, runtime_file: Callable[..., Path], cluster_text: str
) -> None:
    runtime = runtime_file(RUNTIME.replace("replicas: 4, gpusPerReplica: 2", "replicas: 4, minReplicas: 5"))
    answer = reasonrl("validate", job_file(cluster_text), "--runtime", runtime)
    assert answer.code == 2
    assert "error: spec.rollout.minReplicas = 5" in answer.err
    assert f"(the blueprint h100 says it, in {runtime})" in answer.err
    own = reasonrl("validate", job_file(cluster_text + "  rollout: {replicas: 2, minReplicas: 3}\n"), "--runtime", runtime)
    assert "error: spec.rollout.minReplicas = 3" in own.err
    assert "the blueprint h100 says it" not in own.err


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("name: h100", "name: a100", "--runtime gives no ClusterReasoningRLRuntime h100; it gives ClusterReasoningRLRuntime a100"),
        ("kind: Cluster", "kind: ", "it gives ReasoningRLRuntime h100"),
        ("  image:", "  imag:", "did you mean image?"),
        ("  image: registry/reasonrl:1", "  phases: []", "is the job's to say"),
        ("kind: ClusterReasoningRLRuntime", "kind: ReasoningRLJob", "must be ClusterReasoningRLRuntime or ReasoningRLRuntime"),
    ],
)
def test_another_blueprint_than_the_one_named_is_refused(
    old: str, new: str, says: str, reasonrl: Cli, job_file: JobFile, runtime_file: Callable[..., Path], cluster_text: str
) -> None:
    answer = reasonrl("validate", job_file(cluster_text), "--runtime", runtime_file(RUNTIME.replace(old, new)))
    assert answer.code == 2
    assert says in answer.err
    assert "Traceback" not in answer.err


def test_a_blueprint_of_another_namespace_is_not_the_jobs(
    reasonrl: Cli, job_file: JobFile, runtime_file: Callable[..., Path], cluster_text: str
) -> None:
    runtime = runtime_file(RUNTIME.replace("kind: Cluster", "kind: ").replace("{name: h100}", "{name: h100, namespace: team-b}"))
    text = cluster_text.replace("{name: h100}", "{name: h100, kind: ReasoningRLRuntime}")
    assert reasonrl("validate", job_file(text), "--runtime", runtime).code == 0
    answer = reasonrl("validate", job_file(text.replace("{name: first}", "{name: first, namespace: team-a}")), "--runtime", runtime)
    assert answer.code == 2
    assert "has it in namespace team-b, and not in the job's" in answer.err


def test_several_blueprints_each_for_its_jobs(
    reasonrl: Cli, job_file: JobFile, runtime_file: Callable[..., Path], cluster_text: str, tmp_path: Path
) -> None:
    other = tmp_path / "other.yaml"
    other.write_text(RUNTIME.replace("name: h100", "name: a100"))
    one, two = job_file(cluster_text), job_file(cluster_text.replace("h100", "a100"), name="two.yaml")
    assert reasonrl("validate", one, two, "--runtime", runtime_file(), "--runtime", other).code == 0


def test_a_blueprint_that_the_job_does_not_name_is_a_warning(
    reasonrl: Cli, job_file: JobFile, runtime_file: Callable[..., Path], cluster_text: str
) -> None:
    answer = reasonrl("validate", job_file(cluster_text.replace("  runtimeRef: {name: h100}\n", "")), "--runtime", runtime_file())
    assert answer.code == 0
    assert "warning: spec.runtimeRef" in answer.err
    assert "adds nothing to this job" in answer.err


def test_a_plan_is_of_the_job_with_its_blueprint(
    reasonrl: Cli, job_file: JobFile, runtime_file: Callable[..., Path], cluster_text: str
) -> None:
    path = job_file(cluster_text)
    alone = reasonrl("plan", path, "-o", "json")
    assert "was not looked at; give its file with --runtime" in alone.err
    together = reasonrl("plan", path, "--runtime", runtime_file(), "-o", "json")
    assert (together.code, together.err) == (0, "")
    plans = [json.loads(answer.out) for answer in (alone, together)]
    assert [plan["gpus"] for plan in plans] == [0, 40]


def test_a_plan_refuses_what_the_operator_would(
    reasonrl: Cli, job_file: JobFile, runtime_file: Callable[..., Path], cluster_text: str
) -> None:
    path = job_file(cluster_text.replace("/data/questions", "questions"))
    answer = reasonrl("plan", path, "--runtime", runtime_file())
    assert answer.code == 2
    assert "this path is relative" in answer.err
