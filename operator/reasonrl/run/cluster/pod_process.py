"""One pod of a run on one machine: the very command of a real pod, as a child process that cannot outlive its supervisor."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reasonrl.api.exit_codes import ExitCode
from reasonrl.api.names import Role
from reasonrl.sandbox.linux import die_with_parent


@dataclass(frozen=True, slots=True, kw_only=True)
class PodPlan:
    """`shown`: whether its standard output is the terminal's; the rest of what it says goes to `log`."""

    role: Role
    index: int
    attempt: int
    environment: Mapping[str, str]
    config: Path
    log: Path
    termination_message: Path
    shown: bool


class PodProcess:
    """Starts at once."""

    def __init__(self, plan: PodPlan) -> None:
        self.plan = plan
        plan.termination_message.unlink(missing_ok=True)
        with plan.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "reasonrl.cli", plan.role, "--config", str(plan.config)],
                stdin=subprocess.DEVNULL,
                stdout=None if plan.shown else log,
                stderr=log,
                env={**os.environ, **plan.environment},
                # Ctrl-C is for the supervisor, which ends its pods in order.
                start_new_session=True,
                # Between fork and exec it makes one system call and takes no lock.
                preexec_fn=_die_with_parent,  # noqa: PLW1509
            )

    @property
    def name(self) -> str:
        return f"{self.plan.role}-{self.plan.index}"

    @property
    def pid(self) -> int:
        return self._process.pid

    def poll(self) -> int | None:
        """The exit code, negative for a signal; None while it runs. A code that says that trying again is of no use counts only with a
        termination message: without one it was not the run that ended, but a library that ended its process, as Ray does with code 1
        when the GCS has gone."""
        code = self._process.poll()
        if code in (ExitCode.FATAL, ExitCode.BAD_INPUT) and not self.plan.termination_message.exists():
            return int(ExitCode.RETRYABLE)
        return code

    def ask_to_stop(self) -> None:
        if self.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """And its node with it: the kernel sees to that."""
        if self.poll() is None:
            self._process.kill()
        self._process.wait()

    def said(self) -> str:
        """Why it ended: its termination message, or the end of its log."""
        try:
            message = json.loads(self.plan.termination_message.read_text())["message"]
        except (OSError, ValueError, KeyError):
            lines = [line for line in self.plan.log.read_text(errors="replace").splitlines() if line.strip()]
            return lines[-1] if lines else "it said nothing"
        return str(message)


def _die_with_parent() -> None:
    die_with_parent(signal.SIGKILL)
