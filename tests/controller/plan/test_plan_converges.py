"""Whatever happens to a job and to the operator, in whatever order: looks come to rest, and what they leave is right."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from reasonrl.controller.lifecycle import PAUSED

NAMES = st.sampled_from([f"zero-trainer-{index}" for index in range(2)] + [f"zero-rollout-{index}" for index in range(4)])
ENDS = st.sampled_from(
    [
        (0, "", ""),
        (0, "", json.dumps({"exitCode": 0, "reason": "Completed", "message": "done", "checkpointStep": 200})),
        (1, "", "Traceback"),
        (1, "", json.dumps({"exitCode": 1, "reason": "LossNotFinite"})),
        (2, "", ""),
        (3, "", json.dumps({"exitCode": 3, "reason": "PeerLost", "checkpointStep": 30})),
        (3, "", ""),
        (4, "", ""),
        (137, "OOMKilled", ""),
        (143, "Error", ""),
    ]
)
HEALTH = st.sampled_from([[], [("KLExplosion", "rollback")], [("RewardCollapse", "pause")], [("NotFinite", "none")]])


class Life(RuleBasedStateMachine):
    make_world: Callable[..., Any]

    @initialize(
        restarts=st.sampled_from([0, 2, 1000]),
        memory=st.sampled_from(["Fail", "Restart"]),
        suspended=st.booleans(),
        ttl=st.sampled_from([None, 500]),
        deadline=st.sampled_from([None, None, 100_000]),
        running=st.booleans(),
    )
    def begin(self, restarts: int, memory: str, suspended: bool, ttl: int | None, deadline: int | None, running: bool) -> None:
        policy = {"trainer": {"maxRestarts": restarts}, "rollout": {"maxRestarts": restarts}, "onOutOfMemory": memory}
        spec = {"failurePolicy": policy, "suspend": suspended, "ttlSecondsAfterFinished": ttl, "activeDeadlineSeconds": deadline}
        self.world = type(self).make_world(spec)
        self.over: str | None = None
        if running and not suspended:
            self.world.running()

    # --- the operator

    @rule()
    def look(self) -> None:
        self._act(None)

    @rule(steps=st.integers(0, 12))
    def look_and_be_killed(self, steps: int) -> None:
        self._act(steps)
        self.world.progress = None

    @rule()
    def settle(self) -> None:
        self._settle()

    # --- the cluster

    @rule(ready=st.booleans())
    def start(self, ready: bool) -> None:
        self.world.start_pods(ready=ready)

    @rule(name=NAMES, end=ENDS, disrupted=st.booleans())
    def end(self, name: str, end: tuple[int, str, str], disrupted: bool) -> None:
        pod = self.world.pods.get(name)
        if pod is not None and pod.phase == "Running":
            self.world.end(name, end[0], reason=end[1], message=end[2], disrupted=disrupted)

    @rule(name=NAMES, how=st.sampled_from(["vanish", "evict", "unready", "unschedulable", "lost"]))
    def hurt(self, name: str, how: str) -> None:
        if name not in self.world.pods:
            return
        if how == "vanish":
            self.world.vanish(name)
        elif how == "evict":
            self.world.evict(name)
        elif how == "unready":
            self.world.change(name, ready=False)
        elif how == "lost":
            self.world.change(name, phase="Unknown", ready=False)
        elif self.world.pods[name].phase == "Pending":
            self.world.change(name, unschedulable="no room")

    @rule()
    def collect(self) -> None:
        self.world.collect()

    @rule(name=NAMES)
    def collect_one(self, name: str) -> None:
        """One of the pods that are on their way out is gone before the others."""
        if name in self.world.pods and self.world.pods[name].deleting:
            self.world.vanish(name)

    @rule(first=st.sampled_from(["zero-trainer-0", "zero-trainer-1"]), code=st.sampled_from([3, 4]))
    def a_gang_goes_one_after_the_other(self, first: str, code: int) -> None:
        self.end(first, (code, "", ""), False)
        self._settle()
        self.collect_one(first)
        self.world.wait(400.0)
        self._settle()

    @rule(seconds=st.sampled_from([1.0, 31.0, 400.0, 4000.0, -3600.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.wait(seconds)

    @rule(
        step=st.integers(0, 200),
        phase=st.integers(0, 1),
        age=st.sampled_from([0.0, 700.0, -700.0]),
        health=HEALTH,
        saved=st.lists(st.sampled_from([10, 20, 30, 50, 80]), unique=True),
    )
    def run_speaks(self, step: int, phase: int, age: float, health: list[tuple[str, str]], saved: list[int]) -> None:
        head = self.world.pods.get("zero-trainer-0")
        if head is None or head.phase != "Running":
            return
        self.world.report(
            step=step,
            phase=("short", "long")[phase],
            phaseIndex=phase,
            stageStarted=self.world.now - age,
            checkpoints=[{"step": each, "time": 0.0, "healthy": True, "path": ""} for each in saved],
            health=[{"signal": name, "state": "critical", "message": "m", "action": action} for name, action in health],
        )

    # --- people

    @rule(wish=st.booleans())
    def suspend(self, wish: bool) -> None:
        self.world.suspend(wish)

    @rule(replicas=st.integers(0, 4))
    def scale(self, replicas: int) -> None:
        self.world.edit(lambda spec: spec["rollout"].update(replicas=replicas))

    @rule(seed=st.integers(0, 3), steps=st.integers(1, 3))
    def edit(self, seed: int, steps: int) -> None:
        self.world.edit(lambda spec: spec.update(seed=seed, evaluation={"everySteps": steps}))

    @rule(step=st.sampled_from(["20", "30", "x", ""]))
    def roll_back(self, step: str) -> None:
        self.world.annotations["reasonrl.dev/rollback-to"] = step

    @rule(kind=st.sampled_from([("ConfigMap", "zero-config"), ("Service", "zero"), ("Secret", "zero-token")]))
    def delete_a_child(self, kind: tuple[str, str]) -> None:
        self.world.objects.pop(kind, None)

    @rule(names=st.sampled_from([(), ("zero-trainer-1",), ("zero-rollout-0",)]))
    def strangers(self, names: tuple[str, ...]) -> None:
        self.world.strangers = tuple(name for name in names if name not in self.world.pods)

    @precondition(lambda self: self.over is None)
    @rule()
    def wipe_status(self) -> None:
        self.world.status = {}

    # --- what always holds

    @invariant()
    def trainers_of_one_attempt_at_most(self) -> None:
        if hasattr(self, "world"):
            assert len(self.world.attempts("trainer")) <= 1

    @invariant()
    def terminal_states_stay(self) -> None:
        if getattr(self, "over", None) is not None and not self.world.job_deleted:
            assert self.world.status["summary"] == self.over

    @invariant()
    def a_plan_depends_on_nothing_else(self) -> None:
        if hasattr(self, "world"):
            assert self.world.look() == self.world.look()

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        world = self.world
        world.strangers = ()
        for _ in range(8):
            self._settle()
            world.collect()
            self._settle()
            for name in [name for name, pod in world.pods.items() if pod.phase == "Unknown"]:
                world.vanish(name)
            world.start_pods()
            world.pods = {name: replace(pod, ready=pod.phase == "Running") for name, pod in world.pods.items()}
            world.wait(400.0)
            head = world.pods.get("zero-trainer-0")
            if head is not None and head.phase == "Running":
                world.report(step=world.status.get("step") or 0, phaseIndex=world.status.get("phaseIndex") or 0)
        self._settle()
        self._at_rest()

    def _at_rest(self) -> None:
        world = self.world
        planned = world.look()
        assert world.job_deleted or (planned.creates, planned.deletes, planned.patches, planned.happenings) == ((), (), (), ())
        if world.job_deleted:
            return
        summary = world.status["summary"]
        if world.condition("Admitted")["status"] == "False" and self.over is None and world.status.get("startTime"):
            # Its ConfigMap was deleted after an edit that makes no sense: what it runs nobody knows, and nothing is made or taken away.
            assert ("ConfigMap", "zero-config") not in world.objects
            assert summary not in ("Suspended", "Paused") or world.names(alive=True) == []
            return
        if summary in ("Suspended", "Paused", "Succeeded", "Failed", "Pending"):
            assert world.names(alive=True) == []
            return
        assert summary == "Running", (summary, world.status["message"])
        assert len(world.names("trainer", alive=True)) == 2
        wanted = world.status["rollouts"]["desired"]
        given_up = [
            each for each in world.status["attempts"]["rollout"].get("replaced", []) if each["consecutiveFailures"] > self._restarts()
        ]
        assert len(world.names("rollout", alive=True)) == wanted - len(given_up)

    def _restarts(self) -> int:
        return int(self.world.spec["failurePolicy"]["rollout"]["maxRestarts"])

    def _act(self, steps: int | None) -> None:
        if not self.world.job_deleted:
            self.world.act(steps=steps)
            self._note_the_end()

    def _settle(self) -> None:
        world = self.world
        if world.job_deleted:
            return
        for _ in range(14):
            planned = world.act()
            self._note_the_end()
            if world.job_deleted:
                return
            if world.idle(planned) and (planned.requeue_after is None or planned.requeue_after > 0):
                break
        else:
            raise AssertionError(f"not settled: {planned}")
        if world.spec.get("suspend") and self.over is None:
            assert [name for name, pod in world.pods.items() if not pod.deleting] == []
        if str(self.world.condition("Suspended")["reason"]).startswith(PAUSED):
            assert [name for name, pod in world.pods.items() if not pod.deleting] == []

    def _note_the_end(self) -> None:
        if self.world.status.get("summary") in ("Succeeded", "Failed") and self.world.status.get("startTime"):
            self.over = self.over or self.world.status["summary"]


@pytest.mark.parametrize("steps", [15, 60], ids=["short lives", "long lives"])
def test_looks_come_to_rest_and_what_they_leave_is_right(make_world: Callable[..., Any], steps: int) -> None:
    machine = type("LifeInThisWorld", (Life,), {"make_world": staticmethod(make_world)})
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        machine,
        settings=settings(
            max_examples=60 if steps == 15 else 25,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )
