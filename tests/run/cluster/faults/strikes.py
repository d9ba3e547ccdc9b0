"""What is done to a run, and what should come of it by the failure table: whether trainers start again, and which pods are replaced."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from faults.holding import Stage
from faults.run_processes import RunProcess, send
from faults.run_under_fault import RunUnderFault
from reasonrl.api.exit_codes import ExitCode

VICTIM = "rollout-0"
_PAUSE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the matrix. `trainers_restart`: whether the gang starts again; `pods_replaced`: rollout pods that do. `after_hold`
    is done when what held the run goes on, which would wake a process that is to stay frozen. `ends`: the exit code that the whole run ends
    with; it is then started again. `same_model`: whether the undisturbed run's is promised; a row without that has a run of its own."""

    fault: str
    stage: Stage
    strike: Callable[[RunUnderFault], None]
    after_hold: Callable[[RunUnderFault], None] | None = None
    trainers_restart: bool = False
    pods_replaced: int = 0
    ends: int | None = None
    same_model: bool = True

    @property
    def name(self) -> str:
        return f"{self.fault}/{self.stage}"


def kill(kind: str, pod: str | None = None) -> Callable[[RunUnderFault], None]:
    def strike(run: RunUnderFault) -> None:
        send(run.only(kind, pod), signal.SIGKILL)

    return strike


def kill_reward_worker(run: RunUnderFault) -> None:
    """One that is busy: the workers' parents only wait for them."""
    found = run.processes.of("reward")
    parents = {process.parent for process in found}
    busy: list[RunProcess] = [process for process in found if process.pid not in parents]
    send(busy[-1], signal.SIGKILL)


def terminate_supervisor(run: RunUnderFault) -> None:
    run.supervisor.terminate()


def kill_supervisor(run: RunUnderFault) -> None:
    run.supervisor.kill()


def kill_again_and_again(run: RunUnderFault) -> None:
    """Until the pod has had enough: its engine, and each that is started after it."""
    pods, killed = run.starts("rollout"), set[int]()

    def over() -> bool:
        for engine in run.processes.of("engine", VICTIM):
            if engine.pid not in killed:
                killed.add(engine.pid)
                send(engine, signal.SIGKILL)
        return run.starts("rollout") > pods

    run.wait(over, "a rollout pod made anew", look=0.3)


def freeze(run: RunUnderFault) -> None:
    send(run.only("engine", VICTIM), signal.SIGSTOP)


def pause(run: RunUnderFault) -> None:
    engine = run.only("engine", VICTIM)
    send(engine, signal.SIGSTOP)
    time.sleep(_PAUSE_SECONDS)
    send(engine, signal.SIGCONT)


def nothing(run: RunUnderFault) -> None:
    """The hold was all."""


ENGINE, POD, RAYLET = "engine killed", "rollout pod killed", "raylet of a rollout node killed"
ENGINES = "each engine of a pod killed"
RANK, HEAD, GCS = "trainer rank killed", "trainer-0 killed (head and loop)", "GCS killed"
REWARD, FROZEN, PAUSED = "reward worker killed", "engine frozen for good (SIGSTOP)", "engine frozen for 5 s (SIGSTOP, SIGCONT)"
DRAINED, ABANDONED = "SIGTERM to the supervisor", "supervisor killed"
STAGES: tuple[Stage, ...] = ("rollout", "grade", "update", "weightSync", "checkpoint")


def all_rows() -> list[Row]:
    """Each played in a run with others; cheap ones and important ones first."""
    return [
        *(Row(ENGINE, stage, kill("engine", VICTIM)) for stage in STAGES),
        Row(REWARD, "grade", kill_reward_worker, same_model=False),
        *(Row(RANK, stage, kill("rank"), trainers_restart=True) for stage in STAGES),
        *(Row(POD, stage, kill("rollout", VICTIM), pods_replaced=1) for stage in STAGES),
        *(Row(HEAD, stage, kill("trainer", "trainer-0"), trainers_restart=True) for stage in STAGES),
        *(Row(GCS, stage, kill("gcs"), trainers_restart=True) for stage in ("rollout", "update")),
        *(Row(RAYLET, stage, kill("raylet", VICTIM)) for stage in ("rollout", "weightSync")),
        Row(PAUSED, "rollout", pause),
        Row(ENGINES, "grade", kill_again_and_again, pods_replaced=1),
        *(Row(DRAINED, stage, terminate_supervisor, ends=ExitCode.PREEMPTED) for stage in ("rollout", "update")),
        *(Row(ABANDONED, stage, kill_supervisor, ends=-signal.SIGKILL) for stage in ("rollout", "checkpoint")),
        *(Row(FROZEN, stage, nothing, after_hold=freeze) for stage in ("rollout", "weightSync")),
    ]
