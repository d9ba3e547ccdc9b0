"""What may be edited of a job before and after it starts, on a real API server and by the contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from testbed.bare_job import JOBS, STRICT, edited, minimal, without_nulls
from testbed.client import ApiError, Client

from reasonrl.api.live_edits import changed_fields, refused_changes
from reasonrl.api.parse import parse_job

pytestmark = pytest.mark.usefixtures("crds")
FOREVER = {"name": "ctx-4k", "maxResponseTokens": 4096, "until": {"steps": 10}}
LATER = {"name": "ctx-8k", "maxResponseTokens": 8192, "until": {"steps": 10}}


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


@pytest.mark.parametrize("edits", [each[0] for each in EDITS], ids=[f"{next(iter(each[0]))} in {each[1]}" for each in EDITS])
def test_before_it_starts_everything_may_be_edited(edits: Mapping[str, object], api: Client, namespace: str) -> None:
    job = api.create(edited(minimal(), BASE), namespace=namespace)
    api.replace(edited(job, edits))


def test_rollouts_scale_through_the_scale_subresource_while_the_job_runs(api: Client, namespace: str) -> None:
    started(api, namespace, phase_index=0, edits={})
    api.patch(JOBS, "first", {"spec": {"replicas": 6}}, namespace=namespace, subresource="scale")
    status = {"rollouts": {"desired": 6, "created": 6, "ready": 5, "selector": "reasonrl.dev/job=first,reasonrl.dev/role=rollout"}}
    api.patch(JOBS, "first", {"status": status}, namespace=namespace, subresource="status")
    scale = api.get(JOBS, "first", namespace=namespace, subresource="scale")
    assert scale["spec"] == {"replicas": 6}
    assert scale["status"] == {"replicas": 5, "selector": "reasonrl.dev/job=first,reasonrl.dev/role=rollout"}
    assert api.get(JOBS, "first", namespace=namespace)["spec"]["rollout"] == {"replicas": 6}
