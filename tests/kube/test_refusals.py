"""What a real API server takes and what it refuses, with the generated CRDs and nothing else: no webhook, no operator.

The table of bad jobs is the one that `parse_job` is held to, so the two cannot drift apart.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from testbed.client import ApiError, Client

from reasonrl.api.live_edits import changed_fields, refused_changes
from reasonrl.api.parse import parse_job
from reasonrl.api.problems import JobError
from reasonrl.api.runtime import admit

pytestmark = pytest.mark.usefixtures("crds")

REPOSITORY = Path(__file__).resolve().parents[2]
TABLE = REPOSITORY / "tests" / "api" / "bad_jobs.yaml"
EXAMPLES = sorted((REPOSITORY / "examples").glob("*.yaml"))
STRICT = {"fieldValidation": "Strict"}
JOBS = "reasoningrljobs"
FOREVER = {"name": "ctx-4k", "maxResponseTokens": 4096, "until": {"steps": 10}}
LATER = {"name": "ctx-8k", "maxResponseTokens": 8192, "until": {"steps": 10}}


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


def minimal(name: str = "first") -> dict[str, Any]:
    return {
        "apiVersion": "reasonrl.dev/v1alpha1",
        "kind": "ReasoningRLJob",
        "metadata": {"name": name},
        "spec": {
            "model": {"path": "hf://Qwen/Qwen2.5-1.5B"},
            "data": {"train": [{"path": "/data/questions.jsonl"}]},
            "rewards": [{"type": "answer"}],
            "phases": [{"name": "ctx-2k", "maxResponseTokens": 2048, "until": {"steps": 200}}],
        },
    }


def edited(job: Mapping[str, Any], edits: Mapping[str, object]) -> dict[str, Any]:
    """The job with `{path: value}` put in."""
    made = copy.deepcopy(dict(job))
    for path, value in edits.items():
        parts: list[Any] = [int(part[1:-1]) if part.startswith("[") else part for part in re.findall(r"[^.\[\]]+|\[\d+\]", path)]
        place: Any = made
        for part, following in pairwise(parts):
            if isinstance(part, str) and part not in place:
                place[part] = [] if isinstance(following, int) else {}
            place = place[part]
        if isinstance(place, list) and parts[-1] == len(place):
            place.append(copy.deepcopy(value))
        else:
            place[parts[-1]] = copy.deepcopy(value)
    return made


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
    "a smaller limit that is meant": {"spec.phases[1]": {**FOREVER, "maxResponseTokens": 1024, "allowShrink": True}},
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


def test_a_type_of_a_later_version_is_refused_with_the_version(api: Client, namespace: str) -> None:
    """Under `--validate=ignore` too, where fields that nobody knows are dropped."""
    job = edited(minimal(), {"spec.data.filters": [{"type": "passRate", "min": 0.1, "max": 0.9}]})
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


def started(api: Client, namespace: str, *, phase_index: int | None, edits: Mapping[str, object]) -> dict[str, Any]:
    """A job that the operator has started."""
    job = api.create(edited(minimal(), edits), namespace=namespace, query=STRICT)
    status = {"startTime": "2026-01-01T00:00:00Z", **({} if phase_index is None else {"phaseIndex": phase_index})}
    return api.patch(JOBS, job["metadata"]["name"], {"status": status}, namespace=namespace, subresource="status")


BASE: Mapping[str, object] = {
    "spec.algorithm.kl": {"clamp": 5.0, "schedule": {"type": "constant", "value": 0.1}},
    "spec.phases[1]": FOREVER,
    "spec.phases[2]": LATER,
    "spec.rollout": {"replicas": 2, "temperature": 0.9},
}
SHORTENED = [*edited(minimal(), {})["spec"]["phases"]]
EDITS: list[tuple[Mapping[str, object], int | None, str | None]] = [
    ({"spec.seed": 1}, 0, "spec.seed cannot change"),
    ({"spec.model.path": "hf://Qwen/Qwen2.5-7B"}, 0, "spec.model cannot change"),
    ({"spec.model.dtype": "float32"}, 0, "spec.model cannot change"),
    ({"spec.data.train[0].limit": 9000}, 0, "spec.data cannot change"),
    ({"spec.rewards[1]": {"type": "format"}}, 0, "spec.rewards cannot change"),
    ({"spec.selection": [{"type": "overlengthMask"}]}, 0, "spec.selection cannot change"),
    ({"spec.sft": {"train": [{"path": "/data/s.jsonl"}], "steps": 9}}, 0, "spec.sft cannot change"),
    ({"spec.prompt.template": "short"}, 0, "spec.prompt cannot change"),
    ({"spec.algorithm.promptsPerStep": 64}, 0, "spec.algorithm.promptsPerStep cannot change"),
    ({"spec.algorithm.loss.clipLow": 0.1}, 0, "spec.algorithm.loss cannot change"),
    ({"spec.algorithm.kl.clamp": 6.0}, 0, "spec.algorithm.kl.clamp cannot change"),
    ({"spec.algorithm.kl": None}, 0, "spec.algorithm.kl cannot be added or taken away"),
    ({"spec.algorithm": None}, 0, "spec.algorithm.kl cannot be added or taken away"),
    ({"spec.rollout.temperature": 1.0}, 0, "spec.rollout.temperature cannot change"),
    ({"spec.rollout.temperature": None}, 0, "spec.rollout.temperature cannot change"),
    ({"spec.rollout": None}, 0, "spec.rollout.temperature cannot change"),
    ({"spec.rollout.engine": "vllm"}, 0, "spec.rollout.engine cannot change"),
    ({"spec.trainer.tokensPerMicroBatch": 99}, 0, "spec.trainer cannot change"),
    ({"spec.checkpoint.volume": {"claimName": "other"}}, 0, "spec.checkpoint.volume cannot change"),
    ({"spec.runtimeRef": {"name": "h100"}}, 0, "spec.runtimeRef cannot change"),
    ({"spec.image": "other"}, 0, "spec.image cannot change"),
    ({"spec.pods.trainer.image": "other"}, 0, "spec.pods cannot change"),
    ({"spec.volumes": [{"claimName": "d", "mountPath": "/d"}]}, 0, "spec.volumes cannot change"),
    ({"spec.network.policy": "None"}, 0, "spec.network cannot change"),
    ({"spec.scheduling.priorityClassName": "high"}, 0, "spec.scheduling cannot change"),
    ({"spec.failurePolicy.trainer.maxRestarts": 1}, 0, "spec.failurePolicy cannot change"),
    ({"spec.phases[0].until.steps": 300}, 0, "(spec.phases[0]) cannot change once they have begun"),
    ({"spec.phases[0].until.steps": 300}, None, "(spec.phases[0]) cannot change once they have begun"),
    ({"spec.phases[1].until.steps": 20}, 1, "(spec.phases[1]) cannot change once they have begun"),
    ({"spec.phases": SHORTENED}, 1, "(spec.phases[1]) cannot change once they have begun"),
    ({"spec.phases[1].until.steps": 20}, 0, None),
    ({"spec.phases[2].temperature": 1.1}, 1, None),
    ({"spec.phases[3]": {**LATER, "name": "ctx-16k"}}, 2, None),
    ({"spec.phases": SHORTENED}, 0, None),
    ({"spec.algorithm.kl.schedule": {"type": "cosine", "start": 0.1, "steps": 50}}, 0, None),
    ({"spec.evaluation": {"everySteps": 5}}, 0, None),
    ({"spec.checkpoint.everySteps": 5, "spec.checkpoint.keepBest": {"metric": "reward"}}, 0, None),
    ({"spec.telemetry.prometheusPort": 9100}, 0, None),
    ({"spec.rollout.replicas": 4}, 0, None),
    ({"spec.suspend": True}, 0, None),
    ({"spec.ttlSecondsAfterFinished": 60, "spec.activeDeadlineSeconds": 60}, 0, None),
    ({"metadata.labels": {"a": "b"}}, 0, None),
]


@pytest.mark.parametrize(("edits", "phase_index", "refused"), EDITS, ids=[f"{next(iter(each[0]))} in {each[1]}" for each in EDITS])
def test_a_started_job_takes_live_edits_alone(
    edits: Mapping[str, object], phase_index: int | None, refused: str | None, api: Client, namespace: str
) -> None:
    job = started(api, namespace, phase_index=phase_index, edits=BASE)
    new = edited(job, edits)
    if refused is None:
        assert api.replace(new)["metadata"]["generation"] >= job["metadata"]["generation"]
    else:
        with pytest.raises(ApiError) as raised:
            api.replace(new)
        assert raised.value.status == 422
        assert refused in raised.value.message


@pytest.mark.parametrize(("edits", "phase_index", "refused"), EDITS, ids=[f"{next(iter(each[0]))} in {each[1]}" for each in EDITS])
def test_the_contract_judges_the_same_edits_alike(edits: Mapping[str, object], phase_index: int | None, refused: str | None) -> None:
    old = parse_job(edited(minimal(), BASE)).dumped()
    job = edited(edited(minimal(), BASE), edits)
    job["spec"] = {name: value for name, value in job["spec"].items() if value is not None}
    new = parse_job(without_nulls(job)).dumped()
    assert bool(refused_changes(changed_fields(old, new), current_phase=phase_index or 0)) is (refused is not None)


def without_nulls(value: Any) -> Any:
    return {key: without_nulls(each) for key, each in value.items() if each is not None} if isinstance(value, dict) else value


@pytest.mark.parametrize("edits", [each[0] for each in EDITS], ids=[f"{next(iter(each[0]))} in {each[1]}" for each in EDITS])
def test_before_it_starts_everything_may_be_edited(edits: Mapping[str, object], api: Client, namespace: str) -> None:
    job = api.create(edited(minimal(), BASE), namespace=namespace)
    api.replace(edited(job, edits))


def test_status_is_written_through_its_subresource_alone(api: Client, namespace: str) -> None:
    api.create({**minimal(), "status": {"step": 3}}, namespace=namespace)
    assert "status" not in api.get(JOBS, "first", namespace=namespace)
    api.patch(JOBS, "first", {"status": {"step": 3}, "spec": {"seed": 9}}, namespace=namespace, subresource="status")
    job = api.get(JOBS, "first", namespace=namespace)
    assert job["status"] == {"step": 3}
    assert "seed" not in job["spec"]


def test_rollouts_scale_through_the_scale_subresource_while_the_job_runs(api: Client, namespace: str) -> None:
    started(api, namespace, phase_index=0, edits={})
    api.patch(JOBS, "first", {"spec": {"replicas": 6}}, namespace=namespace, subresource="scale")
    status = {"rollouts": {"desired": 6, "created": 6, "ready": 5, "selector": "reasonrl.dev/job=first,reasonrl.dev/role=rollout"}}
    api.patch(JOBS, "first", {"status": status}, namespace=namespace, subresource="status")
    scale = api.get(JOBS, "first", namespace=namespace, subresource="scale")
    assert scale["spec"] == {"replicas": 6}
    assert scale["status"] == {"replicas": 5, "selector": "reasonrl.dev/job=first,reasonrl.dev/role=rollout"}
    assert api.get(JOBS, "first", namespace=namespace)["spec"]["rollout"] == {"replicas": 6}


FULL_STATUS: dict[str, Any] = {
    "observedGeneration": 1,
    "summary": "Running",
    "message": "step 120 of 500",
    "conditions": [
        {
            "type": "Succeeded",
            "status": "Unknown",
            "reason": "Running",
            "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
            "observedGeneration": 1,
        }
    ],
    "startTime": "2026-01-01T00:00:00Z",
    "step": 120,
    "totalSteps": 500,
    "phase": "ctx-2k",
    "phaseIndex": 0,
    "phases": [{"name": "ctx-2k", "enteredAtStep": 0, "time": "2026-01-01T00:00:00Z"}],
    "klCoefficient": 0.00075,
    "reward": 0.4375,
    "accuracy": 0.41,
    "responseLength": {"mean": 812.5, "p95": 1990},
    "truncatedShare": 0.03,
    "onPolicy": True,
    "checkpoints": [{"step": 100, "time": "2026-01-01T00:00:00Z", "healthy": True}],
    "lastCheckpointStep": 100,
    "runtime": {"kind": "ClusterReasoningRLRuntime", "name": "h100", "resourceVersion": "7"},
    "trainers": {"desired": 1, "created": 1, "ready": 1},
    "rollouts": {"desired": 1, "created": 1, "ready": 1, "selector": "a=b"},
    "attempts": {
        "trainer": {"started": 2, "failures": 1, "consecutiveFailures": 0, "lastReason": "Error"},
        "rollout": {"started": 3, "replaced": [{"index": 0, "started": 2, "failures": 1}]},
    },
    "specHash": "abc",
}


def test_a_whole_status_is_taken_and_shown_in_columns(api: Client, namespace: str) -> None:
    api.create(minimal(), namespace=namespace)
    body = {"status": FULL_STATUS}
    path = f"/apis/reasonrl.dev/v1alpha1/namespaces/{namespace}/{JOBS}"
    api.request("PATCH", f"{path}/first/status", body, query=STRICT, headers={"Content-Type": "application/merge-patch+json"})
    assert api.get(JOBS, "first", namespace=namespace)["status"] == FULL_STATUS
    table = api.request("GET", path, headers={"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"})
    shown = dict(zip([column["name"] for column in table["columnDefinitions"]], table["rows"][0]["cells"], strict=True))
    usual = [column["name"] for column in table["columnDefinitions"] if not column["priority"]]
    assert usual == ["Name", "Status", "Step", "Phase", "Reward", "Length", "KL", "Age"]
    assert [shown[name] for name in ("Status", "Step", "Phase", "Reward", "KL")] == ["Running", 120, "ctx-2k", 0.4375, 0.00075]
    assert (shown["Of"], shown["Trainers"], shown["Checkpoint"], shown["Message"]) == (500, 1, 100, "step 120 of 500")


@pytest.mark.parametrize(
    ("status", "says"),
    [
        ({"summary": "Fine"}, "Unsupported value"),
        ({"step": -1}, "greater than or equal to 0"),
        ({"conditions": [{"type": "Succeeded"}]}, "Required value"),
        ({"message": "x" * 5000}, "Too long"),
    ],
)
def test_a_status_that_is_none_is_refused(status: Mapping[str, object], says: str, api: Client, namespace: str) -> None:
    api.create(minimal(), namespace=namespace)
    with pytest.raises(ApiError, match=says):
        api.patch(JOBS, "first", {"status": status}, namespace=namespace, subresource="status")


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
