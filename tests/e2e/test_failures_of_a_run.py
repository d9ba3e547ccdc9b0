"""What befalls a job that runs, on real pods: each test breaks something of one long run and sees it go on (docs/failures.md)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from driver.jobs import Job, apply, job
from driver.kubectl import Kubectl, wait_for
from driver.release import NAMESPACE, Release

WAIT_SECONDS = 600.0
PATCH_SUSPEND = {True: {"spec": {"suspend": True}}, False: {"spec": {"suspend": False}}}


@pytest.fixture(scope="module")
def endless(namespace: Kubectl, claim: Callable[[str], str]) -> Iterator[Job]:
    """A run longer than the tests of this file."""
    made = apply(
        namespace, job("endless", claim=claim("endless"), steps=(20, 20_000), checkpoint={"everySteps": 5}, evaluation={"everySteps": 500})
    )
    try:
        yield made
    finally:
        namespace.delete("reasoningrljobs.reasonrl.dev", made.name)
        namespace.run("delete", "pods", f"--selector=reasonrl.dev/job={made.name}", "--grace-period=1", "--ignore-not-found")


@pytest.fixture
def running(endless: Job) -> Job:
    """The run, once it trains with both rollout pods and has a checkpoint of this start."""
    wait_for(
        lambda: (
            endless.status().get("summary") == "Running"
            and endless.status()["rollouts"].get("ready") == 2
            and (endless.status().get("lastCheckpointStep") or 0) > 0
        ),
        seconds=WAIT_SECONDS,
        what="the run trains, with two rollout pods and a checkpoint",
        shown=endless.told,
    )
    return endless


def goes_on(made: Job, *, steps: int = 3) -> None:
    """The run does further steps."""
    before = made.status().get("step") or 0
    made.wait_step(before + steps, seconds=WAIT_SECONDS)


def restarted(made: Job, *, starts: int) -> None:
    """The trainers have been started `starts` times, and train."""
    wait_for(
        lambda: made.status()["attempts"]["trainer"]["started"] == starts and made.status()["summary"] == "Running",
        seconds=WAIT_SECONDS,
        what=f"trainers running, start {starts}",
        shown=made.told,
    )


def test_a_deleted_rollout_pod_is_replaced_alone(running: Job) -> None:
    trainers, rollouts = running.uids("trainer"), running.uids("rollout")
    started = running.status()["attempts"]["trainer"]["started"]
    victim, joined = f"{running.name}-rollout-1", _joined(running, "rollout-1")
    running.kubectl.delete("pod", victim, "--wait=false")
    goes_on(running)
    wait_for(
        lambda: running.uids("rollout").get(victim) not in (None, rollouts[victim]) and running.status()["rollouts"].get("ready") == 2,
        seconds=WAIT_SECONDS,
        what="another rollout-1, ready",
        shown=running.told,
    )
    assert running.uids("rollout")[f"{running.name}-rollout-0"] == rollouts[f"{running.name}-rollout-0"]
    assert running.uids("trainer") == trainers
    assert running.status()["attempts"]["trainer"]["started"] == started
    goes_on(running)
    # The engine of the new pod really takes part.
    wait_for(lambda: _joined(running, "rollout-1") > joined, seconds=WAIT_SECONDS, what="the newcomer has joined", shown=running.told)


def test_a_killed_engine_comes_back_and_the_trainers_go_on(running: Job) -> None:
    trainers, victim = running.uids("trainer"), f"{running.name}-rollout-0"
    before = _joined(running, "rollout-0")
    running.execute(victim, "python", "-c", _KILL, "EngineActor")
    wait_for(
        lambda: _joined(running, "rollout-0") > before and running.status()["rollouts"].get("ready") == 2,
        seconds=WAIT_SECONDS,
        what="rollout-0 has joined again",
        shown=running.told,
    )
    assert any(event.get("reason") == "RolloutLost" for event in running.run_events())
    assert running.uids("trainer") == trainers
    goes_on(running)


def _joined(made: Job, rollout: str) -> int:
    """How often an engine joined the run."""
    events = made.run_events()
    return sum(1 for event in events if event.get("reason") == "RolloutJoined" and event["message"].startswith(f"{rollout} "))


def test_deleting_trainer_0_restarts_the_trainers_from_the_last_checkpoint(running: Job) -> None:
    before, rollouts = running.status(), running.uids("rollout")
    attempts = before["attempts"]["trainer"]
    running.kubectl.delete("pod", f"{running.name}-trainer-0", "--wait=false")
    restarted(running, starts=attempts["started"] + 1)
    after = running.status()
    assert (after["attempts"]["trainer"].get("failures") or 0) == (attempts.get("failures") or 0), "a deletion is not a failure"
    assert after["step"] >= before["lastCheckpointStep"]
    assert [phase["name"] for phase in after["phases"]] == [phase["name"] for phase in before["phases"]], "no phase began anew"
    assert any(reason == "TrainersRestarted" and "not counted" in message for reason, message in running.events())
    goes_on(running)
    assert running.uids("rollout") == rollouts, "rollout pods wait for the new head"


def test_a_killed_rank_restarts_the_trainers_and_is_counted(running: Job) -> None:
    attempts = running.status()["attempts"]["trainer"]
    running.execute(f"{running.name}-trainer-0", "python", "-c", _KILL, "ray::Rank")
    restarted(running, starts=attempts["started"] + 1)
    assert running.status()["attempts"]["trainer"]["failures"] == (attempts.get("failures") or 0) + 1
    goes_on(running)


def test_suspend_frees_the_pods_and_resume_goes_on(running: Job) -> None:
    failures = running.status()["attempts"]["trainer"].get("failures") or 0
    running.kubectl.patch("reasoningrljobs.reasonrl.dev", running.name, PATCH_SUSPEND[True])
    running.wait_summary("Suspended", seconds=WAIT_SECONDS)
    wait_for(lambda: not running.pods(), seconds=WAIT_SECONDS, what="no pods", shown=running.told)
    kept = running.status()["lastCheckpointStep"]
    running.kubectl.patch("reasoningrljobs.reasonrl.dev", running.name, PATCH_SUSPEND[False])
    running.wait_summary("Running", seconds=WAIT_SECONDS)
    running.wait_step(kept + 2, seconds=WAIT_SECONDS)
    assert (running.status()["attempts"]["trainer"].get("failures") or 0) == failures
    assert any(event.get("reason") == "Resumed" for event in running.run_events())


def test_the_run_does_not_notice_that_the_operator_was_killed(running: Job, admin: Kubectl) -> None:
    pods, attempts = running.uids(), running.status()["attempts"]["trainer"]["started"]
    admin.run("delete", "pods", "--selector=app.kubernetes.io/name=reasonrl", "--force", "--grace-period=0", "--wait=false")
    victim = f"{running.name}-rollout-1"
    running.kubectl.delete("pod", victim, "--wait=false")
    wait_for(
        lambda: running.uids().get(victim) not in (None, pods[victim]),
        seconds=WAIT_SECONDS,
        what="the next operator replaces the rollout pod",
        shown=running.told,
    )
    admin.run("rollout", "status", "deployment/reasonrl", "--timeout=120s", seconds=130)
    assert {name: uid for name, uid in running.uids().items() if name != victim} == {
        name: uid for name, uid in pods.items() if name != victim
    }
    assert running.status()["attempts"]["trainer"]["started"] == attempts
    goes_on(running)


def test_an_upgrade_in_the_middle_leaves_the_pods_alone(running: Job, release: Release, admin: Kubectl) -> None:
    pods = running.uids()
    operators = {pod["metadata"]["uid"] for pod in admin.all("pods", labels="app.kubernetes.io/name=reasonrl")}
    release.install(podAnnotations={"e2e.reasonrl.dev/upgraded": "yes"})
    assert operators.isdisjoint(
        {pod["metadata"]["uid"] for pod in admin.all("pods", labels="app.kubernetes.io/name=reasonrl") if _alive(pod)}
    )
    goes_on(running)
    assert running.uids() == pods
    assert admin.namespace == NAMESPACE


def _alive(pod: dict[str, object]) -> bool:
    metadata = pod["metadata"]
    assert isinstance(metadata, dict)
    return "deletionTimestamp" not in metadata


_KILL = """
import os, signal, sys
from pathlib import Path
for entry in Path("/proc").iterdir():
    if entry.name.isdecimal() and int(entry.name) != os.getpid():
        try:
            name = (entry / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if sys.argv[1] in name and "ray::" in name:
            os.kill(int(entry.name), signal.SIGKILL)
            print("killed", name)
            break
else:
    sys.exit(f"no process of {sys.argv[1]}")
"""
