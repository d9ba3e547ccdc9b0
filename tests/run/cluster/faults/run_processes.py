"""Which processes belong to a run and what each of them is, so that one of them can be hurt, and so that none is overlooked at the end.

A mark in the environment is inherited by all of them, except by those that are given an environment of their own (the reward workers) or
write over it (Ray's workers, for their title): these are known by their parents, and remembered from one look to the next.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path

MARK = "REASONRL_FAULT_MARK"


@dataclass(frozen=True, slots=True)
class RunProcess:
    """`pod` is like `rollout-0`, empty for the supervisor and what it starts itself. `born` tells a reused process id from the first."""

    pid: int
    born: int
    parent: int
    name: str
    command: str
    pod: str

    @property
    def kind(self) -> str:
        if self.name == "gcs_server":
            return "gcs"
        if self.name == "raylet":
            return "raylet"
        for kind, sign in _SIGNS.items():
            if sign in self.command:
                return kind
        return "other"


_SIGNS = {
    "engine": "ray::Engine",
    "rank": "ray::Rank",
    "reward": "reasonrl.sandbox.worker",
    "node": "run.cluster.ray_node_process",
    "trainer": "reasonrl.cli trainer",
    "rollout": "reasonrl.cli rollout",
    "supervisor": "reasonrl.cli run",
}


class RunProcesses:
    """Looks at /proc. `mark` is the value of MARK in the run's environment."""

    def __init__(self, mark: str) -> None:
        self._mark = f"{MARK}={mark}".encode()
        self._known: dict[tuple[int, int], str] = {}

    def all(self) -> list[RunProcess]:
        """Those that run or are stopped; what is dead and waits for its parent's attention does not count."""
        seen = {process.pid: process for entry in Path("/proc").iterdir() if entry.name.isdigit() and (process := _read(entry)) is not None}
        members: dict[int, RunProcess] = {}
        for pid in seen:
            self._place(pid, seen, members, set())
        return sorted(members.values(), key=lambda process: (process.born, process.pid))

    def of(self, kind: str, pod: str | None = None) -> list[RunProcess]:
        """Oldest first."""
        return [process for process in self.all() if process.kind == kind and pod in (None, process.pod)]

    def _place(self, pid: int, seen: dict[int, RunProcess], members: dict[int, RunProcess], asked: set[int]) -> str | None:
        """The pod of `pid`, None when it is not of this run."""
        if pid in members:
            return members[pid].pod
        if pid not in seen or pid in asked:
            return None
        asked.add(pid)
        process = seen[pid]
        identity = (process.pid, process.born)
        # One that is seen between fork and exec still has its parent's environment: no pod is not the last word.
        if not self._known.get(identity):
            pod = _pod(pid, self._mark)
            inherited = self._place(process.parent, seen, members, asked) if not pod else None
            if pod is None and inherited is None and identity not in self._known:
                return None
            self._known[identity] = pod or inherited or ""
        pod = self._known[identity]
        members[pid] = RunProcess(process.pid, process.born, process.parent, process.name, process.command, pod)
        return pod


def send(process: RunProcess, number: signal.Signals) -> None:
    os.kill(process.pid, number)


def _read(entry: Path) -> RunProcess | None:
    try:
        text = (entry / "stat").read_text()
        command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return None
    name, _, rest = text[text.index("(") + 1 :].rpartition(")")
    fields = rest.split()
    if fields[0] in "ZX":
        return None
    return RunProcess(int(entry.name), int(fields[19]), int(fields[1]), name, command, "")


def _pod(pid: int, mark: bytes) -> str | None:
    """From the environment: None without the mark, empty with the mark and no pod."""
    try:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    if mark not in variables:
        return None
    found = dict(variable.decode(errors="replace").partition("=")[::2] for variable in variables)
    # Ray's workers write their titles over a part of it.
    return f"{found['REASONRL_ROLE']}-{found['REASONRL_INDEX']}" if {"REASONRL_ROLE", "REASONRL_INDEX"} <= found.keys() else ""
