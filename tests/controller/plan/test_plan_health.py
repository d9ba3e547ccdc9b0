from __future__ import annotations

from typing import Any

import pytest

from reasonrl.api.status import parse_job_status


def signal(name: str, state: str, action: str = "none", message: str = "reward fell from 0.61 to 0.12") -> dict[str, str]:
    return {"signal": name, "state": state, "message": message, "action": action}


CHECKPOINTS = [
    {"step": 20, "time": 1.0, "healthy": True, "path": "a"},
    {"step": 40, "time": 2.0, "healthy": True, "path": "b"},
    {"step": 60, "time": 3.0, "healthy": False, "path": "c"},
]


@pytest.mark.parametrize(
    ("name", "type_"),
    [
        ("RewardCollapse", "RewardHealthy"),
        ("NotFinite", "RewardHealthy"),
        ("LengthHacking", "LengthHealthy"),
        ("Repetition", "LengthHealthy"),
        ("KLExplosion", "KLWithinTarget"),
    ],
)
def test_a_critical_signal_is_a_condition_and_an_event_and_nothing_else(world: Any, name: str, type_: str) -> None:
    world.running()
    pods = dict(world.pods)
    world.report(health=[signal(name, "critical")])
    world.settle()

    assert world.condition(type_)["status"] == "False"
    assert world.condition(type_)["reason"] == name
    assert "0.12" in world.condition(type_)["message"]
    assert world.pods == pods
    assert world.event_reasons().count("Unhealthy") == 1
    world.report(health=[signal(name, "ok")])
    world.settle()
    assert world.condition(type_)["status"] == "True"
    assert world.event_reasons().count("HealthyAgain") == 1


def test_a_warning_is_told_and_leaves_the_condition_true(world: Any) -> None:
    world.running()
    world.report(health=[signal("RewardCollapse", "warning")])
    world.settle()
    assert world.condition("RewardHealthy")["status"] == "True"
    assert "a warning" in world.condition("RewardHealthy")["message"]


def test_a_pause_frees_the_gpus_until_somebody_suspends_and_resumes(world: Any) -> None:
    world.running()
    world.report(health=[signal("RewardCollapse", "critical", "pause")])
    world.settle()
    assert world.status["summary"] == "Paused"
    assert "RewardCollapse" in world.status["message"]
    assert world.names(alive=True) == []
    assert "Paused" in world.event_reasons()
    world.collect()
    world.wait(100_000)
    world.settle()
    assert world.names() == []

    world.suspend(True)
    world.settle()
    assert world.status["summary"] == "Suspended"
    world.suspend(False)
    world.settle()
    assert world.attempts("trainer") == {1}
    assert world.status["attempts"]["trainer"]["failures"] == 0


def test_a_rollback_asked_for_ends_a_pause(world: Any) -> None:
    world.running()
    world.report(checkpoints=CHECKPOINTS)
    world.settle()
    world.report(checkpoints=CHECKPOINTS, health=[signal("RewardCollapse", "critical", "pause")])
    world.settle()
    world.collect()
    world.settle()
    world.annotations["reasonrl.dev/rollback-to"] = "20"
    world.settle()

    assert world.control()["rollbackTo"] == 20
    assert len(world.names("trainer")) == 2
    assert world.attempts("trainer") == {world.control()["rollbackAttempt"]}


def test_a_rollback_goes_to_the_last_healthy_checkpoint_and_counts(world: Any) -> None:
    world.running()
    world.report(checkpoints=CHECKPOINTS)
    world.settle()
    rollouts = world.uids("rollout")
    world.report(checkpoints=CHECKPOINTS, health=[signal("KLExplosion", "critical", "rollback")])
    world.settle()
    assert world.control()["rollbackTo"] == 40
    assert world.control()["rollbackAttempt"] == 1
    world.collect()
    world.wait(20)
    world.settle()

    assert world.attempts("trainer") == {1}
    assert world.uids("rollout") == rollouts
    assert world.status["attempts"]["trainer"]["consecutiveFailures"] == 1


def test_rolling_back_again_and_again_ends_the_job(make_world: Any) -> None:
    world = make_world({"failurePolicy": {"trainer": {"maxRestarts": 2}}}).running()
    for _ in range(3):
        world.report(checkpoints=CHECKPOINTS)
        world.settle()
        world.report(checkpoints=CHECKPOINTS, health=[signal("KLExplosion", "critical", "rollback")])
        world.settle()
        world.collect()
        world.wait(400)
        world.settle()
        world.start_pods()
        world.settle()
    assert world.condition("Succeeded")["reason"] == "TrainerBudgetSpent"


def test_without_a_healthy_checkpoint_a_rollback_is_a_pause(world: Any) -> None:
    world.running()
    world.report(health=[signal("NotFinite", "critical", "rollback")])
    world.settle()
    assert world.status["summary"] == "Paused"
    assert "No healthy checkpoint" in world.status["message"]


def test_the_answer_of_an_earlier_gang_says_nothing(world: Any) -> None:
    world.running()
    old = world.progress
    world.end("zero-trainer-1", 3)
    world.settle()
    world.collect()
    world.wait(400)
    world.settle()
    world.start_pods()
    from dataclasses import replace

    world.progress = replace(old, body={**old.body, "health": [signal("RewardCollapse", "critical", "pause")], "step": 999})
    world.settle()
    assert world.status["summary"] == "Running"
    assert world.status["step"] == 3


def test_the_status_shows_the_run(world: Any) -> None:
    world.running()
    values = {
        "klCoefficient": 0.00123456,
        "accuracy": 0.512345,
        "responseLengthMean": 311.26789,
        "responseLengthP95": 500.0,
        "truncatedShare": 0.0612,
    }
    world.report(step=62, checkpoints=CHECKPOINTS, onPolicy=False, tokensPerSecond=1234.5678, **values)
    world.settle()

    assert world.status["step"] == 62
    assert world.status["totalSteps"] == 200
    assert (world.status["phase"], world.status["phaseIndex"]) == ("short", 0)
    assert world.status["klCoefficient"] == 0.001235
    assert world.status["responseLength"] == {"mean": 311.3, "p95": 500.0}
    assert world.status["onPolicy"] is False
    assert world.status["checkpoints"][2] == {"step": 60, "time": "1970-01-01T00:00:03Z", "healthy": False}
    assert world.status["lastCheckpointStep"] == 60
    assert world.condition("CheckpointSaved")["status"] == "True"
    assert world.status["phases"][0]["name"] == "short"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"step": "x"},
        {"step": 2**40},
        {"stageStarted": 1e300, "time": 1e300},
        {"reward": 1e300, "accuracy": 7.0, "tokensPerSecond": -1.0},
        {"checkpoints": [{"step": 1, "time": -1e300, "healthy": True, "path": ""}]},
        {"checkpoints": [{"step": 1, "time": 1e300, "healthy": True, "path": ""}]},
        {"health": [{"signal": "7 days!", "state": "critical", "message": "x" * 1000, "action": "pause"}]},
        {"health": [{"signal": "x" * 250, "state": "critical", "message": "", "action": "rollback"}]},
        {"phase": "", "phaseIndex": 900},
        {"stageDeadlineSeconds": 1e-9},
    ],
)
def test_whatever_the_run_says_the_status_stays_one_that_the_api_server_takes(world: Any, body: dict[str, Any]) -> None:
    world.running()
    world.report(**body)
    if not body:
        from reasonrl.controller.records import Progress

        world.progress = Progress(pod_uid=world.pods["zero-trainer-0"].uid, seen=world.now, body={})
    world.settle()
    parse_job_status(world.status)
    assert world.status["summary"] in ("Running", "Paused", "Stalled", "Restarting")


def test_a_termination_message_of_anything_is_taken(world: Any) -> None:
    for message in ("{", "[" * 5000, "null", '{"exitCode": "x"}', "\x00\n", '{"exitCode": 3, "reason": "a b"}', "x" * 4096):
        world.status = {}
        world.pods.clear()
        world.objects.clear()
        world.running()
        world.end("zero-trainer-0", 3, message=message)
        world.settle()
        assert world.status["summary"] == "Restarting"
