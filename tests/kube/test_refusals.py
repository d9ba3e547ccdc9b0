"""What a real API server takes and what it refuses, with the generated CRDs and nothing else: no webhook, no operator.

The table of bad jobs is the one that `parse_job` is held to, so the two cannot drift apart.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from testbed.bare_job import JOBS, STRICT, edited, minimal, without_nulls
from testbed.client import ApiError, Client

from reasonrl.api.parse import parse_job
from reasonrl.api.problems import JobError
from reasonrl.api.runtime import admit

pytestmark = pytest.mark.usefixtures("crds")
REPOSITORY = Path(__file__).resolve().parents[2]
TABLE = REPOSITORY / "tests" / "api" / "bad_jobs.yaml"
EXAMPLES = sorted((REPOSITORY / "examples").glob("*.yaml"))


class Refusal(NamedTuple):
    """A bad job, and what the server's answer contains; `by` is "ours" for our own words, "schema" for the server's, "operator" for a
    job that the server takes."""

    edits: Mapping[str, object]
    field: str
    says: str
    by: str


def refusals() -> list[Refusal]:
    found = []
    for row in yaml.safe_load(TABLE.read_text(encoding="utf-8")):
        by = "schema" if "schema" in row else "operator" if "accepted" in row else "ours"
        found.append(Refusal(row["edits"], row["field"], row.get("schema") or row.get("server") or row["says"], by))
    return found


REFUSALS = refusals()


def answer(api: Client, job: Mapping[str, Any]) -> str | None:
    """What the server says against the job, None when it takes it; nothing is stored."""
    path = f"/apis/reasonrl.dev/v1alpha1/namespaces/default/{JOBS}"
    status, text = api.raw("POST", path, job, query={**STRICT, "dryRun": "All"})
    assert status in (201, 400, 422), text
    return None if status == 201 else ApiError(status, text).message


@pytest.mark.parametrize("bad", REFUSALS, ids=lambda bad: f"{bad.by}: {bad.field}: {bad.says}"[:90])
def test_the_api_server_refuses_what_parse_job_refuses(bad: Refusal, api: Client) -> None:
    job = edited(minimal(), bad.edits)
    with pytest.raises(JobError):
        parse_job(job)
    said = answer(api, job)
    if bad.by == "operator":
        assert said is None
    else:
        assert said is not None, "the server took it"
        assert bad.says in said


RELATIVE = {
    "spec.model.path": {"spec.model.path": "model"},
    "spec.model.tokenizer": {"spec.model.tokenizer": "tokenizer"},
    "spec.data.train[0].path": {"spec.data.train[0].path": "questions.jsonl"},
    "spec.sft.train[0].path": {"spec.sft": {"train": [{"path": "./sft.jsonl"}], "steps": 1}},
    "spec.evaluation.benchmarks[0].path": {"spec.evaluation.benchmarks": [{"name": "aime", "path": "../aime.jsonl"}]},
    "spec.rewards[1].path": {"spec.rewards[1]": {"type": "function", "path": "rewards.py"}},
}


@pytest.mark.parametrize(("field", "edits"), RELATIVE.items(), ids=RELATIVE)
def test_a_relative_path_is_refused_as_the_operator_refuses_it(field: str, edits: Mapping[str, object], api: Client) -> None:
    job = edited(minimal(), edits)
    with pytest.raises(JobError) as raised:
        admit(job, None)
    (problem,) = raised.value.problems
    assert problem.field == field
    said = answer(api, job)
    assert said is not None, "the server took it"
    assert f"{field}: " in said
    assert problem.message in said
    parse_job(job)


def test_most_refusals_are_in_our_own_words() -> None:
    assert sum(bad.by == "ours" for bad in REFUSALS) >= 120
    assert sum(bad.by == "operator" for bad in REFUSALS) <= 4


GOOD: dict[str, Mapping[str, object]] = {
    "minimal": {},
    "every optional field null": {
        "spec.runtimeRef": None,
        "spec.algorithm.kl": None,
        "spec.sft": None,
        "spec.image": None,
        "spec.checkpoint.volume": None,
        "spec.model.scratch": None,
        "spec.rollout.dtype": None,
        "spec.phases[0].klSchedule": None,
    },
    "divides by the default": {"spec.algorithm.updatesPerStep": 8},
    "an adaptive schedule": {"spec.algorithm.kl.schedule": {"type": "adaptive", "start": 0.1, "target": 0.1}},
    "stairs": {"spec.algorithm.kl.schedule": {"type": "piecewise", "points": [{"step": 0, "value": 1}, {"step": 9, "value": 0}]}},
    "a learning rate schedule": {"spec.algorithm.optimizer.schedule": {"type": "cosine", "end": 0.1, "steps": 10}},
    "every reward": {
        "spec.rewards": [
            {"type": "answer", "incorrect": -1, "missing": -1},
            {"type": "format", "mode": "additive", "weight": 0.2},
            {"type": "function", "path": "/data/rewards.py"},
            {"type": "function", "path": "/data/rewards.py", "function": "other"},
            {"type": "overlong", "bufferTokens": 512},
        ]
    },
    "free objects": {"spec.data.train[0]": {"reasoningGym": {"name": "chain_sum", "options": {"min_terms": 3, "nested": {"a": [1]}}}}},
    "a smaller limit that is meant": {
        "spec.phases[1]": {"name": "ctx-1k", "maxResponseTokens": 1024, "until": {"steps": 10}, "allowShrink": True}
    },
    "triggers": {
        "spec.phases[0].until": {"maxSteps": 800, "truncatedShare": {}, "responseLength": {"above": 2000}, "lengthPlateau": {"window": 9}}
    },
    "half of a pair, with the other half in a blueprint": {"spec.runtimeRef": {"name": "h100"}, "spec.rollout.minReplicas": 4},
    "a queue, with its gang in a blueprint": {"spec.runtimeRef": {"kind": "ReasoningRLRuntime", "name": "a"}, "spec.scheduling.queue": "q"},
    "a queue": {
        "spec.scheduling": {"gang": "Kueue", "queue": "team-a", "topologyKey": "topology.kubernetes.io/zone", "spread": "Required"}
    },
    "pods": {
        "spec.image": "registry.example:5000/reasonrl@sha256:0",
        "spec.pods.trainer": {
            "imagePullSecrets": [{"name": "pull"}],
            "env": [
                {"name": "A", "value": ""},
                {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
                {"name": "C", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "k.json"}}},
            ],
            "resources": {"requests": {"cpu": 4, "memory": "64Gi", "rdma/hca": 1}, "limits": {"cpu": "4500m", "memory": "64Gi"}},
            "sharedMemory": "16Gi",
            "nodeSelector": {"nvidia.com/gpu.product": "H100"},
            "tolerations": [{"operator": "Exists"}, {"key": "a", "value": "b", "effect": "NoExecute", "tolerationSeconds": 3}],
            "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": {}}]}},
            "annotations": {"example.org/a": "b"},
            "terminationGracePeriodSeconds": 600,
        },
    },
    "volumes and network": {
        "spec.volumes": [
            {"claimName": "data", "mountPath": "/data"},
            {"claimName": "models.v1", "mountPath": "/models", "readOnly": False},
        ],
        "spec.network.egress": [{"cidr": "0.0.0.0/0", "ports": [{"port": 443}]}, {"cidr": "fd00::/8"}],
        "spec.checkpoint.volume": {"claimName": "ckpt"},
    },
    "failure policy": {
        "spec.failurePolicy": {
            "trainer": {"maxRestarts": 0},
            "rollout": {"backoffSeconds": 0},
            "onOutOfMemory": "Restart",
            "onUnhealthy": {"nan": "Rollback", "lengthHacking": "Pause"},
            "stallDeadlineSeconds": {"update": 60},
            "startDeadlineSeconds": 60,
        },
        "spec.ttlSecondsAfterFinished": 0,
        "spec.activeDeadlineSeconds": 86_400,
    },
    "benchmarks": {
        "spec.evaluation.benchmarks": [
            {"name": "aime24", "path": "/data/aime.jsonl", "prompt": {"template": "custom", "text": "{question}"}}
        ],
        "spec.checkpoint.keepBest": {"metric": "aime24"},
        "spec.checkpoint.maxBytes": "50Gi",
    },
}


@pytest.mark.parametrize("edits", GOOD.values(), ids=GOOD)
def test_the_api_server_takes_what_is_sound(edits: Mapping[str, object], api: Client) -> None:
    assert answer(api, edited(minimal(), edits)) is None


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_taken(path: Path, api: Client, namespace: str) -> None:
    job = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert answer(api, job) is None
    created = api.create(job, namespace=namespace, query=STRICT)
    assert created["spec"] == without_nulls(job["spec"])


def test_a_field_of_a_later_version_is_refused_with_the_version(api: Client, namespace: str) -> None:
    """Under `--validate=ignore` too, where fields that nobody knows are dropped."""
    job = edited(minimal(), {"spec.rollout.tools": [{"type": "python"}]})
    with pytest.raises(ApiError, match=r"supported from version 0\.5"):
        api.create(job, namespace=namespace, query={"fieldValidation": "Ignore"})


def test_nothing_is_written_into_a_job_that_its_author_did_not_write(api: Client, namespace: str) -> None:
    """Or a blueprint could not fill it in."""
    assert api.create(minimal(), namespace=namespace)["spec"] == minimal()["spec"]


def test_a_null_is_as_if_it_were_not_written(api: Client, namespace: str) -> None:
    job = edited(minimal(), GOOD["every optional field null"])
    spec = api.create(job, namespace=namespace, query=STRICT)["spec"]
    assert spec["algorithm"] == {}
    assert "runtimeRef" not in spec
    assert "klSchedule" not in spec["phases"][0]


RUNTIMES = [("ReasoningRLRuntime", True), ("ClusterReasoningRLRuntime", False)]
BLUEPRINT = {
    "image": "registry/reasonrl:1",
    "pods": {"trainer": {"nodeSelector": {"gpu": "h100"}, "resources": {"requests": {"cpu": 8}}}},
    "scheduling": {"gang": "Kueue"},
    "rollout": {"engine": "vllm", "gpusPerReplica": 2},
    "checkpoint": {"volume": {"claimName": "ckpt"}},
    "ttlSecondsAfterFinished": 3600,
}


@pytest.mark.parametrize(("kind", "namespaced"), RUNTIMES, ids=[each[0] for each in RUNTIMES])
@pytest.mark.parametrize(
    ("spec", "says"),
    [
        (BLUEPRINT, None),
        ({}, None),
        ({"model": {"path": "hf://a/b"}}, "unknown field"),
        ({"rollout": {"tools": [{"type": "python"}]}}, "from version 0.5"),
        ({"rollout": {"replicas": 1, "minReplicas": 2}}, "at most replicas (1)"),
        ({"pods": {"rollout": {"resources": {"limits": {"nvidia.com/gpu": 1}}}}}, "counted by gpusPerReplica"),
        ({"volumes": [{"claimName": "a", "mountPath": "/tmp"}]}, "taken by the pods themselves"),
        ({"scheduling": {"gang": "None", "queue": "a"}}, "gang: None has no queues"),
        ({"failurePolicy": {"trainer": {"backoffSeconds": 9, "maxBackoffSeconds": 3}}}, "at most maxBackoffSeconds"),
    ],
)
def test_blueprints_are_judged_as_far_as_they_go(
    kind: str, namespaced: bool, spec: Mapping[str, object], says: str | None, api: Client, namespace: str
) -> None:
    manifest = {"apiVersion": "reasonrl.dev/v1alpha1", "kind": kind, "metadata": {"name": "h100"}, "spec": spec}
    query = {**STRICT, "dryRun": "All"}
    if says is None:
        assert api.create(manifest, namespace=namespace if namespaced else None, query=query)["spec"] == spec
    else:
        with pytest.raises(ApiError, match=re.escape(says)):
            api.create(manifest, namespace=namespace if namespaced else None, query=query)


@pytest.mark.parametrize(
    ("resource", "short"),
    [("reasoningrljobs", "rrlj"), ("reasoningrlruntimes", "rrlr"), ("clusterreasoningrlruntimes", "crrlr")],
)
def test_kinds_have_short_names_and_a_category_of_their_own(resource: str, short: str, api: Client) -> None:
    names = api.get("customresourcedefinitions", f"{resource}.reasonrl.dev")["status"]["acceptedNames"]
    assert names["shortNames"] == [short]
    assert names["categories"] == ["reasonrl"]
