"""What the operator itself reads of a resolved job: numbers and names, taken out of the frozen spec at every look.

A look happens many times in a job's life, so it does not build the whole contract again: the frozen spec was checked when it was frozen,
and has every default in it. A spec frozen by an older release may lack a newer field; its default is written here once more for that
case.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal

from reasonrl.api.names import Role

Gang = Literal["None", "Kueue", "Volcano", "Coscheduling"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Platform:
    """What the operator's installation adds to every job. `image` is that of jobs which name none."""

    image: str = f"reasonrl/runtime:{version('reasonrl')}"
    cluster_domain: str = "cluster.local"
    volcano_scheduler: str = "volcano"
    coscheduler: str = "scheduler-plugins-scheduler"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Restarts of one role without progress between them, and the waits before them in seconds."""

    restarts: int
    first_wait: float
    longest_wait: float

    def wait(self, failures: int) -> float:
        """Seconds before the restart that follows the n-th failure in a row."""
        # The exponent is bounded before it is used: 2.0**5000 is an error, not infinity.
        return min(self.longest_wait, self.first_wait * 2.0 ** min(max(failures - 1, 0), 40))


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseShape:
    """A phase of the job and the rollout pods that it wants."""

    name: str
    steps: int
    waits_for_a_person: bool
    rollouts: int
    rollout_gpus: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSettings:
    """`rollouts` of a phase are 0 where rollout engines share the trainers' pods."""

    spec: Mapping[str, Any]
    trainers: int
    trainer_gpus: int
    fewest_rollouts: int
    phases: tuple[PhaseShape, ...]
    budgets: Mapping[Role, Budget]
    restart_out_of_memory: bool
    start_deadline: float | None
    stage_deadlines: Mapping[str, float]
    gang: Gang
    queue: str | None

    @property
    def total_steps(self) -> int:
        """An upper bound: a phase with triggers may end earlier."""
        return sum(phase.steps for phase in self.phases)

    def phase(self, index: int) -> PhaseShape:
        return self.phases[min(max(index, 0), len(self.phases) - 1)]


def read_settings(spec: Mapping[str, Any]) -> JobSettings:
    """The settings of a frozen spec, such as `ReasoningRLJob.dumped()["spec"]`."""
    rollout, trainer = part(spec, "rollout"), part(spec, "trainer")
    policy, scheduling = part(spec, "failurePolicy"), part(spec, "scheduling")
    colocated = rollout.get("placement") == "Colocated"
    deadline = policy.get("startDeadlineSeconds", 3600)
    return JobSettings(
        spec=spec,
        trainers=int(trainer.get("replicas") or 1),
        trainer_gpus=int(trainer.get("gpusPerReplica") or 0),
        fewest_rollouts=0 if colocated else int(rollout.get("minReplicas") or 1),
        phases=tuple(_phase(phase, rollout, colocated) for phase in spec.get("phases") or ({"name": "main"},)),
        budgets={"trainer": _budget(part(policy, "trainer")), "rollout": _budget(part(policy, "rollout"))},
        restart_out_of_memory=policy.get("onOutOfMemory") == "Restart",
        start_deadline=None if deadline is None else float(deadline),
        stage_deadlines={stage: float(seconds) for stage, seconds in part(policy, "stallDeadlineSeconds").items() if seconds},
        gang=scheduling.get("gang") or "None",
        queue=scheduling.get("queue"),
    )


def part(mapping: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The object under `key`, empty where there is none."""
    found = mapping.get(key)
    return found if isinstance(found, Mapping) else {}


def _budget(written: Mapping[str, Any]) -> Budget:
    return Budget(
        restarts=int(written.get("maxRestarts", 5)),
        first_wait=float(written.get("backoffSeconds", 10)),
        longest_wait=float(written.get("maxBackoffSeconds", 300)),
    )


def _phase(phase: Mapping[str, Any], rollout: Mapping[str, Any], colocated: bool) -> PhaseShape:
    own, until = part(phase, "rollout"), part(phase, "until")
    replicas = own.get("replicas") or rollout.get("replicas") or 1
    gpus = own.get("gpusPerReplica")
    return PhaseShape(
        name=str(phase.get("name") or ""),
        steps=int(until.get("steps") or until.get("maxSteps") or 0),
        waits_for_a_person=phase.get("advance") == "Manual",
        rollouts=0 if colocated else int(replicas),
        rollout_gpus=int((rollout.get("gpusPerReplica") if gpus is None else gpus) or 0),
    )
