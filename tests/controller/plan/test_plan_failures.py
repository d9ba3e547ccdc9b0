from __future__ import annotations

import json
from typing import Any

import pytest


def result(code: int, reason: str, message: str, **values: Any) -> str:
    return json.dumps({"exitCode": code, "reason": reason, "message": message} | values)


def restarted(world: Any) -> None:
    """Until the next gang is created: old pods go, the wait passes."""
    world.settle()
    world.collect()
    world.settle()
    world.wait(400)
    world.settle()


def test_rollout_loss_does_not_restart_trainers(world: Any) -> None:
    world.running()
    trainers, others = world.uids("trainer"), world.uids("rollout")
    world.end("zero-rollout-1", 3, message=result(3, "EngineDied", "CUDA error"))
    world.settle()
    world.collect()
    world.settle()
    assert "zero-rollout-1" not in world.pods
    assert world.status["attempts"]["rollout"]["replaced"][0]["index"] == 1
    world.wait(11)
    world.settle()

    assert world.uids("trainer") == trainers
    assert world.uids("rollout")["zero-rollout-0"] == others["zero-rollout-0"]
    assert world.uids("rollout")["zero-rollout-1"] != others["zero-rollout-1"]
    assert world.pods["zero-rollout-1"].attempt == 1
    assert world.status["attempts"]["rollout"]["failures"] == 1
    assert world.status["summary"] == "Running"
    assert "only this pod is replaced" in next(each.message for each in world.events if each.reason == "RolloutReplaced")


def test_a_rollout_pod_that_vanished_is_made_again_and_not_counted(world: Any) -> None:
    world.running()
    world.vanish("zero-rollout-2")
    world.settle()

    assert len(world.names("rollout")) == 3
    assert world.status["attempts"]["rollout"]["failures"] == 0


def test_waits_between_replacements_double_up_to_the_cap(make_world: Any) -> None:
    world = make_world({"failurePolicy": {"rollout": {"backoffSeconds": 10, "maxBackoffSeconds": 35, "maxRestarts": 9}}}).running()
    waits = []
    for _ in range(4):
        world.end("zero-rollout-0", 3)
        planned = world.settle()
        world.collect()
        planned = world.settle()
        waits.append(planned.requeue_after)
        world.wait(planned.requeue_after)
        world.settle()
        world.start_pods()
        world.settle()

    assert [round(wait / 5) * 5 for wait in waits] == [10, 20, 35, 35]


def test_a_rollout_pod_beyond_its_budget_stays_for_its_logs_and_training_goes_on(make_world: Any) -> None:
    world = make_world({"failurePolicy": {"rollout": {"maxRestarts": 0}}}).running()
    world.end("zero-rollout-0", 3)
    world.settle()
    world.wait(1000)
    world.settle()

    assert world.pods["zero-rollout-0"].phase == "Failed"
    assert world.status["summary"] == "Running"
    assert "RolloutGivenUp" in world.event_reasons()


def test_a_new_checkpoint_brings_back_a_rollout_pod_that_was_given_up(make_world: Any) -> None:
    world = make_world({"failurePolicy": {"rollout": {"maxRestarts": 0}}}).running()
    world.end("zero-rollout-0", 3)
    world.settle()
    world.report(step=20, checkpoints=[{"step": 20, "time": world.now, "healthy": True, "path": "/checkpoints/step-20"}])
    world.settle()
    world.collect()
    world.wait(400)
    world.settle()

    assert world.pods["zero-rollout-0"].phase == "Pending"
    assert world.status["attempts"]["rollout"]["consecutiveFailures"] == 0


def test_the_job_fails_when_too_few_rollout_pods_are_left(make_world: Any) -> None:
    spec = {
        "failurePolicy": {"rollout": {"maxRestarts": 0}},
        "rollout": {"replicas": 3, "minReplicas": 2, "engine": "vllm"},
        "phases": [{"name": "short", "maxResponseTokens": 512, "until": {"steps": 100}}],
    }
    world = make_world(spec).running()
    world.end("zero-rollout-0", 3)
    world.settle()
    assert world.status["summary"] == "Running"
    world.end("zero-rollout-1", 3)
    world.settle()

    assert world.status["summary"] == "Failed"
    assert world.condition("Succeeded")["reason"] == "RolloutBudgetSpent"
    assert "spec.rollout.minReplicas is 2" in world.status["message"]


def test_trainer_loss_restarts_the_gang_and_leaves_the_rollout_pods(world: Any) -> None:
    world.running()
    rollouts = world.uids("rollout")
    world.end("zero-trainer-1", 3, message=result(3, "PeerLost", "connection reset"))
    world.settle()
    assert world.status["summary"] == "Restarting"
    assert world.names("trainer", alive=True) == []
    world.collect()
    world.settle()
    assert world.names("trainer") == []
    world.wait(11)
    world.settle()

    assert world.attempts("trainer") == {1}
    assert len(world.names("trainer")) == 2
    assert world.uids("rollout") == rollouts
    assert world.status["attempts"]["trainer"] == {
        "started": 2,
        "failures": 1,
        "consecutiveFailures": 1,
        "lastReason": "PeerLost",
        "notBefore": world.status["attempts"]["trainer"]["notBefore"],
    }
    world.start_pods()
    world.settle()
    assert world.status["summary"] == "Running"


def test_no_trainer_is_made_while_one_of_the_last_attempt_is_there(world: Any) -> None:
    world.running()
    world.end("zero-trainer-1", 3)
    world.settle()
    del world.pods["zero-trainer-1"]
    world.wait(1000)
    world.settle()

    assert world.names("trainer") == ["zero-trainer-0"]
    assert world.pods["zero-trainer-0"].deleting
    assert world.condition("TrainersReady")["reason"] == "Restarting"


def test_a_failure_is_recorded_before_the_pod_is_deleted(world: Any) -> None:
    world.running()
    world.end("zero-trainer-1", 3)
    planned = world.act()

    assert planned.deletes == ()
    assert world.status["attempts"]["trainer"]["failures"] == 1
    assert planned.requeue_after == 0
    assert {each.name for each in world.act().deletes} == {"zero-trainer-0", "zero-trainer-1"}
    assert world.status["attempts"]["trainer"]["failures"] == 1


def test_a_gang_that_fails_without_progress_ends_the_job(make_world: Any) -> None:
    world = make_world({"failurePolicy": {"trainer": {"maxRestarts": 2}}}).running()
    for _ in range(3):
        world.end("zero-trainer-0", 3, message=result(3, "EngineDied", "NCCL timeout"))
        restarted(world)
        world.start_pods()
        world.settle()

    assert world.status["summary"] == "Failed"
    assert world.condition("Succeeded")["reason"] == "TrainerBudgetSpent"
    assert "NCCL timeout" in world.status["message"]
    assert "spec.failurePolicy.trainer.maxRestarts is 2" in world.status["message"]
    assert world.names(alive=True) == []


def test_a_new_checkpoint_gives_the_trainers_budget_back(make_world: Any) -> None:
    world = make_world({"failurePolicy": {"trainer": {"maxRestarts": 1}}}).running()
    for attempt in range(4):
        message = result(3, "EngineDied", "NCCL timeout", checkpointStep=10 * (attempt + 1))
        world.end("zero-trainer-0", 3, message=message)
        restarted(world)
        world.start_pods()
        world.settle()

    assert world.status["summary"] == "Running"
    assert world.status["attempts"]["trainer"]["failures"] == 4
    assert world.status["attempts"]["trainer"]["consecutiveFailures"] == 1
    assert world.status["lastCheckpointStep"] == 40


@pytest.mark.parametrize("how", ["exit code 4", "node drained", "pod deleted", "pod lost", "all pods lost"])
def test_interruptions_are_replaced_and_not_counted(world: Any, how: str) -> None:
    world.running()
    if how == "exit code 4":
        world.end("zero-trainer-0", 4, message=result(4, "Preempted", "a checkpoint was saved", checkpointStep=3))
    elif how == "node drained":
        world.end("zero-trainer-1", 137, disrupted=True)
    elif how == "pod deleted":
        world.evict("zero-trainer-1")
    elif how == "pod lost":
        world.vanish("zero-trainer-1")
    else:
        world.vanish("zero-trainer-1")
        world.vanish("zero-trainer-0")
    restarted(world)

    assert world.attempts("trainer") == {1}
    assert world.status["attempts"]["trainer"]["failures"] == 0
    assert "not counted" in next(each.message for each in world.events if each.reason == "TrainersRestarted")


def test_a_trainer_that_dies_while_it_is_deleted_from_outside_is_no_failure(world: Any) -> None:
    world.running()
    world.evict("zero-trainer-0")
    world.end("zero-trainer-0", 137)
    restarted(world)

    assert world.status["attempts"]["trainer"]["failures"] == 0
    assert world.attempts("trainer") == {1}


def test_pods_that_are_preempted_young_wait_before_they_are_made_again(world: Any) -> None:
    world.settle()
    world.start_pods()
    world.settle()
    world.end("zero-trainer-0", 4)
    world.settle()
    world.collect()
    planned = world.settle()

    assert world.names("trainer") == []
    assert planned.requeue_after == pytest.approx(10, abs=1)


def test_the_end_of_one_by_memory_is_the_cause_of_the_others_failures(world: Any) -> None:
    world.running()
    world.end("zero-trainer-0", 3, message=result(3, "PeerLost", "connection reset"))
    world.end("zero-trainer-1", 137, reason="OOMKilled")
    world.settle()

    assert world.status["summary"] == "Failed"
    assert world.condition("Succeeded")["reason"] == "OutOfMemory"
    for part in ("zero-trainer-1", "64Gi", "spec.pods.trainer.resources.limits.memory", "tokensPerMicroBatch", "onOutOfMemory"):
        assert part in world.status["message"]


def test_out_of_memory_is_tried_again_where_the_policy_says_so(make_world: Any) -> None:
    world = make_world({"failurePolicy": {"onOutOfMemory": "Restart"}}).running()
    world.end("zero-trainer-1", 137, reason="OOMKilled")
    restarted(world)

    assert world.attempts("trainer") == {1}
    assert world.status["attempts"]["trainer"]["failures"] == 1


def test_a_gpu_out_of_memory_told_by_the_run_is_treated_alike(world: Any) -> None:
    world.running()
    world.end("zero-rollout-0", 3, message=result(3, "OutOfMemory", "tried to allocate 2 GiB"))
    world.settle()

    assert world.condition("Succeeded")["reason"] == "OutOfMemory"
    assert "spec.rollout.maxSequences" in world.status["message"]


@pytest.mark.parametrize("pod", ["zero-trainer-0", "zero-trainer-1", "zero-rollout-0"])
@pytest.mark.parametrize(("code", "reason"), [(1, "RewardBroken"), (2, "DataMissing")])
def test_what_would_only_repeat_itself_fails_at_once(world: Any, pod: str, code: int, reason: str) -> None:
    world.running()
    world.end(pod, code, message=result(code, reason, "the reward function raised on every response: KeyError 'answer'"))
    world.settle()

    assert world.status["summary"] == "Failed"
    assert world.condition("Succeeded")["reason"] == reason
    assert "KeyError 'answer'" in world.status["message"]
    assert world.status["attempts"]["trainer"]["failures"] == 0
    assert world.names(alive=True) == []
    assert pod in world.pods


def test_a_crash_that_left_no_result_is_tried_again_with_the_end_of_its_log(world: Any) -> None:
    world.running()
    world.end("zero-trainer-0", 1, message="Traceback (most recent call last):\n  ...\nImportError: libcuda.so.1\n")
    world.settle()

    assert world.status["attempts"]["trainer"]["failures"] == 1
    assert "ImportError: libcuda.so.1" in world.condition("TrainersReady")["message"]


def test_success_ends_the_job_and_frees_what_still_runs(world: Any) -> None:
    world.running()
    world.end("zero-trainer-0", 0, message=result(0, "Completed", "200 steps; accuracy 0.71", step=200, checkpointStep=200))
    world.settle()

    assert world.status["summary"] == "Succeeded"
    assert world.condition("Succeeded")["status"] == "True"
    assert world.status["message"] == "200 steps; accuracy 0.71"
    assert world.status["completionTime"]
    assert world.names(alive=True) == []
    world.collect()
    assert world.names() == ["zero-trainer-0"]
    assert world.event_reasons()[-1] == "Succeeded"


def test_rollout_pods_that_are_let_go_at_the_end_are_no_failures(world: Any) -> None:
    world.running()
    for index in range(3):
        world.end(f"zero-rollout-{index}", 0)
    world.settle()
    world.end("zero-trainer-0", 0)
    world.settle()

    assert world.status["summary"] == "Succeeded"
    assert world.status["attempts"]["rollout"]["failures"] == 0


def test_an_end_with_zero_after_a_deletion_is_no_success_without_a_result(world: Any) -> None:
    world.running()
    world.evict("zero-trainer-0")
    world.end("zero-trainer-0", 0)
    world.settle()
    assert world.status["summary"] == "Restarting"


def test_an_end_is_seen_though_a_sidecar_keeps_the_pod_running(world: Any) -> None:
    world.running()
    world.end("zero-trainer-0", 0, message=result(0, "Completed", "done"))
    world.change("zero-trainer-0", phase="Running")
    world.settle()
    assert world.status["summary"] == "Succeeded"


def test_a_status_that_was_wiped_is_rebuilt_without_touching_the_pods(world: Any) -> None:
    world.running()
    world.end("zero-trainer-1", 3)
    restarted(world)
    world.start_pods()
    world.settle()
    pods = {name: pod.uid for name, pod in world.pods.items()}
    world.status = {}
    world.settle()

    assert {name: pod.uid for name, pod in world.pods.items()} == pods
    assert world.status["attempts"]["trainer"]["started"] == 2
    assert world.status["startTime"]
    assert world.status["summary"] == "Running"


def test_the_operator_away_changes_nothing(world: Any) -> None:
    world.running()
    world.wait(86_400)
    world.report(step=90, phaseStep=90, stageStarted=world.now)
    pods = dict(world.pods)
    planned = world.settle()

    assert world.pods == pods
    assert not planned.deletes
    assert world.status["step"] == 90
