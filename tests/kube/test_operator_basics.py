"""The whole operator process against a real API server: one job's life, and the same life while something is wrong.

The operator is a process of its own, started as the chart starts it. Whatever happens to it or between it and the API server, in the end
there are exactly the pods that the job asks for, none was made twice, and the status says what is so.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from testbed.audit import AuditTrail
from testbed.client import Client
from testbed.control_plane import ControlPlane
from testbed.deadline import wait_for
from testbed.fake_kubelet import FakeKubelet
from testbed.fault_proxy import FaultProxy
from testbed.fault_rules import Answer, CloseWatch, Delay, DropAfter, DropBefore, DuplicateEvents, ExpireWatch, Rule
from testbed.pod_script import run_result, run_status

from reasonrl.api import names

JOB = "zero"
TRAINERS, ROLLOUTS = 2, 2
PODS = [names.pod_name(JOB, "trainer", index) for index in range(TRAINERS)] + [
    names.pod_name(JOB, "rollout", index) for index in range(ROLLOUTS)
]
LEASE_SECONDS = 8
MAIN = "from reasonrl.cli.app import main; main()"


def manifest(namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": f"{names.GROUP}/{names.VERSION}",
        "kind": "ReasoningRLJob",
        "metadata": {"name": JOB, "namespace": namespace},
        "spec": {
            "model": {"path": "hf://example/model"},
            "data": {"train": [{"path": "/data/train.jsonl"}]},
            "algorithm": {"promptsPerStep": 8, "rolloutsPerPrompt": 4},
            "rewards": [{"type": "answer"}],
            "phases": [{"name": "main", "maxResponseTokens": 64, "until": {"steps": 10}}],
            "rollout": {"placement": "Disaggregated", "replicas": ROLLOUTS, "engine": "vllm"},
            "trainer": {"replicas": TRAINERS, "engine": "deepspeed"},
            "checkpoint": {"volume": {"claimName": "checkpoints"}},
            "failurePolicy": {
                "trainer": {"maxRestarts": 20, "backoffSeconds": 1, "maxBackoffSeconds": 2},
                "rollout": {"maxRestarts": 20, "backoffSeconds": 1, "maxBackoffSeconds": 2},
            },
        },
    }


class OperatorProcess:
    """`reasonrl operator`, acting in one namespace, its log in a file."""

    def __init__(self, kubeconfig: Path, namespace: str, log: Path, *options: str) -> None:
        command = [sys.executable, "-c", MAIN, "operator", "--namespace", namespace, "--kubeconfig", str(kubeconfig)]
        own = ["--metrics-host", "127.0.0.1", "--metrics-port", "0", "--lease-seconds", str(LEASE_SECONDS)]
        quick = ["--poll-seconds", "0.5", "--watch-silence", "20"]
        self.log = log
        with log.open("wb") as out:
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            self.process = subprocess.Popen([*command, *own, *quick, *options], stdout=out, stderr=out, env=environment)

    def said(self, text: str) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"the operator ended with {self.process.returncode}:\n{self.log.read_text()[-4000:]}")
        return text in self.log.read_text()

    def wait_said(self, text: str, deadline: float = 30.0) -> None:
        wait_for(lambda: self.said(text), deadline=deadline, what=f"the operator says {text!r}")

    def page(self, path: str) -> str:
        self.wait_said("health and metrics on port")
        port = re.findall(r"health and metrics on port (\d+)", self.log.read_text())[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return str(answer.read().decode())

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait(10)


Start = Callable[..., OperatorProcess]


@pytest.fixture
def start(control_plane: ControlPlane, crds: list[str], namespace: str, proxy: FaultProxy, tmp_path: Path) -> Iterator[Start]:
    """Starts an operator that reaches the API server through the fault proxy."""
    started: list[OperatorProcess] = []

    def begin(*options: str) -> OperatorProcess:
        one = OperatorProcess(proxy.kubeconfig(), namespace, tmp_path / f"operator-{len(started)}.log", *options)
        started.append(one)
        return one

    yield begin
    for one in started:
        one.kill()
        # Shown where the test has failed.
        print(f"--- {one.log.name}\n{one.log.read_text()[-6000:]}")


def summary(api: Client, namespace: str) -> str:
    return str(api.get("reasoningrljobs", JOB, namespace=namespace).get("status", {}).get("summary"))


def wait_summary(api: Client, namespace: str, wanted: str, deadline: float = 40.0) -> dict[str, Any]:
    def probe() -> dict[str, Any] | None:
        job = api.get("reasoningrljobs", JOB, namespace=namespace)
        return job if job.get("status", {}).get("summary") == wanted else None

    job = wait_for(probe, deadline=deadline, what=f"{JOB} is {wanted}")
    assert job is not None
    return job


def assert_exactly_the_right_pods(api: Client, kubelet: FakeKubelet, namespace: str) -> None:
    pods = api.list("pods", namespace=namespace)
    assert sorted(pod["metadata"]["name"] for pod in pods) == sorted(PODS)
    uid = api.get("reasoningrljobs", JOB, namespace=namespace)["metadata"]["uid"]
    for pod in pods:
        (owner,) = pod["metadata"]["ownerReferences"]
        assert (owner["uid"], owner["controller"]) == (uid, True)


def assert_none_made_twice(kubelet: FakeKubelet) -> None:
    assert {pod: kubelet.made(pod) for pod in PODS} == dict.fromkeys(PODS, 1)


def forget_the_lease(api: Client, namespace: str) -> None:
    """Saves the wait for its end, which is a test of its own."""
    api.delete("leases", "reasonrl-operator", namespace=namespace)


def live_a_life(api: Client, kubelet: FakeKubelet, namespace: str) -> None:
    """From running to the end, by way of a lost rollout pod and a lost trainer."""
    # A job runs with as few rollout pods as minReplicas: this one may still be on its way.
    kubelet.wait_running(PODS[-1], deadline=40)
    kubelet.fail(PODS[-1], 3)
    wait_for(lambda: kubelet.made(PODS[-1]) == 2, deadline=40, what="the rollout pod is replaced")
    wait_summary(api, namespace, "Running")
    assert [kubelet.made(pod) for pod in PODS[:-1]] == [1] * (len(PODS) - 1), "only the lost rollout pod is replaced"
    message = run_result(exit_code=3, reason="RankLost", message="a rank died", step=3)
    kubelet.fail(PODS[1], 3, message)
    for pod in PODS[:TRAINERS]:
        wait_for(lambda pod=pod: kubelet.made(pod) == 2, deadline=40, what=f"{pod} starts again")
    wait_summary(api, namespace, "Running")
    assert [kubelet.made(pod) for pod in PODS] == [2, 2, 1, 2], "the trainers start again as a gang, the rollout pods stay"
    assert_exactly_the_right_pods(api, kubelet, namespace)
    job = api.get("reasoningrljobs", JOB, namespace=namespace)
    attempts = job["status"]["attempts"]
    assert (attempts["trainer"]["failures"], attempts["rollout"]["failures"]) == (1, 1), "each loss is counted, and once"
    end = run_result(exit_code=0, reason="Completed", message="all steps done", step=10, checkpoint_step=10)
    for pod in PODS[:TRAINERS]:
        kubelet.succeed(pod, end)
    wait_summary(api, namespace, "Succeeded")


def test_a_job_runs_reports_and_succeeds(
    api: Client, kubelet: FakeKubelet, namespace: str, start: Start, calls: AuditTrail, proxy: FaultProxy
) -> None:
    operator = start()
    operator.wait_said("leading as")
    before = len(proxy.requests())
    api.create(manifest(namespace))
    wait_summary(api, namespace, "Running")
    asked = [one for one in proxy.requests()[before:] if not one.watch and "/leases/" not in one.path and one.method != "GET"]
    # The job is shown as running by the first or second write of its status; another may follow, when the rollout pods are ready later.
    writes = [number for number, one in enumerate(asked) if one.path.endswith("/status")]
    assert 1 <= len(writes) <= 3, [f"{one.method} {one.path}" for one in asked]
    until_running = asked[: writes[min(1, len(writes) - 1)] + 1]
    assert len(until_running) <= len(PODS) + 7, [f"{one.method} {one.path}" for one in until_running]
    assert_exactly_the_right_pods(api, kubelet, namespace)
    assert_none_made_twice(kubelet)
    kubelet.set_status(PODS[0], run_status(step=7))
    wait_for(lambda: api.get("reasoningrljobs", JOB, namespace=namespace)["status"].get("step") == 7, what="status shows step 7")
    live_a_life(api, kubelet, namespace)
    assert operator.page("/healthz") == "ok"
    assert operator.page("/readyz") == "ok"
    metrics = operator.page("/metrics")
    assert 'reasonrl_operator_jobs{state="Succeeded"} 1.0' in metrics
    assert 'reasonrl_operator_restarts_total{reason="' in metrics
    assert "reasonrl_operator_created_to_running_seconds_count 1.0" in metrics
    operator.process.terminate()
    assert operator.process.wait(10) == 0
    lease = api.get("leases", "reasonrl-operator", namespace=namespace)
    assert lease["spec"]["holderIdentity"] == "", "the lease is given back"


POINTS = {
    "before the service": ("POST", "/services$", 0, DropBefore()),
    "after the service": ("POST", "/services$", 0, DropAfter()),
    "before the config": ("POST", "/configmaps$", 0, DropBefore()),
    "after the secret": ("POST", "/secrets$", 0, DropAfter()),
    "before the first pod": ("POST", "/pods$", 0, DropBefore()),
    "after the first pod": ("POST", "/pods$", 0, DropAfter()),
    "after the third pod": ("POST", "/pods$", 2, DropAfter()),
    "before the last pod": ("POST", "/pods$", 3, DropBefore()),
    "before the first status": ("PATCH", "/status$", 0, DropBefore()),
    "after the first status": ("PATCH", "/status$", 0, DropAfter()),
    "after the second status": ("PATCH", "/status$", 1, DropAfter()),
}


@pytest.mark.parametrize("point", POINTS)
def test_an_operator_killed_at_any_point_leaves_work_that_the_next_one_finishes(
    point: str, api: Client, kubelet: FakeKubelet, namespace: str, start: Start, proxy: FaultProxy
) -> None:
    method, path, skip, fault = POINTS[point]
    operator = start()
    operator.wait_said("leading as")
    rule = proxy.inject(fault, method=method, path=path, skip=skip)
    # From that request on nothing of this operator comes through any more: it is as dead as it will be in a moment.
    proxy.inject(DropBefore(), method=method, path=path, skip=skip + 1, times=None)
    api.create(manifest(namespace))
    wait_for(lambda: rule.hits, deadline=20, what=f"the operator reaches the point {point}")
    operator.kill()
    proxy.clear()
    forget_the_lease(api, namespace)
    start().wait_said("leading as")
    wait_summary(api, namespace, "Running")
    assert_exactly_the_right_pods(api, kubelet, namespace)
    assert_none_made_twice(kubelet)


@pytest.mark.parametrize(("method", "path"), [("PATCH", "/status$"), ("DELETE", "/pods/"), ("POST", "/pods$")])
def test_an_operator_killed_while_it_restarts_trainers_counts_the_failure_once(
    method: str, path: str, api: Client, kubelet: FakeKubelet, namespace: str, start: Start, proxy: FaultProxy
) -> None:
    operator = start()
    api.create(manifest(namespace))
    wait_summary(api, namespace, "Running")
    rule = proxy.inject(DropAfter(), method=method, path=path)
    kubelet.fail(PODS[0], 3, run_result(exit_code=3, reason="RankLost"))
    wait_for(lambda: rule.hits, deadline=30, what="the operator reaches the point")
    operator.kill()
    proxy.clear()
    forget_the_lease(api, namespace)
    start()
    for pod in PODS[:TRAINERS]:
        wait_for(lambda pod=pod: kubelet.made(pod) == 2, deadline=40, what=f"{pod} starts again")
    job = wait_summary(api, namespace, "Running")
    assert job["status"]["attempts"]["trainer"]["failures"] == 1
    assert [kubelet.made(pod) for pod in PODS] == [2, 2, 1, 1]
    assert_exactly_the_right_pods(api, kubelet, namespace)


def test_of_two_operators_one_acts_and_the_other_takes_over(
    api: Client, kubelet: FakeKubelet, namespace: str, start: Start, proxy: FaultProxy
) -> None:
    first = start()
    first.wait_said("leading as")
    second = start()
    second.wait_said("caches are filled")
    api.create(manifest(namespace))
    wait_summary(api, namespace, "Running")
    assert_none_made_twice(kubelet)
    assert not second.said("leading as")
    assert second.page("/readyz") == "ok"
    assert second.page("/healthz") == "ok"
    first.kill()
    second.wait_said("leading as", deadline=20)
    kubelet.fail(PODS[-1], 3)
    wait_for(lambda: kubelet.made(PODS[-1]) == 2, deadline=30, what="the new leader replaces the rollout pod")
    third = start()
    third.wait_said("caches are filled")
    second.process.terminate()
    assert second.process.wait(10) == 0
    third.wait_said("leading as", deadline=LEASE_SECONDS)
    live_on = wait_summary(api, namespace, "Running")
    assert live_on["status"]["attempts"]["rollout"]["failures"] == 1
    assert_exactly_the_right_pods(api, kubelet, namespace)


def test_after_a_crash_the_other_replica_acts_within_25_seconds_of_default_times(
    api: Client, kubelet: FakeKubelet, namespace: str, start: Start, proxy: FaultProxy, calls: AuditTrail
) -> None:
    """The times that the chart has: a lease of 15 s."""
    first = start("--lease-seconds", "15")
    first.wait_said("leading as")
    second = start("--lease-seconds", "15")
    second.wait_said("caches are filled")
    api.create(manifest(namespace))
    wait_summary(api, namespace, "Running")
    for waiting in ("/healthz", "/readyz"):
        assert second.page(waiting) == "ok", "a replica that waits is healthy"
    first.kill()
    # While nobody acts: a failure, and a job that is applied.
    kubelet.fail(PODS[-1], 3)
    second.wait_said("leading as", deadline=25.0)
    wait_for(lambda: kubelet.made(PODS[-1]) == 2, deadline=30, what="the new leader replaces the rollout pod")
    job = wait_summary(api, namespace, "Running")
    assert job["status"]["attempts"]["rollout"]["failures"] == 1
    assert [kubelet.made(pod) for pod in PODS] == [1, 1, 1, 2]
    made = [call.name for call in calls.calls(namespace=namespace) if (call.verb, call.resource, call.code) == ("create", "pods", 201)]
    assert sorted(made) == sorted([*PODS, PODS[-1]]), "nothing is created twice"
    assert_exactly_the_right_pods(api, kubelet, namespace)
    for acting in ("/healthz", "/readyz"):
        assert second.page(acting) == "ok"


def test_an_operator_that_was_frozen_past_its_lease_ends_without_writing(
    api: Client, kubelet: FakeKubelet, namespace: str, start: Start, proxy: FaultProxy
) -> None:
    frozen = start()
    frozen.wait_said("leading as")
    api.create(manifest(namespace))
    wait_summary(api, namespace, "Running")
    frozen.process.send_signal(signal.SIGSTOP)
    kubelet.fail(PODS[-1], 3)
    start().wait_said("leading as")
    wait_for(lambda: kubelet.made(PODS[-1]) == 2, deadline=30, what="the new leader replaces the rollout pod")
    job = wait_summary(api, namespace, "Running")
    frozen.process.send_signal(signal.SIGCONT)
    assert frozen.process.wait(20) == 75
    assert api.get("reasoningrljobs", JOB, namespace=namespace)["status"]["attempts"] == job["status"]["attempts"]
    assert [kubelet.made(pod) for pod in PODS] == [1, 1, 1, 2]
    assert_exactly_the_right_pods(api, kubelet, namespace)


def broken_watches(proxy: FaultProxy) -> list[Rule]:
    return [
        proxy.inject(CloseWatch(events=1), watch=True, times=15),
        proxy.inject(CloseWatch(events=2, torn=True), watch=True, times=15),
    ]


def expired_watches(proxy: FaultProxy) -> list[Rule]:
    return [
        proxy.inject(ExpireWatch(events=1), watch=True, times=12),
        proxy.inject(Answer(410, "Expired"), watch=True, times=4),
    ]


def repeated_events(proxy: FaultProxy) -> list[Rule]:
    return [proxy.inject(DuplicateEvents(copies=3), watch=True, times=None)]


def conflicts(proxy: FaultProxy) -> list[Rule]:
    return [proxy.inject(Answer(409, "Conflict"), method="PATCH", path="/reasoningrljobs/", times=4)]


def patience_asked_for(proxy: FaultProxy) -> list[Rule]:
    return [
        proxy.inject(Answer(429, "TooManyRequests", retry_after=1), method="POST", path="/pods$", times=4),
        proxy.inject(Answer(429, "TooManyRequests", retry_after=1), method="PATCH", path="/reasoningrljobs/", times=2),
    ]


def server_errors(proxy: FaultProxy) -> list[Rule]:
    return [proxy.inject(Answer(500, "InternalError"), path="^/api", watch=False, probability=0.2, times=None, seed=7)]


def lost_answers(proxy: FaultProxy) -> list[Rule]:
    return [proxy.inject(DropAfter(), path="/(pods|services|secrets|reasoningrljobs)", watch=False, probability=0.3, times=None, seed=3)]


def lost_requests(proxy: FaultProxy) -> list[Rule]:
    return [proxy.inject(DropBefore(), path="^/api", watch=False, probability=0.2, times=None, seed=5)]


def slow_answers(proxy: FaultProxy) -> list[Rule]:
    return [proxy.inject(Delay(0.3), path="/(pods|reasoningrljobs)", watch=False, times=None)]


@pytest.mark.parametrize(
    "faults",
    [
        broken_watches,
        expired_watches,
        repeated_events,
        conflicts,
        patience_asked_for,
        server_errors,
        lost_answers,
        lost_requests,
        slow_answers,
    ],
    ids=lambda faults: faults.__name__,
)
def test_a_jobs_life_is_the_same_while_something_is_wrong(
    faults: Callable[[FaultProxy], list[Rule]], api: Client, kubelet: FakeKubelet, namespace: str, start: Start, proxy: FaultProxy
) -> None:
    operator = start()
    operator.wait_said("leading as")
    rules = faults(proxy)
    # What goes wrong with a watch is settled when it opens.
    proxy.close_watches()
    api.create(manifest(namespace))
    wait_summary(api, namespace, "Running", deadline=60)
    assert_none_made_twice(kubelet)
    live_a_life(api, kubelet, namespace)
    assert operator.process.poll() is None
    assert all(rule.hits for rule in rules), "what was to go wrong did go wrong"


def test_watches_that_fell_silent_are_made_again_and_nothing_is_missed(
    api: Client, kubelet: FakeKubelet, namespace: str, start: Start, proxy: FaultProxy
) -> None:
    start("--watch-silence", "2")
    api.create(manifest(namespace))
    wait_summary(api, namespace, "Running")
    with proxy.frozen("/pods", lose=True):
        kubelet.fail(PODS[-1], 3)
        wait_for(lambda: proxy.lost_events > 0, deadline=10, what="an event is lost")
    wait_for(lambda: kubelet.made(PODS[-1]) == 2, deadline=30, what="the pod is replaced although nobody said that it failed")
    wait_summary(api, namespace, "Running")
    assert_exactly_the_right_pods(api, kubelet, namespace)
