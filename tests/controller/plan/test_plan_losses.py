"""What somebody takes away by hand: pods, and the Secret with the token. It comes back, nothing is counted, and the job's events say so."""

from __future__ import annotations

from typing import Any

import pytest


def lost(world: Any) -> list[str]:
    return [event.message for event in world.events if event.reason == "PodDeleted"]


@pytest.mark.parametrize("at_once", [False, True], ids=["with a grace period", "at once"])
def test_a_deleted_rollout_pod_is_made_again_told_once_and_not_counted(world: Any, at_once: bool) -> None:
    world.running()
    before = world.uids("rollout")
    if at_once:
        world.vanish("zero-rollout-1")
    else:
        world.change("zero-rollout-1", deleting=True)
        world.settle()
        world.collect()
    world.settle()
    world.start_pods()
    world.settle()
    after = world.uids("rollout")
    assert {name for name in after if after[name] != before[name]} == {"zero-rollout-1"}
    (message,) = lost(world)
    assert "zero-rollout-1" in message
    assert "not counted" in message
    assert world.status["attempts"]["rollout"]["failures"] == 0
    assert world.status["rollouts"] | {"selector": ""} == {"desired": 3, "created": 3, "ready": 3, "selector": ""}


def test_one_pod_deleted_right_after_another_is_told_too(world: Any) -> None:
    world.running()
    world.vanish("zero-rollout-0")
    world.act()
    world.vanish("zero-rollout-1")
    world.act()
    world.settle()
    assert ["zero-rollout-0" in lost(world)[0], "zero-rollout-1" in lost(world)[1], len(lost(world))] == [True, True, 2]


def test_a_trainer_deleted_while_the_gang_is_starting_is_made_again_and_told(world: Any) -> None:
    world.settle()
    world.settle()
    world.vanish("zero-trainer-1")
    world.settle()
    assert world.names("trainer") == ["zero-trainer-0", "zero-trainer-1"]
    assert world.attempts("trainer") == {0}
    assert "zero-trainer-1" in lost(world)[0]
    assert world.status["attempts"]["trainer"]["failures"] == 0


def test_pods_that_we_take_away_ourselves_are_not_told_as_lost(world: Any) -> None:
    world.running()
    world.edit(lambda spec: spec["rollout"].update(replicas=1))
    world.settle()
    world.edit(lambda spec: spec["rollout"].update(replicas=3))
    world.settle()
    world.collect()
    world.settle()
    world.start_pods()
    world.settle()
    # A phase with another shape, then a pause and its end.
    world.report(phase="long", phaseIndex=1, step=120, phaseStep=20)
    for _ in range(6):
        world.settle()
        world.collect()
        world.start_pods()
    world.suspend(True)
    world.settle()
    world.suspend(False)
    world.settle()
    world.collect()
    world.settle()
    world.start_pods()
    world.settle()
    assert world.status["summary"] == "Running"
    assert lost(world) == []


def test_failures_and_drains_are_told_as_what_they_are(world: Any) -> None:
    world.running()
    world.end("zero-rollout-0", 3)
    world.evict("zero-rollout-1")
    for _ in range(4):
        world.settle()
        world.collect()
        world.wait(20)
    world.start_pods()
    world.settle()
    assert world.names("rollout", alive=True) == ["zero-rollout-0", "zero-rollout-1", "zero-rollout-2"]
    assert lost(world) == []


def test_a_lost_token_starts_all_pods_anew_before_there_is_a_new_one(world: Any) -> None:
    world.running()
    before = world.uids("")
    del world.objects["Secret", "zero-token"]
    world.settle()
    assert ("Secret", "zero-token") not in world.objects, "its absence is the evidence while pods hold the old token"
    assert all(pod.deleting for pod in world.pods.values())
    assert world.condition("TrainersReady")["reason"] == "Restarting"
    world.collect()
    world.settle()
    assert ("Secret", "zero-token") in world.objects
    world.start_pods()
    world.settle()
    assert world.status["summary"] == "Running"
    assert set(world.uids("").values()).isdisjoint(before.values())
    trainer = world.status["attempts"]["trainer"]
    assert (trainer["started"], trainer["failures"], trainer["lastReason"]) == (2, 0, "TokenLost")
    assert world.event_reasons().count("TrainersRestarted") == 1
    told = next(event.message for event in world.events if event.reason == "TrainersRestarted")
    assert "Secret zero-token was deleted" in told
    assert lost(world) == []


@pytest.mark.parametrize("steps", range(6))
def test_an_operator_that_dies_while_it_answers_a_lost_token_finishes_later(world: Any, steps: int) -> None:
    world.running()
    before = world.uids("")
    del world.objects["Secret", "zero-token"]
    world.act(steps=steps)
    world.act(steps=steps)
    for _ in range(3):
        world.settle()
        world.collect()
    world.settle()
    world.start_pods()
    world.settle()
    assert world.status["summary"] == "Running"
    assert set(world.uids("").values()).isdisjoint(before.values()), "no pod with the old token is left"
    assert world.status["attempts"]["trainer"]["failures"] == 0


def test_the_version_of_the_blueprint_is_that_of_the_time_it_was_resolved(world: Any) -> None:
    world.spec["runtimeRef"] = {"kind": "ReasoningRLRuntime", "name": "h100"}
    world.runtime, world.runtime_version = {"pods": {"trainer": {"nodeSelector": {"gpu": "h100"}}}}, "41"
    world.running()
    world.runtime, world.runtime_version = {"pods": {"trainer": {"nodeSelector": {"gpu": "b200"}}}}, "57"
    world.edit(lambda spec: spec["rollout"].update(replicas=2))
    world.settle()
    assert world.status["runtime"] == {"kind": "ReasoningRLRuntime", "name": "h100", "resourceVersion": "41"}
    world.status = {}
    world.settle()
    assert world.status["runtime"]["resourceVersion"] == "41", "it is in the ConfigMap, not in the status alone"


def test_a_blueprint_that_may_not_be_read_is_told_from_one_that_does_not_exist(world: Any) -> None:
    world.spec["runtimeRef"] = {"kind": "ClusterReasoningRLRuntime", "name": "h100"}
    world.runtime_forbidden = True
    assert world.settle().requeue_after == 30.0
    admitted = world.condition("Admitted")
    assert (admitted["status"], admitted["reason"], world.status["summary"]) == ("False", "RuntimeForbidden", "Pending")
    for text in ("ClusterReasoningRLRuntime 'h100'", "rbac.clusterRuntimes: true", "ReasoningRLRuntime of namespace team"):
        assert text in admitted["message"]
    assert world.pods == {}
    world.runtime_forbidden, world.runtime = False, {}
    world.settle()
    assert world.names("trainer") == ["zero-trainer-0", "zero-trainer-1"]


def test_a_job_of_which_nobody_knows_what_it_runs_is_left_alone_and_can_be_suspended(world: Any) -> None:
    world.running()
    before = world.uids("")
    world.edit(lambda spec: spec["rollout"].update(replicas=0))
    del world.objects["ConfigMap", "zero-config"]
    world.settle()
    admitted = world.condition("Admitted")
    assert (admitted["status"], admitted["reason"], world.status["summary"]) == ("False", "InvalidSpec", "Running")
    assert (world.uids(""), any(pod.deleting for pod in world.pods.values())) == (before, False)
    world.suspend(True)
    world.settle()
    assert all(pod.deleting for pod in world.pods.values())
    assert (world.status["summary"], world.status["trainers"]["ready"]) == ("Suspended", 0)
    world.collect()
    world.edit(lambda spec: (spec.update(suspend=False), spec["rollout"].update(replicas=3)))
    world.settle()
    world.start_pods()
    world.settle()
    assert world.status["summary"] == "Running"
    assert world.status["attempts"]["trainer"]["failures"] == 0


@pytest.mark.parametrize("name", ["zero", "zero-config", "zero-token"])
def test_no_pod_is_made_while_somebody_else_has_the_name_of_what_it_needs(world: Any, name: str) -> None:
    world.strangers = (name,)
    planned = world.settle()
    assert world.pods == {}
    ready = world.condition("TrainersReady")
    assert (ready["reason"], world.status["summary"], planned.requeue_after) == ("NameTaken", "Pending", 5.0)
    assert name in ready["message"]
    world.strangers = ()
    world.settle()
    assert len(world.pods) == 5


def test_a_token_that_somebody_else_keeps_restarts_nobody(world: Any) -> None:
    world.running()
    before = world.uids("")
    del world.objects["Secret", "zero-token"]
    world.strangers = ("zero-token",)
    world.settle()
    assert (world.uids(""), any(pod.deleting for pod in world.pods.values())) == (before, False)
    assert world.status["attempts"]["trainer"]["started"] == 1
