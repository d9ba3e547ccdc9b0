"""Processes that outlive the command which starts them, and are found again by the next one.

A process is remembered by its id and the moment of its start, so that an id which the system gave to somebody else is never signalled.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


class ClusterError(Exception):
    """The cluster cannot do what was asked; the text says what to do about it."""


@dataclass(frozen=True, slots=True)
class Known:
    """A process: `started` is its start in clock ticks since boot."""

    pid: int
    started: int

    def alive(self) -> bool:
        return _stat(self.pid)[1:] == (self.started, True)

    def send(self, number: int) -> None:
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


def known(pid: int) -> Known:
    return Known(pid=pid, started=_stat(pid)[1])


def _stat(pid: int) -> tuple[int, int, bool]:
    """Parent, start and whether it runs (a zombie doesn't) of a process; zeros when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0, 0, False
    return int(fields[1]), int(fields[19]), fields[0] not in "ZX"


def children_of(pid: int) -> list[int]:
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
    return [each for each in pids if _stat(each)[0] == pid]


def remember(path: Path, process: Known) -> None:
    path.write_text(f"{process.pid} {process.started}\n")


def recall(path: Path) -> Known | None:
    """The process written to `path`, when it still runs."""
    try:
        pid, started = path.read_text().split()
    except (FileNotFoundError, ValueError):
        return None
    process = Known(pid=int(pid), started=int(started))
    return process if process.alive() else None


def start(command: Sequence[str | Path], *, log: Path) -> subprocess.Popen[bytes]:
    """Starts `command` in a session of its own, with its output at the end of `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        return subprocess.Popen(
            list(map(str, command)), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )


def end(process: Known, *, grace: float) -> None:
    """SIGTERM, SIGKILL after `grace` seconds, and the wait until it is gone."""
    process.send(signal.SIGTERM)
    if not _gone(process, grace):
        process.send(signal.SIGKILL)
        if not _gone(process, 20.0):
            raise ClusterError(f"process {process.pid} does not end, not even by SIGKILL; see /proc/{process.pid}/stack")


def _gone(process: Known, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while process.alive():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def tell(command: Sequence[str | Path], *, given: str | None = None, seconds: float = 120.0) -> str:
    """The output of a command that must succeed. Raises ClusterError with what it said."""
    words = list(map(str, command))
    try:
        result = subprocess.run(words, check=False, input=given, capture_output=True, text=True, timeout=seconds)
    except FileNotFoundError as error:
        raise ClusterError(f"{words[0]} is missing: see docs/cluster/local.md for what must be installed") from error
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"{' '.join(words[:6])} did not end within {seconds:.0f} s") from error
    if result.returncode != 0:
        raise ClusterError(f"{' '.join(words[:12])} ended with {result.returncode}: {(result.stderr or result.stdout).strip()[-2000:]}")
    return result.stdout


def wait_until(probe: Callable[[], bool], *, what: str, seconds: float, log: Path | None = None) -> None:
    """Returns when `probe` holds. Raises ClusterError that names `what`, with the end of `log`, when it does not within `seconds`."""
    deadline = time.monotonic() + seconds
    while not probe():
        if time.monotonic() > deadline:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:]) if log and log.exists() else ""
            raise ClusterError(f"{what}: not within {seconds:.0f} s" + (f"; {log} ends with\n{tail}" if tail else ""))
        time.sleep(0.1)
