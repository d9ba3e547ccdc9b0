from __future__ import annotations

import json
from typing import Any

import pytest

from reasonrl.controller.children import GENERATED_TOKEN


def test_one_look_makes_everything_that_a_job_needs(world: Any) -> None:
    planned = world.act()

    assert world.names() == ["zero-rollout-0", "zero-rollout-1", "zero-rollout-2", "zero-trainer-0", "zero-trainer-1"]
    assert {(each.kind, each.body["metadata"]["name"]) for each in planned.creates if each.kind != "Pod"} == {
        ("ConfigMap", "zero-config"),
        ("Service", "zero"),
        ("Secret", "zero-token"),
        ("NetworkPolicy", "zero"),
    }
    assert world.status["summary"] == "Starting"
    assert world.status["startTime"]


def test_a_second_look_does_nothing(world: Any) -> None:
    world.act()
    before = world.status
    planned = world.look()

    assert (planned.creates, planned.deletes, planned.patches, planned.happenings) == ((), (), (), ())
    assert json.loads(json.dumps(planned.status)) == before
    assert planned.requeue_after is not None
    assert planned.requeue_after <= 3600


def test_the_plan_of_the_same_facts_is_the_same(world: Any) -> None:
    assert world.look() == world.look()


@pytest.mark.parametrize(("order", "expected"), [(["rollout", "trainer"], 1), (["trainer", "rollout"], 2)])
def test_a_job_that_comes_up_is_written_when_it_runs_and_when_it_is_whole(world: Any, order: list[str], expected: int) -> None:
    world.settle()
    writes = []
    for name in [name for role in order for name in world.names(role)]:
        world.wait(1)
        world.change(name, phase="Running", scheduled=True, ready=True, started=world.now)
        before = world.status
        world.act()
        if world.status != before:
            writes.append(name)

    assert len(writes) == expected
    assert world.status["summary"] == "Running"
    assert world.status["trainers"] == {"desired": 2, "created": 2, "ready": 2}
    assert world.status["rollouts"]["ready"] == 3
    assert world.event_reasons() == ["Running"]


def test_readiness_is_shown_truthfully_once_the_pods_are_no_longer_new(world: Any) -> None:
    world.settle()
    world.change("zero-trainer-0", phase="Running", scheduled=True, ready=True, started=world.now)
    planned = world.settle()
    assert world.status["trainers"]["ready"] == 0
    assert planned.requeue_after <= 30

    world.wait(planned.requeue_after)
    world.settle()
    assert world.status["trainers"]["ready"] == 1


def test_a_bad_spec_fails_at_once_with_the_message_and_no_pods(make_world: Any) -> None:
    world = make_world({"rollout": {"replicas": 1, "minReplicas": 4, "engine": "vllm"}})
    planned = world.settle()

    assert world.names() == []
    assert not world.objects
    assert world.condition("Admitted")["status"] == "False"
    assert world.condition("Succeeded")["status"] == "False"
    assert "spec.rollout.minReplicas" in world.status["message"]
    assert world.status["summary"] == "Failed"
    assert world.event_reasons() == ["InvalidSpec"]
    assert planned.requeue_after is None


def test_a_bad_spec_that_is_corrected_starts(make_world: Any) -> None:
    world = make_world({"rollout": {"replicas": 1, "minReplicas": 4, "engine": "vllm"}})
    world.settle()
    world.edit(lambda spec: spec["rollout"].update(minReplicas=1))
    world.settle()

    assert len(world.names("trainer")) == 2
    assert world.condition("Admitted")["status"] == "True"
    assert world.condition("Succeeded")["status"] == "Unknown"
    assert "completionTime" not in world.status


def test_a_bad_spec_is_deleted_when_its_time_to_live_is_over(make_world: Any) -> None:
    world = make_world({"rollout": {"replicas": 1, "minReplicas": 4}, "ttlSecondsAfterFinished": 60})
    assert world.settle().requeue_after == 60
    world.wait(61)
    assert world.act().delete_job


def test_a_job_waits_for_its_blueprint(make_world: Any) -> None:
    world = make_world({"runtimeRef": {"name": "h100", "kind": "ClusterReasoningRLRuntime"}})
    planned = world.settle()

    assert world.names() == []
    assert world.condition("Admitted")["reason"] == "RuntimeNotFound"
    assert "h100" in world.status["message"]
    assert world.status["summary"] == "Pending"
    assert planned.requeue_after == 30

    world.runtime = {"image": "registry.example/train:1"}
    world.settle()
    assert world.bodies["zero-trainer-0"]["spec"]["containers"][0]["image"] == "registry.example/train:1"
    assert world.status["runtime"] == {"kind": "ClusterReasoningRLRuntime", "name": "h100"}


def test_a_later_edit_of_the_blueprint_changes_no_running_job(make_world: Any) -> None:
    world = make_world({"runtimeRef": {"name": "h100"}})
    world.runtime = {"image": "registry.example/train:1"}
    world.running()
    world.runtime = {"image": "registry.example/train:2", "network": {"policy": "None"}}
    world.settle()
    world.edit(lambda spec: spec["rollout"].update(replicas=4))
    world.settle()

    assert world.config()["image"] == "registry.example/train:1"
    assert world.bodies["zero-rollout-3"]["spec"]["containers"][0]["image"] == "registry.example/train:1"


def test_the_token_is_a_mark_that_the_executor_fills_in(world: Any) -> None:
    world.act()
    assert world.object_bodies["Secret", "zero-token"]["stringData"] == {"token": GENERATED_TOKEN}


def test_a_name_that_another_owner_holds_keeps_the_gang_from_starting(world: Any) -> None:
    world.strangers = ("zero-trainer-1",)
    planned = world.settle()

    assert world.names("trainer") == []
    assert world.condition("TrainersReady")["reason"] == "NameTaken"
    assert planned.requeue_after == 5

    world.strangers = ()
    world.settle()
    assert len(world.names("trainer")) == 2


def test_what_keeps_a_pod_from_starting_is_said(world: Any) -> None:
    world.settle()
    world.change("zero-trainer-0", unschedulable="0/3 nodes are available: 3 Insufficient nvidia.com/gpu")
    world.settle()
    assert world.condition("TrainersReady")["reason"] == "Unschedulable"
    assert "Insufficient nvidia.com/gpu" in world.status["message"]
    assert world.status["summary"] == "Pending"

    world.change("zero-trainer-0", unschedulable="", scheduled=True, waiting="ImagePullBackOff", waiting_message="not found")
    world.settle()
    assert world.condition("TrainersReady")["reason"] == "ImagePullBackOff"
    assert world.event_reasons() == ["TrainersBlocked", "TrainersBlocked"]


def test_a_trainer_that_was_not_created_is_created_before_the_gang_has_formed(world: Any) -> None:
    world.settle()
    world.vanish("zero-trainer-1")
    world.settle()

    assert world.attempts("trainer") == {0}
    assert len(world.names("trainer")) == 2


def test_a_job_that_is_being_deleted_is_left_alone(world: Any) -> None:
    from dataclasses import replace

    from reasonrl.controller.actions import Plan
    from reasonrl.controller.plan import plan

    observed = world.observed()
    assert plan(replace(observed, job=replace(observed.job, deleting=True))) == Plan()
