"""`reasonrl run --cluster`: all pods of a job on one machine, looked after as the operator would.

Each pod is the command that a real pod runs, with a Ray node of its own on loopback. A rollout pod that dies is replaced alone; a trainer
that dies takes the gang with it, and all trainers start again from the last checkpoint while the rollout pods stay.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import FrameType

from reasonrl.api import names
from reasonrl.api.exit_codes import ExitCode
from reasonrl.api.job import ReasoningRLJob
from reasonrl.api.names import Role
from reasonrl.api.run_files import CHECKPOINTS_DIRECTORY
from reasonrl.run.checkpoint_store import CheckpointStore
from reasonrl.run.cluster.pod_process import PodPlan, PodProcess
from reasonrl.run.cluster.restart_policy import Again, Attempts, GiveUp, after_end, after_progress
from reasonrl.run.cluster.scratch import Scratch
from reasonrl.run.final_model import read_summary
from reasonrl.run.run_job import RunResult

CLUSTER_DIRECTORY = ".cluster"
REPLICAS_FILE = "replicas"
"""In the cluster's directory: a number, to have another number of rollout pods while the job runs."""
SCRATCH_FILE = "scratch"
"""In the cluster's directory: where the pods' sockets and temporary files are."""
_LOOK_SECONDS = 0.2
_STOP_SECONDS = 300.0
_END_SECONDS = 20.0
_LOOPBACK = "127.0.0.1"


class Supervisor:
    """`say` is told each start, loss and replacement in a sentence. `show_training`: whether the first trainer's output is the terminal's;
    otherwise it goes to its log."""

    def __init__(
        self, job: ReasoningRLJob, *, directory: Path, base_directory: Path, say: Callable[[str], None], show_training: bool
    ) -> None:
        self._job = job
        self._output = directory
        self._base_directory = base_directory
        self._say = say
        self._show_training = show_training
        self._home = directory / CLUSTER_DIRECTORY
        self._scratch = Scratch(self._home / SCRATCH_FILE)
        self._token = secrets.token_hex(16)
        self._ray_port = _free_port()
        self._trainers: dict[int, PodProcess] = {}
        self._rollouts: dict[int, PodProcess] = {}
        self._gang = Attempts()
        self._of_rollout: dict[int, Attempts] = {}
        self._exhausted: set[int] = set()
        self._newest: int | None = None
        self._asked: str | None = None

    def run(self) -> RunResult:
        """Until the run has ended or a signal asks to stop. Nothing is left running behind it."""
        previous = {number: signal.signal(number, self._ask) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            self._write_config()
            while True:
                result = self._look()
                if result is not None:
                    return result
                time.sleep(_LOOK_SECONDS)
        finally:
            self._end_all()
            for number, handler in previous.items():
                signal.signal(number, handler)
            self._scratch.close()

    def _look(self) -> RunResult | None:
        if self._asked is not None:
            return self._stop()
        self._notice_checkpoint()
        return self._look_at_trainers() or self._look_at_rollouts()

    def _look_at_trainers(self) -> RunResult | None:
        ended = {index: code for index, pod in self._trainers.items() if (code := pod.poll()) is not None}
        if ended:
            # The first trainer's own word counts most, then that of a pod that says what is wrong.
            index = min(ended, key=lambda index: (index != 0 or ended[index] < 0, ended[index] == ExitCode.RETRYABLE, index))
            return self._trainer_ended(self._trainers[index], ended[index])
        if not self._trainers and time.monotonic() >= self._gang.not_before:
            for index in range(self._job.spec.trainer.replicas):
                self._trainers[index] = self._start("trainer", index, self._gang.number)
        return None

    def _trainer_ended(self, pod: PodProcess, code: int) -> RunResult | None:
        summary = read_summary(self._output)
        if code == ExitCode.SUCCESS and summary is not None:
            return RunResult(ExitCode.SUCCESS, int(str(summary["step"])), pod.said())
        following = after_end(self._gang, code, self._job.spec.failure_policy.trainer, now=time.monotonic())
        why = f"{pod.name} {_ended_how(code)}: {pod.said()}"
        _end(self._trainers.values(), seconds=_END_SECONDS)
        self._trainers = {}
        if isinstance(following, GiveUp):
            return RunResult(following.exit_code, self._newest or 0, f"{why} ({following.reason})")
        self._gang = following.attempts
        step = "the start" if self._newest is None else f"step {self._newest}"
        self._say(f"{why}. All trainers start again from {step}, {_in(following)}; rollout pods stay")
        return None

    def _look_at_rollouts(self) -> RunResult | None:
        wanted = self._wanted_rollouts()
        for index, pod in list(self._rollouts.items()):
            if index >= wanted:
                self._say(f"{pod.name} is no longer wanted")
                _end([self._rollouts.pop(index)], seconds=_END_SECONDS)
            elif (code := pod.poll()) is not None:
                del self._rollouts[index]
                self._rollout_ended(index, pod, code)
        for index in range(wanted):
            attempts = self._of_rollout.get(index, Attempts())
            if index not in self._rollouts and index not in self._exhausted and time.monotonic() >= attempts.not_before:
                self._rollouts[index] = self._start("rollout", index, attempts.number)
        left = wanted - len(self._exhausted)
        if self._exhausted and left < self._job.spec.rollout.min_replicas:
            message = f"{left} of {wanted} rollout pods are left, and spec.rollout.minReplicas is {self._job.spec.rollout.min_replicas}"
            return RunResult(ExitCode.RETRYABLE, self._newest or 0, message)
        return None

    def _rollout_ended(self, index: int, pod: PodProcess, code: int) -> None:
        following = after_end(self._of_rollout.get(index, Attempts()), code, self._job.spec.failure_policy.rollout, now=time.monotonic())
        why = f"{pod.name} {_ended_how(code)}: {pod.said()}"
        if isinstance(following, GiveUp):
            self._exhausted.add(index)
            self._say(f"{why}. It is not replaced: {following.reason}")
            return
        self._of_rollout[index] = following.attempts
        self._say(f"{why}. Only this pod is replaced, {_in(following)}; training goes on with the others")

    def _wanted_rollouts(self) -> int:
        if self._job.spec.rollout.placement == "Colocated":
            return 0
        try:
            return max(0, int((self._home / REPLICAS_FILE).read_text()))
        except (OSError, ValueError):
            return self._job.spec.rollout.replicas

    def _notice_checkpoint(self) -> None:
        directory = self._output / CHECKPOINTS_DIRECTORY
        if not directory.is_dir():
            return
        newest = max(CheckpointStore(directory, warn=self._say).steps(), default=None)
        if newest is not None and (self._newest is None or newest > self._newest):
            self._newest = newest
            self._gang = after_progress(self._gang)
            self._of_rollout = {index: after_progress(attempts) for index, attempts in self._of_rollout.items()}
            self._exhausted.clear()

    def _stop(self) -> RunResult:
        for pod in self._trainers.values():
            pod.ask_to_stop()
        due = time.monotonic() + _STOP_SECONDS
        first = self._trainers.get(0)
        while first is not None and first.poll() is None and time.monotonic() < due:
            time.sleep(_LOOK_SECONDS)
        said = "no trainer had started" if first is None else first.said()
        return RunResult(ExitCode.PREEMPTED, self._newest or 0, said)

    def _ask(self, number: int, _frame: FrameType | None) -> None:
        if self._asked is not None:
            # A second time: whoever asks does not want to wait for a checkpoint.
            raise KeyboardInterrupt
        self._asked = signal.Signals(number).name

    def _end_all(self) -> None:
        _end([*self._trainers.values(), *self._rollouts.values()], seconds=_END_SECONDS)

    def _start(self, role: Role, index: int, attempt: int) -> PodProcess:
        shown = self._show_training and role == "trainer" and index == 0
        log = self._home / "logs" / f"{role}-{index}-{attempt}.log"
        message = self._home / f"{role}-{index}.termination"
        pod = PodProcess(
            PodPlan(
                role=role,
                index=index,
                attempt=attempt,
                environment=self._environment(role, index, attempt, message),
                config=self._home / "config" / names.CONFIG_JOB_FILE,
                log=log,
                termination_message=message,
                shown=shown,
            )
        )
        self._say(f"{pod.name} starts{f' again (attempt {attempt})' if attempt else ''}; its log is {log}")
        return pod

    def _environment(self, role: Role, index: int, attempt: int, message: Path) -> dict[str, str]:
        spec = self._job.spec
        gpus = spec.trainer.gpus_per_replica if role == "trainer" else spec.rollout.gpus_per_replica
        pods = spec.trainer.replicas + spec.rollout.replicas
        return {
            "REASONRL_JOB": self._job.metadata.name,
            "REASONRL_NAMESPACE": self._job.metadata.namespace,
            "REASONRL_ROLE": role,
            "REASONRL_INDEX": str(index),
            "REASONRL_ATTEMPT": str(attempt),
            "REASONRL_TRAINERS": str(spec.trainer.replicas),
            "REASONRL_GPUS": str(gpus),
            "REASONRL_HEAD": _LOOPBACK,
            "REASONRL_HOST": _LOOPBACK,
            "REASONRL_ADDRESS": _LOOPBACK,
            "REASONRL_STATUS_PORT": str(_free_port()),
            "REASONRL_RAY_PORT": str(self._ray_port),
            "REASONRL_OUTPUT": str(self._output.resolve()),
            "REASONRL_BASE_DIRECTORY": str(self._base_directory.resolve()),
            "REASONRL_CONTROL": str((self._home / "config" / names.CONFIG_CONTROL_FILE).resolve()),
            "REASONRL_TERMINATION_MESSAGE": str(message.resolve()),
            "REASONRL_SCRATCH": str(self._scratch.path),
            "TMPDIR": str(self._scratch.path),
            "REASONRL_PODS_HERE": str(pods),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": self._token,
            # Pods that each take all cores only get into each other's way.
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // pods))),
        }

    def _write_config(self) -> None:
        config = self._home / "config"
        config.mkdir(parents=True, exist_ok=True)
        (self._home / "logs").mkdir(exist_ok=True)
        (config / names.CONFIG_JOB_FILE).write_text(json.dumps(self._job.dumped(), indent=1))
        (config / names.CONFIG_CONTROL_FILE).write_text("{}")


def _end(pods: Iterable[PodProcess], *, seconds: float) -> None:
    """Asks, waits, and then does not ask any more."""
    every = list(pods)
    for pod in every:
        pod.ask_to_stop()
    due = time.monotonic() + seconds
    while any(pod.poll() is None for pod in every) and time.monotonic() < due:
        time.sleep(_LOOK_SECONDS)
    for pod in every:
        pod.kill()


def _ended_how(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"


def _in(again: Again) -> str:
    return f"in {again.seconds:.0f} s" if again.seconds else "at once"


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind((_LOOPBACK, 0))
        return int(listener.getsockname()[1])
