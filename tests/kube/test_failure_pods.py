"""The rows of the failure table that begin with a pod: it dies, its node goes, its memory ends, its input is wrong.

After each, the pods are exactly those that the job asks for, by name, attempt and UID; what did not fail was not touched; the status says
what happened and counts it as the table has it; and an event tells of it.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from testbed.cluster_job import ClusterJob, attempts, condition, saved
from testbed.fake_kubelet import FakeKubelet
from testbed.pod_script import Script, run_result

from reasonrl.api.exit_codes import ExitCode

PREEMPTED = Script(
    terminate_exit_code=ExitCode.PREEMPTED,
    terminate_message=run_result(exit_code=ExitCode.PREEMPTED, reason="Preempted", message="saved a checkpoint", step=5, checkpoint_step=5),
)
SLOW_TO_GO = Script(terminate_after=1.0)
"""As engines are: the operator sees them on their way out."""
LOST = run_result(exit_code=ExitCode.RETRYABLE, reason="EngineLost", message="lost the connection to rank 1", step=5)


def test_a_lost_rollout_pod_is_replaced_alone_and_training_goes_on(job: ClusterJob, kubelet: FakeKubelet) -> None:
    job.run({"rollout": {"replicas": 3}})
    before, status = job.pods(), job.status()
    lost = job.pod("rollout", 1)
    kubelet.hold(lost)
    kubelet.fail(lost, ExitCode.RETRYABLE)
    enough = job.wait_condition("RolloutsReady", "True", "EnoughReady")
    assert "2 of 3" in enough["message"]
    assert job.status()["summary"] == "Running"
    kubelet.release(lost)
    job.wait_condition("RolloutsReady", "True", "AllReady")
    after = job.wait_pods(job.wanted(rollouts=3, replaced={1: 1}))
    assert after.pop(lost).uid != before.pop(lost).uid
    assert after == before, "the trainers and the other rollout pods are the same ones"
    seen = job.status()
    assert condition(seen, "TrainersReady") == condition(status, "TrainersReady")
    assert (attempts(seen, "trainer"), attempts(seen, "rollout")) == ((1, 0, 0), (4, 1, 1))
    assert seen["rollouts"] | {"selector": ""} == {"desired": 3, "created": 3, "ready": 3, "selector": ""}
    assert lost in job.wait_event("RolloutReplaced")
    job.assert_settled(made=6)


def test_the_loss_of_all_rollout_pods_leaves_the_trainers_alone(job: ClusterJob, kubelet: FakeKubelet) -> None:
    trainers = job.run().pods("trainer")
    kubelet.hold("*-rollout-*")
    for index in range(2):
        kubelet.fail(job.pod("rollout", index), 137)
    # First there are too few, and then the new ones find no node: which of the two is seen depends on when one looks.
    job.wait_condition("RolloutsReady", "False")
    kubelet.release("*-rollout-*")
    job.wait_condition("RolloutsReady", "True", "AllReady")
    job.wait_pods(job.wanted(replaced={0: 1, 1: 1}))
    assert job.pods("trainer") == trainers
    assert attempts(job.status(), "rollout") == (4, 2, 2)
    assert job.status()["summary"] == "Running"
    job.assert_settled(made=6)


@pytest.mark.parametrize(
    ("code", "message", "reason"),
    [
        (ExitCode.RETRYABLE, LOST, "EngineLost"),
        (ExitCode.FATAL, "Traceback (most recent call last):\nRuntimeError: NCCL error", "Error"),
        (139, "", "Error"),
    ],
    ids=["retryable", "crash", "signal"],
)
def test_a_lost_trainer_restarts_the_gang_and_keeps_the_rollout_pods(
    code: int, message: str, reason: str, job: ClusterJob, kubelet: FakeKubelet
) -> None:
    before = job.run().pods()
    lost = job.pod("trainer", 1)
    kubelet.fail(lost, code, message)
    after = job.wait_pods(job.wanted(attempt=1))
    seen = job.wait_summary("Running")
    assert {name for name in after if after[name].uid != before[name].uid} == set(job.wanted(rollouts=0))
    assert (attempts(seen, "trainer"), attempts(seen, "rollout")) == ((2, 1, 1), (2, 0, 0))
    assert seen["attempts"]["trainer"]["lastReason"] == reason
    told = job.wait_event("TrainersRestarted")
    assert lost in told
    assert (message.splitlines() or ["139"])[-1][:20] in told or "lost the connection" in told
    assert condition(job.report(6), "TrainersReady")["reason"] == "AllReady"
    job.assert_settled(made=6)


def test_trainers_that_die_together_are_one_failure(job: ClusterJob, kubelet: FakeKubelet) -> None:
    job.run({"trainer": {"replicas": 3}, "algorithm": {"promptsPerStep": 12}})
    for index in range(3):
        kubelet.fail(job.pod("trainer", index), ExitCode.RETRYABLE, LOST)
    job.wait_pods(job.wanted(trainers=3, attempt=1))
    assert attempts(job.wait_summary("Running"), "trainer") == (2, 1, 1)
    job.assert_settled(made=8)


def test_the_wait_before_a_restart_grows_and_is_told(job: ClusterJob, kubelet: FakeKubelet) -> None:
    job.run({"failurePolicy": {"trainer": {"backoffSeconds": 1, "maxBackoffSeconds": 60}}})
    kubelet.fail(job.pod("trainer", 0), 3)
    job.wait_pods(job.wanted(attempt=1))
    assert "in 1 s (failure 1 of 5 allowed)" in job.wait_event("TrainersRestarted")
    job.wait_summary("Running")
    kubelet.fail(job.pod("trainer", 0), 3)
    waiting = job.wait_status(lambda status: status["attempts"]["trainer"]["failures"] == 2, what="the second failure is counted")
    assert waiting["summary"] == "Restarting"
    assert "notBefore" in waiting["attempts"]["trainer"]
    job.wait_pods(job.wanted(attempt=2))
    assert "in 2 s (failure 2 of 5 allowed)" in job.wait_event("TrainersRestarted", "failure 2")
    job.assert_settled(made=8)


def drain(kubelet: FakeKubelet, pod: str) -> None:
    kubelet.drain(pod)


def preempt(kubelet: FakeKubelet, pod: str) -> None:
    kubelet.preempt(pod)


def evict(kubelet: FakeKubelet, pod: str) -> None:
    kubelet.evict(pod)


def stop_by_the_node(kubelet: FakeKubelet, pod: str) -> None:
    """A node that shuts down, as spot machines do: SIGTERM and nothing else."""
    kubelet.fail(pod, ExitCode.PREEMPTED, PREEMPTED.terminate_message)


@pytest.mark.parametrize("disrupt", [drain, preempt, evict, stop_by_the_node], ids=lambda disrupt: disrupt.__name__)
def test_a_trainer_whose_node_is_wanted_restarts_the_gang_and_is_no_failure(
    disrupt: Callable[[FakeKubelet, str], None], job: ClusterJob, kubelet: FakeKubelet
) -> None:
    kubelet.script("*-trainer-*", PREEMPTED)
    before = job.run({"failurePolicy": {"trainer": {"maxRestarts": 0}}}).pods("rollout")
    disrupt(kubelet, job.pod("trainer", 1))
    job.wait_pods(job.wanted(attempt=1))
    seen = job.wait_summary("Running")
    assert attempts(seen, "trainer") == (2, 0, 0), "not counted, so a budget of nothing is enough"
    assert job.pods("rollout") == before
    assert "not counted" in job.wait_event("TrainersRestarted")
    job.assert_settled(made=6)


def test_a_drained_node_with_pods_of_both_roles_costs_one_restart_and_no_budget(job: ClusterJob, kubelet: FakeKubelet) -> None:
    none = {"maxRestarts": 0}
    kubelet.script("*-rollout-*", SLOW_TO_GO)
    job.run({"rollout": {"replicas": 4}, "failurePolicy": {"trainer": none, "rollout": none}})
    node = kubelet.node_of(job.pod("trainer", 0))
    drained = [name for name in job.pods() if kubelet.node_of(name) == node]
    for name in drained:
        kubelet.drain(name)
    replaced = {index: 1 for index in range(4) if job.pod("rollout", index) in drained}
    job.wait_pods(job.wanted(rollouts=4, attempt=1, replaced=replaced))
    seen = job.wait_summary("Running")
    assert (attempts(seen, "trainer"), attempts(seen, "rollout")) == ((2, 0, 0), (4 + len(replaced), 0, 0))
    for index in replaced:
        assert f"zero-rollout-{index} on node {node} was ended from outside" in job.wait_event("RolloutReplaced", f"rollout-{index}")
    job.assert_settled(made=6 + 2 + len(replaced))


def test_a_rollout_pod_whose_node_is_wanted_is_replaced_and_is_no_failure(job: ClusterJob, kubelet: FakeKubelet) -> None:
    kubelet.script("*-rollout-*", SLOW_TO_GO)
    before = job.run({"failurePolicy": {"rollout": {"maxRestarts": 0}}}).pods()
    kubelet.preempt(job.pod("rollout", 0))
    kubelet.evict(job.pod("rollout", 1))
    after = job.wait_pods(job.wanted(replaced={0: 1, 1: 1}))
    assert {name for name in after if after[name] == before[name]} == set(job.wanted(rollouts=0))
    job.wait_condition("RolloutsReady", "True", "AllReady")
    assert attempts(job.status(), "rollout") == (4, 0, 0)
    assert job.events()["RolloutReplaced"].count("was ended from outside") == 2
    job.assert_settled(made=6)


def test_a_node_that_is_lost_holds_the_gang_until_its_pods_are_given_up(job: ClusterJob, kubelet: FakeKubelet) -> None:
    job.run()
    rollouts = job.pods("rollout")
    node = kubelet.node_of(job.pod("trainer", 1))
    lost = kubelet.lose_node(node)
    job.wait_condition("TrainersReady", "False", "NoLongerReady")
    kubelet.evict_from_lost_node(node)
    waiting = job.wait_status(lambda status: status["attempts"]["trainer"]["started"] == 2, what="the restart is ordered")
    assert waiting["summary"] == "Restarting"
    assert kubelet.made(job.pod("trainer", 0)) == 1, "a gang is never made while one of the old may still run"
    kubelet.remove_lost_node(node)
    replaced = {index: 1 for index in range(2) if job.pod("rollout", index) in lost}
    job.wait_pods(job.wanted(attempt=1, replaced=replaced))
    seen = job.wait_summary("Running")
    assert attempts(seen, "trainer") == (2, 0, 0)
    assert {name: pod for name, pod in job.pods("rollout").items() if name not in lost} == {
        name: pod for name, pod in rollouts.items() if name not in lost
    }


@pytest.mark.parametrize("role", ["trainer", "rollout"])
def test_out_of_memory_ends_the_job_and_says_what_to_change(role: str, job: ClusterJob, kubelet: FakeKubelet) -> None:
    job.run()
    killed = f"zero-{role}-1"
    kubelet.fail(killed, 137, reason="OOMKilled")
    seen = job.wait_summary("Failed")
    outcome = condition(seen, "Succeeded")
    assert (outcome["status"], outcome["reason"]) == ("False", "OutOfMemory")
    for text in (killed, "64Gi", f"spec.pods.{role}.resources.limits.memory", f"spec.{role}."):
        assert text in outcome["message"]
    assert "OutOfMemory" in job.wait_event("Failed")
    assert attempts(seen, "trainer")[0] == 1
    job.wait_pods_left({killed})
    job.assert_settled(made=4)


def test_out_of_memory_is_tried_again_where_the_policy_says_so(job: ClusterJob, kubelet: FakeKubelet) -> None:
    job.run({"failurePolicy": {"onOutOfMemory": "Restart"}})
    kubelet.fail(job.pod("trainer", 0), 137, reason="OOMKilled")
    job.wait_pods(job.wanted(attempt=1))
    seen = job.wait_summary("Running")
    assert attempts(seen, "trainer") == (2, 1, 1)
    assert seen["attempts"]["trainer"]["lastReason"] == "OutOfMemory"
    assert "spec.pods.trainer.resources.limits.memory" in job.wait_event("TrainersRestarted")
    kubelet.fail(job.pod("rollout", 1), 137, reason="OOMKilled")
    job.wait_pods(job.wanted(attempt=1, replaced={1: 1}))
    assert attempts(job.status(), "rollout") == (3, 1, 1)
    job.assert_settled(made=7)


@pytest.mark.parametrize(
    ("code", "reason", "text"),
    [
        (ExitCode.BAD_INPUT, "DataUnreadable", "/data/train.jsonl: line 3 has no field question"),
        (ExitCode.FATAL, "RewardBroken", "the reward 'answer' raised on every response"),
    ],
    ids=["bad data", "broken reward"],
)
def test_what_would_fail_again_in_the_same_way_fails_the_job_at_once(
    code: int, reason: str, text: str, job: ClusterJob, kubelet: FakeKubelet
) -> None:
    job.create()
    job.wait_summary("Running")
    kubelet.fail(job.pod("trainer", 0), code, run_result(exit_code=code, reason=reason, message=text))
    seen = job.wait_summary("Failed")
    outcome = condition(seen, "Succeeded")
    assert (outcome["status"], outcome["reason"]) == ("False", reason)
    assert text in outcome["message"]
    assert text in seen["message"]
    assert (seen["attempts"]["trainer"]["started"], seen["trainers"]["ready"], "completionTime" in seen) == (1, 0, True)
    assert text in job.wait_event("Failed")
    job.wait_pods_left({job.pod("trainer", 0)})
    job.assert_settled(made=4)


def test_a_full_checkpoint_volume_is_tried_again_within_the_budget(job: ClusterJob, kubelet: FakeKubelet) -> None:
    text = "the volume mounted at /checkpoints is full: 0 of 50 GiB are free"
    full = run_result(exit_code=ExitCode.RETRYABLE, reason="CheckpointDiskFull", message=text, step=7, checkpoint_step=5)
    job.run({"failurePolicy": {"trainer": {"maxRestarts": 1}}}, checkpoints=saved(5))
    kubelet.fail(job.pod("trainer", 0), ExitCode.RETRYABLE, full)
    assert text in job.wait_event("TrainersRestarted")
    job.wait_pods(job.wanted(attempt=1))
    seen = job.wait_summary("Running")
    assert (attempts(seen, "trainer"), seen["attempts"]["trainer"]["lastReason"]) == ((2, 1, 1), "CheckpointDiskFull")
    kubelet.fail(job.pod("trainer", 0), ExitCode.RETRYABLE, full)
    outcome = condition(job.wait_summary("Failed"), "Succeeded")
    assert (outcome["reason"], text in outcome["message"]) == ("TrainerBudgetSpent", True)


def test_a_spent_budget_fails_the_job_and_names_the_field(job: ClusterJob, kubelet: FakeKubelet) -> None:
    job.run({"failurePolicy": {"trainer": {"maxRestarts": 1}}})
    kubelet.fail(job.pod("trainer", 1), 3, LOST)
    job.wait_pods(job.wanted(attempt=1))
    job.wait_summary("Running")
    kubelet.fail(job.pod("trainer", 1), 3, LOST)
    seen = job.wait_summary("Failed")
    outcome = condition(seen, "Succeeded")
    assert (outcome["status"], outcome["reason"]) == ("False", "TrainerBudgetSpent")
    for text in ("zero-trainer-1", "lost the connection", "spec.failurePolicy.trainer.maxRestarts is 1"):
        assert text in outcome["message"]
    job.wait_pods_left({job.pod("trainer", 1)})
    job.assert_settled(made=6)


def test_a_new_checkpoint_gives_the_budget_back(job: ClusterJob, kubelet: FakeKubelet) -> None:
    job.run({"failurePolicy": {"trainer": {"maxRestarts": 1}}}, checkpoints=saved(5))
    for failure in (1, 2):
        kubelet.fail(job.pod("trainer", 0), 3, LOST)
        job.wait_pods(job.wanted(attempt=failure))
        assert attempts(job.wait_summary("Running"), "trainer") == (failure + 1, failure, 1)
        step = 5 + 10 * failure
        seen = job.report(step, checkpoints=saved(5, step))
        assert attempts(seen, "trainer") == (failure + 1, failure, 0)
        assert seen["lastCheckpointStep"] == step
    job.assert_settled(made=8)


def test_a_rollout_pod_without_budget_is_given_up_until_the_next_checkpoint(job: ClusterJob, kubelet: FakeKubelet) -> None:
    job.run({"rollout": {"replicas": 3}, "failurePolicy": {"rollout": {"maxRestarts": 0}}})
    before = job.pods()
    kubelet.fail(job.pod("rollout", 2), 3)
    assert "spec.failurePolicy.rollout.maxRestarts is 0" in job.wait_event("RolloutGivenUp")
    assert job.status()["summary"] == "Running"
    assert kubelet.made(job.pod("rollout", 2)) == 1
    job.report(10, checkpoints=saved(10))
    after = job.wait_pods(job.wanted(rollouts=3, replaced={2: 1}))
    assert {name for name in after if after[name] != before[name]} == {job.pod("rollout", 2)}
    job.assert_settled(made=6)


def test_too_few_rollout_pods_with_budget_fail_the_job(job: ClusterJob, kubelet: FakeKubelet) -> None:
    job.run({"rollout": {"replicas": 2, "minReplicas": 2}, "failurePolicy": {"rollout": {"maxRestarts": 0}}})
    kubelet.fail(job.pod("rollout", 0), 3)
    outcome = condition(job.wait_summary("Failed"), "Succeeded")
    assert outcome["reason"] == "RolloutBudgetSpent"
    for text in ("zero-rollout-0", "spec.rollout.minReplicas is 2", "spec.failurePolicy.rollout.maxRestarts"):
        assert text in outcome["message"]
    job.wait_pods_left({job.pod("rollout", 0)})
    job.assert_settled(made=4)


def test_an_image_that_cannot_be_pulled_is_told_of(job: ClusterJob, kubelet: FakeKubelet) -> None:
    kubelet.script("*-trainer-1", Script(waiting="ImagePullBackOff", waiting_message='image "nowhere/runtime:9" not found'), times=1)
    job.create()
    blocked = job.wait_condition("TrainersReady", "False", "ImagePullBackOff")
    assert "nowhere/runtime:9" in blocked["message"]
    assert "zero-trainer-1" in blocked["message"]
    seen = job.status()
    assert (seen["summary"], seen["message"]) == ("Starting", blocked["message"])
    assert "nowhere/runtime:9" in job.wait_event("TrainersBlocked")
    job.api.delete("pods", job.pod("trainer", 1), namespace=job.namespace)
    job.wait_summary("Running")


def test_a_gang_that_finds_no_room_is_pending_and_says_why(job: ClusterJob, kubelet: FakeKubelet) -> None:
    kubelet.hold("*-trainer-1")
    job.create()
    blocked = job.wait_condition("TrainersReady", "False", "Unschedulable")
    assert "zero-trainer-1 finds no node: 0/1 nodes" in blocked["message"]
    assert job.status()["summary"] == "Pending"
    kubelet.release("*-trainer-1")
    job.wait_summary("Running")
    job.assert_settled(made=4)
