from __future__ import annotations

from typing import Any

import pytest

ADVANCE, ROLLBACK = "reasonrl.dev/advance-to", "reasonrl.dev/rollback-to"


def checkpoints(*steps: int, unhealthy: tuple[int, ...] = ()) -> list[dict[str, Any]]:
    return [{"step": step, "time": 1_700_000_000.5, "healthy": step not in unhealthy, "path": f"/c/{step}"} for step in steps]


def test_suspend_deletes_all_pods_with_their_own_grace_and_keeps_the_rest(world: Any) -> None:
    world.running()
    objects = set(world.objects)
    world.suspend(True)
    deletes = world.act().deletes
    world.settle()

    assert {each.name for each in deletes} == {"zero-trainer-0", "zero-trainer-1", "zero-rollout-0", "zero-rollout-1", "zero-rollout-2"}
    assert {each.grace_seconds for each in deletes} == {None}
    assert world.status["summary"] == "Suspended"
    assert world.condition("Suspended")["status"] == "True"
    world.collect()
    world.settle()
    assert world.names() == []
    assert set(world.objects) == objects
    assert world.status["trainers"] == {"desired": 2, "created": 0, "ready": 0}


def test_resume_goes_on_with_the_next_attempt_and_counts_nothing(world: Any) -> None:
    world.running()
    world.suspend(True)
    world.settle()
    for name in world.names():
        world.end(name, 4)
    world.settle()
    world.suspend(False)
    world.settle()
    assert world.attempts("trainer") == {0}
    world.collect()
    world.settle()

    assert world.attempts("trainer") == {1}
    assert len(world.names("rollout")) == 3
    assert world.status["attempts"]["trainer"]["failures"] == 0
    assert world.status["attempts"]["rollout"]["failures"] == 0
    assert [each for each in world.event_reasons() if each in ("Suspended", "Resumed")] == ["Suspended", "Resumed"]


def test_a_job_created_suspended_has_nothing(make_world: Any) -> None:
    world = make_world({"suspend": True})
    planned = world.settle()

    assert not world.pods
    assert not world.objects
    assert world.condition("Suspended")["status"] == "True"
    assert world.condition("Admitted")["status"] == "True"
    assert "startTime" not in world.status
    assert planned.requeue_after is None


def test_edits_before_the_start_count(make_world: Any) -> None:
    world = make_world({"suspend": True})
    world.settle()
    world.edit(lambda spec: spec["trainer"].update(replicas=4))
    world.suspend(False)
    world.settle()
    assert len(world.names("trainer")) == 4


def test_a_job_with_a_queue_label_waits_in_its_queue_while_suspended(make_world: Any) -> None:
    world = make_world({"suspend": True})
    world.labels["kueue.x-k8s.io/queue-name"] = "team-a"
    world.settle()
    assert world.condition("Suspended")["reason"] == "Queued"
    assert "team-a" in world.status["message"]
    assert world.status["summary"] == "Pending"

    world.suspend(False)
    world.settle()
    assert len(world.names("trainer")) == 2


def test_success_while_suspending_is_a_success(world: Any) -> None:
    world.running()
    world.suspend(True)
    world.settle()
    world.end("zero-trainer-0", 0, message='{"exitCode": 0, "reason": "Completed", "message": "done"}')
    world.settle()
    assert world.status["summary"] == "Succeeded"


def test_time_to_live_deletes_the_job_after_its_end(make_world: Any) -> None:
    world = make_world({"ttlSecondsAfterFinished": 100}).running()
    world.end("zero-trainer-0", 0)
    assert world.settle().requeue_after == 100
    world.wait(99)
    assert world.settle().requeue_after == 1
    world.wait(1)
    assert world.act().delete_job
    assert world.job_deleted


def test_time_to_live_may_be_set_after_the_end(world: Any) -> None:
    world.running()
    world.end("zero-trainer-0", 0)
    assert world.settle().requeue_after is None
    world.edit(lambda spec: spec.update(ttlSecondsAfterFinished=0))
    world.act()
    assert world.job_deleted


def test_the_deadline_ends_the_job_and_frees_its_pods(make_world: Any) -> None:
    world = make_world({"activeDeadlineSeconds": 1000}).running()
    world.wait(701)
    world.settle()

    assert world.status["summary"] == "Failed"
    assert world.condition("Succeeded")["reason"] == "DeadlineExceeded"
    assert world.names(alive=True) == []


def test_suspended_time_is_not_held_against_the_deadline(make_world: Any) -> None:
    world = make_world({"activeDeadlineSeconds": 1000}).running()
    for _ in range(2):
        world.suspend(True)
        world.settle()
        world.collect()
        world.wait(5000)
        assert world.settle().requeue_after is None
        world.suspend(False)
        world.settle()
        world.start_pods()
        world.settle()
    assert world.status["summary"] == "Running"
    world.wait(600)
    world.settle()
    assert world.status["summary"] == "Running"
    world.wait(200)
    world.settle()
    assert world.condition("Succeeded")["reason"] == "DeadlineExceeded"


@pytest.mark.parametrize("terminal", ["success", "failure"])
def test_a_terminal_state_stays(world: Any, terminal: str) -> None:
    world.running()
    world.end("zero-trainer-0", 0 if terminal == "success" else 2)
    world.settle()
    summary = world.status["summary"]
    world.collect()
    world.suspend(True)
    world.settle()
    world.suspend(False)
    world.annotations[ROLLBACK] = "3"
    world.edit(lambda spec: spec["rollout"].update(replicas=8))
    world.settle()

    assert world.status["summary"] == summary
    assert world.status["observedGeneration"] == world.generation
    assert world.names(alive=True) == []


def test_a_live_edit_reaches_the_run_through_the_config_map(world: Any) -> None:
    world.running()
    pods = world.uids("trainer") | world.uids("rollout")
    world.edit(lambda spec: spec.update(evaluation={"everySteps": 7}, checkpoint={"volume": {"claimName": "checkpoints"}, "everySteps": 5}))
    world.settle()

    assert world.config()["checkpoint"]["everySteps"] == 5
    assert world.config()["evaluation"]["everySteps"] == 7
    assert world.uids("trainer") | world.uids("rollout") == pods
    assert "EditTaken" in world.event_reasons()
    assert world.status["observedGeneration"] == 2


def test_what_a_running_job_cannot_change_stays_and_is_said(world: Any) -> None:
    world.running()
    world.report(phase="long", phaseIndex=1)
    world.settle()

    def change(spec: dict[str, Any]) -> None:
        spec["seed"] = 7
        spec["phases"][0]["maxResponseTokens"] = 600
        spec["evaluation"] = {"everySteps": 7}

    world.edit(change)
    world.settle()
    assert world.config()["seed"] == 42
    assert world.config()["phases"][0]["maxResponseTokens"] == 512
    assert world.config()["evaluation"]["everySteps"] == 7
    assert world.condition("Admitted")["reason"] == "EditRefused"
    assert "spec.seed" in world.condition("Admitted")["message"]
    assert world.event_reasons().count("EditRefused") == 1


def test_an_edit_that_makes_no_sense_leaves_the_job_as_it_was(world: Any) -> None:
    world.running()
    world.edit(lambda spec: spec["rollout"].update(replicas=0))
    world.settle()
    assert world.config()["rollout"]["replicas"] == 3
    assert world.condition("Admitted")["reason"] == "EditRefused"
    assert len(world.names("rollout")) == 3

    world.edit(lambda spec: spec["rollout"].update(replicas=4))
    world.settle()
    assert len(world.names("rollout")) == 4
    assert world.condition("Admitted")["reason"] == "Accepted"


def test_scaling_takes_the_highest_indexes_and_touches_no_other_pod(world: Any) -> None:
    world.running()
    before = world.uids("rollout") | world.uids("trainer")
    world.edit(lambda spec: spec["rollout"].update(replicas=5))
    world.settle()
    assert len(world.names("rollout")) == 5
    world.edit(lambda spec: spec["rollout"].update(replicas=2))
    world.settle()
    world.collect()
    world.settle()

    assert world.names("rollout") == ["zero-rollout-0", "zero-rollout-1"]
    assert all(before[name] == pod.uid for name, pod in world.pods.items())
    assert world.status["rollouts"]["desired"] == 2


def test_a_phase_reshapes_the_rollout_pods_one_at_a_time(world: Any) -> None:
    world.running()
    trainers, old = world.uids("trainer"), world.uids("rollout")
    world.report(step=100, phase="long", phaseIndex=1, phaseStep=0)
    fewest = 3
    for _ in range(12):
        world.settle()
        serving = [
            pod for name, pod in world.pods.items() if name in ("zero-rollout-0", "zero-rollout-1") and pod.ready and not pod.deleting
        ]
        fewest = min(fewest, len(serving))
        world.collect()
        world.settle()
        world.start_pods()
    world.settle()

    assert world.names("rollout") == ["zero-rollout-0", "zero-rollout-1"]
    assert not set(world.uids("rollout").values()) & set(old.values())
    assert fewest == 1
    assert world.uids("trainer") == trainers
    container = world.bodies["zero-rollout-0"]["spec"]["containers"][0]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "2"


def test_a_person_lets_a_phase_begin(make_world: Any) -> None:
    phases = [
        {"name": "short", "maxResponseTokens": 512, "until": {"steps": 100}},
        {"name": "long", "maxResponseTokens": 1024, "until": {"steps": 100}, "advance": "Manual"},
    ]
    world = make_world({"phases": phases}).running()
    world.report(waitingToEnter="long")
    world.settle()
    assert world.condition("Progressing")["reason"] == "WaitingForPerson"
    assert f"kubectl annotate rrlj zero {ADVANCE}=long" in world.status["message"]
    assert world.status["waitingToEnter"] == "long"
    assert world.event_reasons().count("AwaitingAdvance") == 1

    world.annotations[ADVANCE] = "long"
    world.settle()
    assert world.control()["advanceTo"] == "long"
    world.report(step=101, phase="long", phaseIndex=1, phaseStep=0)
    world.settle()
    assert [each["name"] for each in world.status["phases"]] == ["short", "long"]
    assert "waitingToEnter" not in world.status


def test_a_person_rolls_the_run_back(world: Any) -> None:
    world.running()
    world.report(step=45, checkpoints=checkpoints(20, 40))
    world.settle()
    rollouts = world.uids("rollout")
    world.annotations[ROLLBACK] = "20"
    world.settle()
    assert world.control()["rollbackTo"] == 20
    assert world.control()["rollbackAttempt"] == 1
    world.collect()
    world.settle()

    assert world.attempts("trainer") == {1}
    assert world.uids("rollout") == rollouts
    assert world.status["attempts"]["trainer"]["failures"] == 0
    uids = world.uids("trainer")
    world.start_pods()
    world.settle()
    assert world.uids("trainer") == uids


def test_a_rollback_is_not_repeated_by_the_next_restart(world: Any) -> None:
    world.running()
    world.report(step=45, checkpoints=checkpoints(20, 40))
    world.settle()
    world.annotations[ROLLBACK] = "20"
    world.settle()
    world.collect()
    world.settle()
    world.start_pods()
    world.settle()
    world.end("zero-trainer-1", 3)
    world.settle()
    world.collect()
    world.wait(400)
    world.settle()

    assert world.attempts("trainer") == {2}
    assert world.control()["rollbackTo"] is None


def test_a_rollback_whose_status_was_never_written_is_still_carried_out(world: Any) -> None:
    world.running()
    world.report(step=45, checkpoints=checkpoints(20, 40))
    world.settle()
    world.annotations[ROLLBACK] = "20"
    world.act(steps=1)
    assert world.control()["rollbackTo"] == 20
    assert world.status["attempts"]["trainer"]["started"] == 1
    world.settle()
    world.collect()
    world.settle()
    assert world.attempts("trainer") == {1}


def test_a_rollback_to_what_is_not_kept_is_refused_once(world: Any) -> None:
    world.running()
    world.report(step=45, checkpoints=checkpoints(20, 40))
    world.settle()
    world.annotations[ROLLBACK] = "30"
    world.settle()

    assert world.attempts("trainer") == {0}
    assert world.event_reasons().count("RollbackRefused") == 1
    assert "20, 40" in next(each.message for each in world.events if each.reason == "RollbackRefused")


def test_the_config_map_is_made_again_from_the_job(world: Any) -> None:
    world.running()
    pods = dict(world.pods)
    del world.objects["ConfigMap", "zero-config"]
    world.settle()
    assert world.config()["seed"] == 42
    assert world.pods == pods


def test_what_was_written_by_hand_into_the_config_map_is_put_right(world: Any) -> None:
    from dataclasses import replace

    world.running()
    key = ("ConfigMap", "zero-config")
    world.objects[key] = replace(world.objects[key], data={"job.yaml": "{ nonsense", "control.json": "[]"})
    world.settle()
    assert world.config()["seed"] == 42
    assert world.control()["advanceTo"] is None
