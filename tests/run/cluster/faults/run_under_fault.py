"""A run across pods, from outside: started, asked where it stands, waited for, and looked at for what it leaves behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from faults.fault_job import ROLLOUT_PODS, close_gate, open_gate, quiet_environment, write_job
from faults.run_processes import MARK, RunProcess, RunProcesses

PATIENCE_SECONDS = 420.0
"""For a run to get where it is waited for: a start takes half a minute on two idle cores, and minutes on busy ones."""
_LOOK_SECONDS = 0.01
_GONE_SECONDS = 30.0
_BEFORE_STEPS = ("loading", "warmStart")


class FaultError(Exception):
    """The run did not get where the fault was to be; the message says where it was instead."""


class RunUnderFault:
    """`directory` is the run's own, with the job in it. `output` is the run directory, below it unless said otherwise. `starter` is a
    command that takes the job file, the run directory and `options`, where it is not to be `reasonrl run --cluster`."""

    def __init__(
        self, directory: Path, *, output: Path | None = None, starter: Sequence[str] | None = None, options: Sequence[str] = ()
    ) -> None:
        self.directory = directory
        self.output = output or directory / "run"
        self.processes = RunProcesses(mark := secrets.token_hex(8))
        # Short, for the names of Ray's sockets below it.
        self.temporary = Path(tempfile.mkdtemp(prefix="rf-"))
        self._environment = {**quiet_environment(), MARK: mark, "TMPDIR": str(self.temporary)}
        self._job = write_job(directory)
        own = [sys.executable, "-m", "reasonrl.cli", "run", "--cluster", str(self._job), "--output", str(self.output)]
        self._command = own if starter is None else [*starter, str(self._job), str(self.output), *options]
        self._supervisor: subprocess.Popen[bytes] | None = None
        self._port: str | None = None
        self._shared_memory: set[Path] = set()

    def start(self) -> None:
        with (self.directory / "supervisor.log").open("ab") as log:
            self._supervisor = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )

    @property
    def supervisor(self) -> subprocess.Popen[bytes]:
        assert self._supervisor is not None, "start() comes first"
        return self._supervisor

    def close_gate(self) -> None:
        close_gate(self.directory)

    def open_gate(self) -> None:
        open_gate(self.directory)

    def status(self) -> dict[str, Any] | None:
        """None while trainer-0 does not answer."""
        body = self._ask("/status")
        if body is None:
            return None
        status: dict[str, Any] = json.loads(body)
        return status

    def stage(self) -> str | None:
        status = self.status()
        return None if status is None else str(status["stage"])

    def live_engines(self) -> int:
        body = self._ask("/metrics") or b""
        found = re.search(rb'^reasonrl_rollout_engines\{[^}]*state="live"[^}]*\} ([0-9.]+)', body, re.MULTILINE)
        return int(float(found[1])) if found else 0

    def events(self) -> list[dict[str, Any]]:
        return _records(self.output / "events.jsonl")

    def steps(self) -> list[dict[str, Any]]:
        return [record for record in _records(self.output / "metrics.jsonl") if record.get("kind") == "step"]

    def starts(self, role: str) -> int:
        """Pods of `role` that were started, all in all."""
        return len(list((self.output / ".cluster" / "logs").glob(f"{role}-*.log")))

    def only(self, kind: str, pod: str | None = None) -> RunProcess:
        """The newest such process. Raises FaultError when there is none."""
        found = self.processes.of(kind, pod)
        if not found:
            raise FaultError(f"there is no {kind} in {pod or 'the run'}")
        return found[-1]

    def wait(self, condition: Callable[[], bool], what: str, *, seconds: float = PATIENCE_SECONDS, look: float = _LOOK_SECONDS) -> None:
        """Raises FaultError after `seconds`, or when the run ends meanwhile."""
        due = time.monotonic() + seconds
        while not condition():
            if self.supervisor.poll() is not None:
                raise FaultError(f"the run ended with code {self.supervisor.poll()} before {what}: {self.last_words()}")
            if time.monotonic() > due:
                raise FaultError(f"not {what} within {seconds:.0f} s; stage {self.stage()}: {self.last_words()}")
            time.sleep(look)

    def wait_whole(self) -> None:
        """At the closed gate, with all engines in the fleet."""
        self.wait(lambda: self.stage() == "grade" and self.live_engines() == ROLLOUT_PODS, "at the gate with all engines", look=0.3)
        self.note_shared_memory()

    def next_step(self) -> Callable[[], bool]:
        """Whether a step was completed since, also one that is done again after the trainers started from a checkpoint."""
        before: tuple[str, int] | None = None

        def done() -> bool:
            nonlocal before
            status = self.status()
            if status is None:
                before = None
                return False
            now = (str(status["stage"]), int(status["step"]))
            grew = before is not None and before[0] not in _BEFORE_STEPS and now[1] > before[1]
            before = now
            return grew

        return done

    def one_more_step(self) -> None:
        """With all engines, so that each of them has done something: engines that die one after the other without are another matter."""
        self.wait_whole()
        done = self.next_step()
        done()
        self.open_gate()
        self.wait(done, "a step with all engines")
        self.close_gate()
        self.wait_whole()

    def finish(self) -> int:
        """The supervisor's exit code, once the gate is open."""
        self.open_gate()
        return self.supervisor.wait(PATIENCE_SECONDS)

    def last_words(self) -> str:
        lines = (self.directory / "supervisor.log").read_text(errors="replace").splitlines()
        return " | ".join(lines[-4:])

    def note_shared_memory(self) -> None:
        """Files in /dev/shm that the run's processes have open now."""
        for process in self.processes.all():
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{process.pid}/maps").read_text().splitlines():
                    path = line.partition("/dev/shm/")[2]
                    if path and not path.endswith("(deleted)"):
                        self._shared_memory.add(Path("/dev/shm") / path)

    def processes_left(self) -> list[RunProcess]:
        """After the supervisor's end, and a moment for those that notice it themselves."""
        due = time.monotonic() + _GONE_SECONDS
        while (left := self.processes.all()) and time.monotonic() < due:
            time.sleep(0.2)
        return left

    def files_left(self) -> list[str]:
        """In /dev/shm and in the run's directory for temporary files."""
        scratch = [str(path.relative_to(self.temporary)) for path in self.temporary.rglob("*") if not path.is_dir()]
        return sorted([*scratch, *(str(path) for path in self._shared_memory if path.exists())])

    def destroy(self) -> None:
        """Whatever is left, so that one failure does not disturb what comes after it."""
        self.open_gate()
        for process in self.processes.all():
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)
        if self._supervisor is not None:
            self._supervisor.wait()
        self.processes_left()
        shutil.rmtree(self.temporary, ignore_errors=True)

    def _ask(self, page: str) -> bytes | None:
        for _ in range(2):
            if self._port is None:
                trainers = self.processes.of("trainer", "trainer-0")
                self._port = _variable(trainers[-1].pid, "REASONRL_STATUS_PORT") if trainers else None
            if self._port is None:
                return None
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{page}", timeout=5) as answer:
                    return bytes(answer.read())
            except OSError:
                self._port = None
        return None


def _variable(pid: int, name: str) -> str | None:
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    values = [variable.partition(b"=")[2].decode() for variable in variables if variable.startswith(f"{name}=".encode())]
    return values[0] if values else None


def _records(file: Path) -> list[dict[str, Any]]:
    """Whole lines only: the last may be being written."""
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")]
