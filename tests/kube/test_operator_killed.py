"""The operator dies in the middle of what a person or a run has asked for: the next one finishes it, once.

It reaches the API server through the fault proxy. At a chosen request the proxy cuts the line, before the server has it or before its
answer, and the process is killed with SIGKILL. What happens when it dies while it starts a job or restarts trainers is in
test_operator_basics. Then: clocks that jump, and two operators that do not know of each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from testbed.audit import AuditTrail
from testbed.client import Client
from testbed.cluster_job import JOBS, ClusterJob, attempts, saved
from testbed.deadline import wait_for
from testbed.fake_kubelet import FakeKubelet
from testbed.fault_proxy import FaultProxy
from testbed.fault_rules import DropAfter, DropBefore, Fault
from testbed.operator_process import OperatorProcess
from testbed.pod_script import Script, run_result

from reasonrl.api import names


@pytest.fixture
def mortal(crds: list[str], proxy: FaultProxy, namespace: str, tmp_path: Path) -> Iterator[OperatorProcess]:
    process = OperatorProcess(kubeconfig=proxy.kubeconfig(), directory=tmp_path, options=["--namespace", namespace])
    process.start()
    yield process
    process.stop()


@pytest.fixture
def own_job(api: Client, kubelet: FakeKubelet, mortal: OperatorProcess, calls: AuditTrail, namespace: str) -> ClusterJob:
    return ClusterJob(api=api, kubelet=kubelet, operator=mortal, calls=calls, namespace=namespace, name="zero")


@dataclass(frozen=True)
class Story:
    """What is asked of a running job, and how it is seen that it was done."""

    asked: Callable[[ClusterJob], object]
    done: Callable[[ClusterJob], object]


def suspended(job: ClusterJob) -> None:
    job.wait_pods({})
    job.wait_summary("Suspended")
    job.suspend(False)
    job.wait_pods(job.wanted(attempt=1))
    assert attempts(job.wait_summary("Running"), "trainer") == (2, 0, 0)
    job.assert_settled(made=8)


def edited(job: ClusterJob) -> None:
    wait_for(lambda: job.config()["checkpoint"]["everySteps"] == 7, deadline=30, what="the edit is in the ConfigMap")
    job.assert_settled(made=4)
    assert len(job.events().get("EditTaken", "").splitlines()) <= 1, "an event may die with the operator, and is not told twice"


def shrunk(job: ClusterJob) -> None:
    job.wait_pods(job.wanted(rollouts=1))
    job.wait_condition("RolloutsReady", "True", "AllReady")
    job.assert_settled(made=4)
    assert "PodDeleted" not in job.events()


def rolled_back(job: ClusterJob) -> None:
    job.wait_pods(job.wanted(attempt=1))
    seen = job.wait_summary("Running")
    assert (attempts(seen, "trainer"), job.control()["rollbackTo"], job.control()["rollbackAttempt"]) == ((2, 0, 0), 20, 1)
    job.assert_settled(made=6)


def ended(job: ClusterJob) -> None:
    job.api.wait_gone(JOBS, job.name, namespace=job.namespace, deadline=40)


def anew(job: ClusterJob) -> None:
    job.wait_pods(job.wanted(attempt=1))
    assert attempts(job.wait_summary("Running"), "trainer") == (2, 0, 0)
    assert job.api.find("secrets", names.token_name(job.name), namespace=job.namespace)
    job.assert_settled(made=8)


def end_well(job: ClusterJob) -> None:
    job.kubelet.succeed(job.pod("trainer", 0), run_result(exit_code=0, reason="Completed", message="done", step=100))


STORIES = {
    "suspend": Story(lambda job: job.suspend(True), suspended),
    "edit": Story(lambda job: job.edit({"checkpoint": {"everySteps": 7}}), edited),
    "shrink": Story(lambda job: job.edit({"rollout": {"replicas": 1}}), shrunk),
    "roll back": Story(lambda job: job.annotate(names.ANNOTATION_ROLLBACK, "20"), rolled_back),
    "end": Story(end_well, ended),
    "lose the token": Story(lambda job: job.api.delete("secrets", names.token_name(job.name), namespace=job.namespace), anew),
}
POINTS: list[tuple[str, str, str, int, Fault]] = [
    ("suspend", "PATCH", "/status$", 0, DropAfter()),
    ("suspend", "DELETE", "/pods/", 0, DropBefore()),
    ("suspend", "DELETE", "/pods/", 2, DropAfter()),
    ("edit", "PATCH", "/configmaps/", 0, DropBefore()),
    ("edit", "PATCH", "/configmaps/", 0, DropAfter()),
    ("shrink", "DELETE", "/pods/", 0, DropAfter()),
    ("roll back", "PATCH", "/configmaps/", 0, DropAfter()),
    ("roll back", "PATCH", "/status$", 0, DropAfter()),
    ("roll back", "POST", "/pods$", 0, DropAfter()),
    ("end", "PATCH", "/status$", 0, DropBefore()),
    ("end", "PATCH", "/status$", 0, DropAfter()),
    ("end", "DELETE", "/reasoningrljobs/zero$", 0, DropBefore()),
    ("lose the token", "PATCH", "/status$", 0, DropAfter()),
    ("lose the token", "DELETE", "/pods/", 1, DropAfter()),
    ("lose the token", "POST", "/secrets$", 0, DropAfter()),
    ("lose the token", "POST", "/pods$", 1, DropAfter()),
]


@pytest.mark.parametrize(
    ("story", "method", "path", "skip", "fault"),
    POINTS,
    ids=[f"{story}: {type(fault).__name__} {method} {skip + 1}" for story, method, _, skip, fault in POINTS],
)
def test_what_was_asked_for_is_done_once_whoever_dies_over_it(
    story: str, method: str, path: str, skip: int, fault: Fault, own_job: ClusterJob, mortal: OperatorProcess, proxy: FaultProxy
) -> None:
    job = own_job
    job.kubelet.script("*", Script(terminate_after=0.2))
    job.run({"ttlSecondsAfterFinished": 2}, step=30, checkpoints=saved(20, 30))
    wait_for(lambda: not mortal.busy(), deadline=20, what="the operator is idle")
    rule = proxy.inject(fault, method=method, path=path, skip=skip)
    STORIES[story].asked(job)
    wait_for(lambda: rule.hits, deadline=30, what="the operator reaches the point")
    mortal.kill()
    proxy.clear()
    mortal.start()
    STORIES[story].done(job)


CLOCK = """
import time
from pathlib import Path
right, shift = time.time, Path({path!r})
time.time = lambda: right() + float(shift.read_text())
"""
DAYS = 86_400.0


def test_a_clock_that_jumps_by_days_and_back_harms_nothing(
    crds: list[str], proxy: FaultProxy, api: Client, kubelet: FakeKubelet, calls: AuditTrail, namespace: str, tmp_path: Path
) -> None:
    clock = tmp_path / "shift"

    def shift(seconds: float) -> None:
        (tmp_path / "next").write_text(str(seconds))
        (tmp_path / "next").rename(clock)

    shift(0.0)
    process = OperatorProcess(
        kubeconfig=proxy.kubeconfig(), directory=tmp_path, options=["--namespace", namespace], before=CLOCK.format(path=str(clock))
    )
    process.start()
    try:
        job = ClusterJob(api=api, kubelet=kubelet, operator=process, calls=calls, namespace=namespace, name="zero")
        wait = {"maxRestarts": 5, "backoffSeconds": 1, "maxBackoffSeconds": 2}
        job.run({"failurePolicy": {"trainer": wait, "rollout": wait}}, step=5)
        before = job.pods()
        for jump in (2 * DAYS, -2 * DAYS):
            shift(jump)
            job.report(6 if jump > 0 else 7)
            assert job.pods() == before, f"a jump of {jump} s restarts nobody"
            assert job.status()["summary"] == "Running"
            assert process.page("/healthz") == "ok"
        # Failures whose waits are written by a clock two days ahead, and looked at by the right one.
        shift(2 * DAYS)
        kubelet.fail(job.pod("rollout", 1), 3)
        job.wait_status(lambda status: status["attempts"]["rollout"]["failures"] == 1, what="the failure is counted")
        shift(0.0)
        job.annotate("example.com/nudge", "clock")
        job.wait_pods(job.wanted(replaced={1: 1}))
        shift(2 * DAYS)
        kubelet.fail(job.pod("trainer", 0), 3)
        job.wait_status(lambda status: status["attempts"]["trainer"]["failures"] == 1, what="the failure is counted")
        shift(0.0)
        job.annotate("example.com/nudge", "clock again")
        job.wait_pods(job.wanted(attempt=1, replaced={1: 1}))
        seen = job.wait_summary("Running")
        assert (attempts(seen, "trainer"), attempts(seen, "rollout")) == ((2, 1, 1), (3, 1, 1))
        assert "leading as" in process.log()
        job.assert_settled(made=7)
    finally:
        process.stop()


def test_two_operators_that_both_act_by_mistake_make_nothing_twice(
    crds: list[str], proxy: FaultProxy, api: Client, kubelet: FakeKubelet, calls: AuditTrail, namespace: str, tmp_path: Path
) -> None:
    """Two releases watch the same namespace, each with a lease of its own."""
    both = []
    try:
        for number in range(2):
            directory = tmp_path / str(number)
            directory.mkdir()
            options = ["--namespace", namespace, "--lease-name", f"release-{number}"]
            both.append(OperatorProcess(kubeconfig=proxy.kubeconfig(), directory=directory, options=options))
            both[-1].start()
        job = ClusterJob(api=api, kubelet=kubelet, operator=both[0], calls=calls, namespace=namespace, name="zero")
        job.run(step=5)
        assert sorted(job.creations()) == sorted(job.wanted())
        kubelet.fail(job.pod("rollout", 0), 3)
        job.wait_pods(job.wanted(replaced={0: 1}))
        kubelet.fail(job.pod("trainer", 1), 3)
        job.wait_pods(job.wanted(attempt=1, replaced={0: 1}))
        seen = job.wait_summary("Running")
        assert (attempts(seen, "trainer"), attempts(seen, "rollout")) == ((2, 1, 1), (3, 1, 1)), "each failure is counted, and once"
        kubelet.succeed(job.pod("trainer", 0), run_result(exit_code=0, reason="Completed", message="done", step=100))
        job.wait_summary("Succeeded")
        assert len(job.creations()) == 7
    finally:
        for process in both:
            process.stop()
