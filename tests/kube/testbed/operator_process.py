"""The whole operator as a process, as the chart starts it: `reasonrl operator` against the real API server.

Tests end it politely, kill it, start it again, and ask it how often it has looked at jobs: what it does must be right whatever happens to
this process.
"""

from __future__ import annotations

import os
import re
import sys
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from testbed.child_process import ChildProcess, start_child
from testbed.deadline import wait_for

MAIN = "from reasonrl.cli.app import main; main()"
LEASE_SECONDS = 3
START_SECONDS = 60.0
_LOOKS = re.compile(r"^reasonrl_operator_reconcile_seconds_count\S* (\S+)$", re.MULTILINE)
_BUSY = re.compile(r"^reasonrl_operator_queue_(?:depth|working) (\S+)$", re.MULTILINE)


@dataclass(slots=True)
class OperatorProcess:
    """One replica of the operator, started as often as it is asked for. `directory` gets one log for each start; `before` is code that the
    process runs first."""

    kubeconfig: Path
    directory: Path
    options: Sequence[str] = ()
    child: ChildProcess | None = None
    before: str = ""
    starts: int = 0
    _port: int = field(default=0)

    @property
    def running(self) -> bool:
        return self.child is not None and self.child.process.poll() is None

    def start(self) -> None:
        """Until it acts: its caches are filled and the lease is its own."""
        if self.running:
            return
        words = [sys.executable, "-c", f"{self.before}\n{MAIN}", "operator", "--kubeconfig", str(self.kubeconfig)]
        serving = ["--metrics-host", "127.0.0.1", "--metrics-port", "0"]
        quick = ["--lease-seconds", str(LEASE_SECONDS), "--poll-seconds", "0.25", "--watch-silence", "30"]
        self.starts += 1
        log = self.directory / f"operator-{self.starts}.log"
        self.child = start_child("operator", [*words, *serving, *quick, *self.options], log=log, environment=_environment())
        wait_for(lambda: "leading as" in self.log(), deadline=START_SECONDS, what="the operator leads", every=0.05)
        self._port = int(re.findall(r"health and metrics on port (\d+)", self.log())[-1])

    def log(self) -> str:
        """Of the last start; ProcessEnded when the process is gone by itself."""
        assert self.child is not None
        self.child.check()
        return self.child.log.read_text()

    def kill(self) -> None:
        """SIGKILL, as by the kernel: the lease is not given back."""
        assert self.child is not None
        self.child.kill()

    def stop(self) -> None:
        """SIGTERM, as by an upgrade."""
        if self.child is not None:
            self.child.stop()

    def page(self, path: str) -> str:
        """What it serves at /metrics, /healthz or /readyz."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=10) as answer:
            return str(answer.read().decode())

    def looks(self) -> float:
        """How many looks at jobs are over."""
        return sum(float(count) for count in _LOOKS.findall(self.page("/metrics")))

    def busy(self) -> bool:
        """Whether a job is being looked at now, or waits for it."""
        return any(float(number) for number in _BUSY.findall(self.page("/metrics")))


def _environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
