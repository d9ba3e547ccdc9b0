"""The volume of the run directory fills up while a run learns, and is given room again after the trainers have failed on it.

The volume is a small file system in memory, which takes root (or a user namespace with that right) to mount.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from faults.campaign import Played, conclude
from faults.holding import before_a_checkpoint
from faults.run_under_fault import FaultError, RunUnderFault

DISK = "checkpoint disk full, room after the first failure"
_SIZE = "48m"
_FILL = "something-else"
_BLOCK = b"\0" * 65536


def play_full_disk(directory: Path, *, expected: Path, say: Callable[[str], None]) -> Played:
    """Filled before a checkpoint; half of what the trainers may fail is left when there is room again."""
    played = Played(DISK, "checkpoint")
    volume = directory / "volume"
    volume.mkdir(parents=True)
    with _mounted(volume):
        run = RunUnderFault(directory, output=volume / "run")
        try:
            run.close_gate()
            run.start()
            run.wait_whole()
            before_a_checkpoint(run)
            _fill(volume / _FILL)
            struck, trainers, rollouts = time.monotonic(), run.starts("trainer"), _pods(run)
            run.open_gate()
            run.wait(lambda: _failed(run), "the failure of a checkpoint", look=0.05)
            (volume / _FILL).unlink()
            run.wait(lambda: run.starts("trainer") > trainers, "another start of the trainers", look=0.05)
            done = run.next_step()
            run.wait(done, "a completed step")
            played.seconds = time.monotonic() - struck
            gangs = run.starts("trainer") - trainers
            played.outcome = (
                f"all trainers started again {gangs} times, rollout pods stayed" if gangs > 1 else "all trainers started again once"
            )
            if _pods(run) != rollouts:
                played.problems.append("a rollout pod was replaced")
            say(f"full disk: {_refusal(run)}")
            conclude(run, [played], expected=expected)
        except (FaultError, subprocess.TimeoutExpired) as error:
            played.outcome = str(error)
            played.problems.append(str(error))
        finally:
            run.destroy()
    return played


def _failed(run: RunUnderFault) -> bool:
    return bool(_refusal(run))


def _refusal(run: RunUnderFault) -> str:
    """What the supervisor passed on of a trainer that ended."""
    text = (run.directory / "supervisor.log").read_text(errors="replace")
    return next((line for line in text.splitlines() if line.startswith("trainer-0 ended") or line.startswith("trainer-0 was ended")), "")


def _pods(run: RunUnderFault) -> list[int]:
    return [process.pid for process in run.processes.of("rollout")]


def _fill(file: Path) -> None:
    with file.open("wb", buffering=0) as stream:
        try:
            while stream.write(_BLOCK):
                pass
        except OSError:
            return


@contextmanager
def _mounted(volume: Path) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={_SIZE}", "tmpfs", str(volume)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(volume)], check=True)
