"""The rows of the failure table that begin inside a run, or in the operator: a stage without end, bad health, no operator."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from testbed.cluster_job import ClusterJob, attempts, condition, saved
from testbed.deadline import wait_for
from testbed.fake_kubelet import FakeKubelet
from testbed.operator_process import OperatorProcess
from testbed.pod_script import run_result

NewJob = Callable[[str], ClusterJob]
CONFIRM_SECONDS = 45.0
"""A deadline that seems over is believed at a second look, half a minute later."""
COLLAPSE = "mean reward fell from 0.61 to 0.02 within 10 steps"


def signal(action: str, *, name: str = "RewardCollapse", state: str = "critical") -> list[dict[str, Any]]:
    return [{"signal": name, "state": state, "message": COLLAPSE, "action": action}]


def test_a_run_that_stands_still_is_restarted_as_a_gang_and_it_counts(new_job: NewJob, kubelet: FakeKubelet) -> None:
    """Three jobs at once, because each takes the half minute: one stalls, one stalls without a budget, one does not come up."""
    kubelet.hold("slow-trainer-1")
    slow = new_job("slow").create({"failurePolicy": {"startDeadlineSeconds": 1}})
    stalled = new_job("stalled").run()
    spent = new_job("spent").run({"failurePolicy": {"trainer": {"maxRestarts": 0}}})
    rollouts = stalled.pods("rollout")
    for job in (stalled, spent):
        job.say(5, stage="update", stageStarted=time.time() - 700.0, stageDeadlineSeconds=600.0)
        suspected = job.wait_condition("Stalled", "Unknown", "Suspected")
        assert "in stage update of step 5 for longer than" in suspected["message"]
        assert job.status()["summary"] == "Running", "nothing is done on a suspicion"
    late = slow.wait_condition("Stalled", "True", "StartDeadlineExceeded", deadline=CONFIRM_SECONDS)
    assert "slow-trainer-1: 0/1 nodes are available" in late["message"]
    kubelet.release("slow-trainer-1")
    confirmed = stalled.wait_condition("Stalled", "True", "StageDeadlineExceeded", deadline=CONFIRM_SECONDS)
    assert "in stage update of step 5 for longer than" in confirmed["message"]
    stalled.wait_pods(stalled.wanted(attempt=1))
    assert stalled.pods("rollout") == rollouts
    seen = stalled.status()
    assert (attempts(seen, "trainer"), seen["attempts"]["trainer"]["lastReason"]) == ((2, 1, 1), "Stalled")
    assert "stage update of step 5" in stalled.wait_event("Stalled")
    stalled.report(6)
    stalled.wait_condition("Stalled", "False", "GettingOn")
    assert stalled.status()["summary"] == "Running"
    stalled.assert_settled(made=6)
    outcome = condition(spent.wait_summary("Failed", deadline=CONFIRM_SECONDS), "Succeeded")
    assert outcome["reason"] == "TrainerBudgetSpent"
    assert "stage update of step 5" in outcome["message"]
    assert condition(spent.status(), "Stalled")["status"] == "True"
    spent.wait_pods_left(set())
    slow.wait_pods(slow.wanted(attempt=1))
    assert attempts(slow.wait_status(lambda status: status["trainers"]["ready"] == 2, what="both trainers ready"), "trainer") == (2, 1, 1)


def test_bad_health_without_a_declared_action_is_told_and_nothing_is_done(job: ClusterJob) -> None:
    before = job.run().pods()
    job.report(6, health=signal("none", state="warning"))
    assert condition(job.status(), "RewardHealthy")["status"] == "True", "a warning is no bad health"
    job.report(7, health=signal("none"))
    found = job.wait_condition("RewardHealthy", "False", "RewardCollapse")
    assert COLLAPSE in found["message"]
    assert COLLAPSE in job.wait_event("Unhealthy")
    job.report(8, health=signal("none", name="KLExplosion") + signal("none", name="LengthHacking"))
    seen = job.status()
    assert [condition(seen, name)["status"] for name in ("RewardHealthy", "KLWithinTarget", "LengthHealthy")] == ["True", "False", "False"]
    job.wait_event("HealthyAgain", "RewardHealthy")
    assert (seen["summary"], job.pods()) == ("Running", before)
    job.assert_settled(made=4)


def test_a_declared_pause_frees_the_gpus_until_somebody_lets_the_job_go_on(job: ClusterJob) -> None:
    job.run(checkpoints=saved(5))
    job.say(6, checkpoints=saved(5), health=signal("pause"))
    seen = job.wait_summary("Paused")
    job.wait_pods({})
    held = condition(seen, "Suspended")
    assert (held["status"], held["reason"]) == ("True", "PausedRewardCollapse")
    for text in (COLLAPSE, "spec.suspend", "reasonrl.dev/rollback-to"):
        assert text in held["message"]
    assert COLLAPSE in job.wait_event("Paused")
    assert (attempts(seen, "trainer")[1], seen["trainers"]["ready"], seen["rollouts"]["ready"]) == (0, 0, 0)
    job.assert_settled(made=4)
    job.suspend(True)
    job.wait_summary("Suspended")
    job.suspend(False)
    job.wait_pods(job.wanted(attempt=1))
    seen = job.wait_summary("Running")
    assert attempts(seen, "trainer") == (2, 0, 0)
    job.assert_settled(made=8)


def test_a_declared_rollback_goes_to_the_last_healthy_checkpoint_and_counts(job: ClusterJob) -> None:
    rollouts = job.run(checkpoints=saved(10, 20, 30, unhealthy=[30])).pods("rollout")
    job.say(33, checkpoints=saved(10, 20, 30, unhealthy=[30]), health=signal("rollback"))
    job.wait_pods(job.wanted(attempt=1))
    control = job.control()
    assert (control["rollbackTo"], control["rollbackAttempt"]) == (20, 1)
    seen = job.wait_summary("Running")
    assert attempts(seen, "trainer") == (2, 1, 1)
    assert "back to the checkpoint of step 20" in job.wait_event("TrainersRestarted")
    assert job.pods("rollout") == rollouts
    job.report(20, checkpoints=saved(10, 20))
    job.wait_condition("RewardHealthy", "True", "Healthy")
    assert attempts(job.status(), "trainer") == (2, 1, 1), "the checkpoints of before are no progress"
    job.assert_settled(made=6)


def test_a_rollback_with_nothing_to_go_back_to_is_a_pause(job: ClusterJob) -> None:
    job.run(checkpoints=saved(10, unhealthy=[10]))
    job.say(12, checkpoints=saved(10, unhealthy=[10]), health=signal("rollback"))
    assert "No healthy checkpoint" in condition(job.wait_summary("Paused"), "Suspended")["message"]
    job.wait_pods({})


def test_while_the_operator_is_down_jobs_run_on_and_afterwards_all_is_made_good(
    new_job: NewJob, kubelet: FakeKubelet, operator: OperatorProcess
) -> None:
    quiet, hurt, over = (new_job(name).run() for name in ("quiet", "hurt", "over"))
    before = {job.name: job.pods() for job in (quiet, hurt, over)}
    operator.kill()
    quiet.say(9, checkpoints=saved(9))
    kubelet.fail("hurt-trainer-1", 3)
    kubelet.fail("hurt-rollout-0", 3)
    kubelet.succeed("over-trainer-0", run_result(exit_code=0, reason="Completed", message="all 100 steps done", step=100))
    late = new_job("late").create()
    gone = new_job("gone").create()
    gone.api.delete("reasoningrljobs", "gone", namespace=gone.namespace)
    assert {name: pod.uid for name, pod in quiet.pods().items()} == {name: pod.uid for name, pod in before["quiet"].items()}
    operator.start()
    late.wait_summary("Running")
    hurt.wait_pods(hurt.wanted(attempt=1, replaced={0: 1}))
    seen = hurt.wait_summary("Running")
    assert (attempts(seen, "trainer"), attempts(seen, "rollout")) == ((2, 1, 1), (3, 1, 1)), "each failure is counted, and once"
    assert over.wait_summary("Succeeded")["message"] == "all 100 steps done"
    wait_for(lambda: not any(pod.alive for pod in over.pods().values()), deadline=20, what="what still ran of it goes")
    wait_for(lambda: quiet.status().get("step") == 9, deadline=20, what="the status catches up")
    assert quiet.pods() == before["quiet"]
    for job, made in ((quiet, 4), (hurt, 7), (over, 4), (late, 4)):
        job.assert_settled(made=made)
