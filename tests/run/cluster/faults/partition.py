"""The network between a rollout pod and the trainers goes away and comes back, while all processes live.

One rollout pod is in a network namespace of its own, joined to the rest by a pair of virtual interfaces, of which its own end is taken
down. Takes root.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from faults.campaign import Played, conclude
from faults.holding import Stage, held
from faults.run_under_fault import FaultError, RunUnderFault

_CUT_SECONDS = 30.0
"""Longer than the head misses heartbeats before a node counts as dead, and than a node waits for its head before it ends itself."""
CUT = f"rollout pod cut off for {_CUT_SECONDS:.0f} s"


def play_partition(stages: Sequence[Stage], directory: Path, *, expected: Path, say: Callable[[str], None]) -> list[Played]:
    """A row for each stage, all in one run."""
    played = [Played(CUT, stage) for stage in stages]
    with _namespace() as link:
        starter = [sys.executable, str(Path(__file__).with_name("pods_by_hand.py"))]
        run = RunUnderFault(directory, starter=starter, options=[link.namespace, link.head, link.far])
        try:
            run.close_gate()
            run.start()
            for row in played:
                _cut(row, run, link)
                say(f"{row.fault} / {row.stage}: {row.outcome}, {row.seconds:.1f} s {'; '.join(row.problems)}")
            conclude(run, played, expected=expected)
        except (FaultError, subprocess.TimeoutExpired) as error:
            for row in played:
                if row.seconds is None:
                    row.outcome = str(error)
                    row.problems.append(str(error))
        finally:
            run.destroy()
    return played


@dataclass(frozen=True, slots=True)
class _Link:
    namespace: str
    head: str
    far: str

    def switch(self, state: str) -> None:
        _ip("-n", self.namespace, "link", "set", "far", state)


def _cut(row: Played, run: RunUnderFault, link: _Link) -> None:
    with held(run, row.stage):  # type: ignore[arg-type]
        trainers, pods = run.only("trainer").pid, [process.pid for process in run.processes.of("rollout")]
        events = len(run.events())
        link.switch("down")
        struck = time.monotonic()
    done = run.next_step()
    run.open_gate()
    try:
        run.wait(done, "a completed step")
        row.seconds = time.monotonic() - struck
        run.close_gate()
        time.sleep(max(0.0, struck + _CUT_SECONDS - time.monotonic()))
    finally:
        link.switch("up")
    run.wait_whole()
    lost = [event["message"] for event in run.events()[events:] if event["reason"] in ("RolloutLost", "RolloutLeft")]
    row.outcome = "trainers undisturbed; the pod stayed and came back with a new node"
    if run.only("trainer").pid != trainers or [process.pid for process in run.processes.of("rollout")] != pods:
        row.problems.append("a pod did not live through it")
    if not lost:
        row.problems.append("nobody noticed: no event RolloutLost or RolloutLeft")


@contextmanager
def _namespace() -> Iterator[_Link]:
    number = os.getpid() % 250
    link = _Link(f"rf-{os.getpid()}", f"10.213.{number}.1", f"10.213.{number}.2")
    near = f"rf{os.getpid()}"
    _ip("netns", "add", link.namespace)
    try:
        _ip("link", "add", near, "type", "veth", "peer", "name", "far", "netns", link.namespace)
        _ip("address", "add", f"{link.head}/30", "dev", near)
        _ip("link", "set", near, "up")
        _ip("-n", link.namespace, "address", "add", f"{link.far}/30", "dev", "far")
        for device in ("lo", "far"):
            _ip("-n", link.namespace, "link", "set", device, "up")
        yield link
    finally:
        # Its interface goes with it, and the other end with that.
        _ip("netns", "delete", link.namespace)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)
