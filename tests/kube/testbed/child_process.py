"""Child processes that never outlive the process which started them, even when that one is killed.

Linux signals a child when its parent's thread dies, if the child asked for it; so each is started through a few lines of Python that
ask and then become the program. Start children from a thread that lives as long as they should: the main one.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_BECOME = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, int(sys.argv[2]))
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the parent is gone")
os.execv(sys.argv[3], sys.argv[3:])
"""


class ProcessEnded(Exception):
    """A child ended that should be running; the text has the end of its log."""


@dataclass(frozen=True, slots=True)
class ChildProcess:
    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def log_tail(self, lines: int = 25) -> str:
        text = self.log.read_text(errors="replace").splitlines()
        return "\n".join(f"  {self.name}: {line[:400]}" for line in text[-lines:]) or f"  {self.name}: (no output)"

    def check(self) -> None:
        if (code := self.process.poll()) is not None:
            raise ProcessEnded(f"{self.name} ended with {code}; its log {self.log} ends with\n{self.log_tail()}")

    def stop(self, *, grace: float = 10.0) -> None:
        """SIGTERM, and SIGKILL when it is still there after `grace` seconds."""
        if self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(grace)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """SIGKILL: what a crash looks like."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)


def start_child(
    name: str, command: Sequence[str | Path], *, log: Path, environment: Mapping[str, str] | None = None, death_signal: int = signal.SIGKILL
) -> ChildProcess:
    """Starts `command` (its first word a path) with its output in `log`; `death_signal` ends it when this process dies."""
    words = [sys.executable, "-I", "-S", "-c", _BECOME, str(os.getpid()), str(int(death_signal)), *map(str, command)]
    with log.open("ab") as output:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
    return ChildProcess(name=name, process=process, log=log)


def stop_all(children: Sequence[ChildProcess], *, grace: float = 10.0) -> None:
    """Stops several at once: their graces don't add up."""
    for child in children:
        if child.process.poll() is None:
            child.process.terminate()
    until = time.monotonic() + grace
    for child in children:
        child.stop(grace=max(0.1, until - time.monotonic()))
