from __future__ import annotations

from dataclasses import replace
from typing import Any


def test_a_stage_beyond_its_deadline_restarts_the_gang_after_a_second_look(world: Any) -> None:
    world.running()
    began = world.now
    world.wait(601)
    world.report(stageStarted=began)
    planned = world.settle()
    assert world.condition("Stalled")["status"] == "Unknown"
    assert world.names("trainer", alive=True) != []
    assert planned.requeue_after <= 30

    world.wait(31)
    world.report(stageStarted=began)
    world.settle()
    assert world.condition("Stalled")["status"] == "True"
    assert world.condition("Stalled")["reason"] == "StageDeadlineExceeded"
    assert "stage rollout of step 3" in world.condition("Stalled")["message"]
    assert world.status["summary"] == "Stalled"
    assert world.status["attempts"]["trainer"]["failures"] == 1
    assert world.names("trainer", alive=True) == []
    assert len(world.names("rollout", alive=True)) == 3
    assert "Stalled" in world.event_reasons()

    world.collect()
    world.wait(400)
    world.settle()
    world.start_pods()
    world.settle()
    assert world.status["summary"] == "Stalled"
    world.report(stageStarted=world.now)
    world.settle()
    assert world.condition("Stalled")["status"] == "False"
    assert world.status["summary"] == "Running"


def test_progress_between_the_two_looks_clears_the_suspicion(world: Any) -> None:
    world.running()
    began = world.now
    world.wait(601)
    world.report(stageStarted=began)
    world.settle()
    world.wait(31)
    world.report(stage="update", stageStarted=world.now - 5)
    world.settle()

    assert world.condition("Stalled")["status"] == "False"
    assert world.status["attempts"]["trainer"]["failures"] == 0


def test_a_clock_that_jumps_forward_restarts_nobody(world: Any) -> None:
    world.running()
    world.wait(7200)
    world.settle()
    assert world.names("trainer", alive=True) != []
    # The poller asks again within seconds, and the run stands where it stood by its own clock, which has been set too.
    world.wait(10)
    world.report(stageStarted=world.now - 20)
    world.settle()
    world.wait(31)
    world.report(stageStarted=world.now - 51)
    world.settle()
    assert world.status["attempts"]["trainer"]["failures"] == 0


def test_a_clock_that_jumps_back_restarts_nobody(world: Any) -> None:
    world.running()
    world.wait(-7200)
    world.report(stageStarted=world.now + 7100)
    world.settle()
    assert world.names("trainer", alive=True) != []
    assert world.condition("Stalled")["status"] == "False"


def test_a_trainer_that_falls_silent_counts_as_standing_still(world: Any) -> None:
    world.running()
    planned = world.settle()
    assert planned.requeue_after is not None
    for _ in range(20):
        world.wait(100)
        world.settle()
        if world.status["attempts"]["trainer"]["failures"]:
            break
    assert world.status["attempts"]["trainer"]["failures"] == 1
    assert "no longer answers /status" in world.condition("Stalled")["message"]


def test_the_next_deadline_is_asked_for(world: Any) -> None:
    world.running()
    assert world.settle().requeue_after == 600


def test_trainers_that_do_not_come_up_in_time_are_a_failure(make_world: Any) -> None:
    world = make_world({"failurePolicy": {"startDeadlineSeconds": 120}})
    world.settle()
    world.change("zero-trainer-1", unschedulable="0/3 nodes are available")
    planned = world.settle()
    world.wait(planned.requeue_after)
    world.wait(121)
    world.settle()
    world.wait(31)
    world.settle()

    assert world.status["attempts"]["trainer"]["failures"] == 1
    assert world.status["attempts"]["trainer"]["lastReason"] == "Stalled"
    assert "0/3 nodes are available" in world.condition("Stalled")["message"]


def test_a_run_that_never_answers_is_stalled_after_the_deadline_for_loading(make_world: Any) -> None:
    world = make_world({"failurePolicy": {"stallDeadlineSeconds": {"loading": 900}}})
    world.settle()
    world.start_pods()
    world.settle()
    world.wait(901)
    world.settle()
    world.wait(31)
    world.settle()
    assert world.condition("Stalled")["reason"] == "NoAnswer"
    assert world.status["attempts"]["trainer"]["failures"] == 1


def test_a_place_in_a_queue_is_no_slow_start(make_world: Any) -> None:
    policy = {"startDeadlineSeconds": 600}
    world = make_world({"scheduling": {"gang": "Kueue", "queue": "research"}, "failurePolicy": policy})
    world.settle()
    for name in world.names("trainer"):
        world.change(name, gated=True)
    world.wait(1.0)
    world.settle()
    ready = world.condition("TrainersReady")
    assert (ready["reason"], world.status["summary"]) == ("Queued", "Pending")
    assert "queue research until Kueue admits them" in ready["message"]
    assert world.event_reasons() == ["Queued"]
    world.wait(90_000.0)
    world.settle()
    world.wait(90_000.0)
    world.settle()
    assert (world.attempts("trainer"), world.status["attempts"]["trainer"]["failures"]) == ({0}, 0)
    # Admitted, and on a node where it does not start.
    for name in world.names("trainer"):
        world.change(name, gated=False, scheduled=True, placed=world.now, waiting="ImagePullBackOff")
    world.settle()
    assert world.condition("TrainersReady")["reason"] == "ImagePullBackOff"
    world.wait(601.0)
    world.settle()
    world.wait(31.0)
    world.settle()
    assert world.condition("Stalled")["reason"] == "StartDeadlineExceeded"
    assert world.status["attempts"]["trainer"]["failures"] == 1


def test_the_age_of_a_stage_is_by_the_clock_of_the_pod_that_tells_of_it(world: Any) -> None:
    world.running()
    for skew in (7200.0, -7200.0):
        world.report(stageStarted=world.now - skew - 10.0)
        world.progress = replace(world.progress, told=world.now - skew)
        world.settle()
        assert world.condition("Stalled")["reason"] == "GettingOn", f"a node's clock that differs by {skew} s restarts nobody"
        world.wait(60.0)
    world.report(stageStarted=world.now - 7200.0 - 601.0)
    world.progress = replace(world.progress, told=world.now - 7200.0)
    world.settle()
    assert world.condition("Stalled")["reason"] == "Suspected"


def test_a_clock_that_jumps_ahead_and_back_leaves_no_suspicion_behind(world: Any) -> None:
    world.running()
    began = world.now
    world.wait(172_800.0)
    world.report(stageStarted=began)
    world.settle()
    assert world.condition("Stalled")["reason"] == "Suspected"
    # Back again, with the old answer still at hand.
    world.wait(-172_800.0)
    world.settle()
    assert world.attempts("trainer") == {0}
    world.report(stageStarted=began)
    world.settle()
    world.wait(31.0)
    world.settle()
    assert (world.condition("Stalled")["reason"], world.status["attempts"]["trainer"]["failures"]) == ("GettingOn", 0)
