"""All processes of one session, found and ended: also those that left their process group, were stopped, or lost their parent.

Ray gives each worker a process group of its own and lets its agents outlive a killed raylet for minutes. What they all keep is the session
that their node was started in.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

_LOOK_SECONDS = 0.05
_STATE, _SESSION = 0, 3
"""Fields of /proc/PID/stat behind the name, which may itself hold spaces and parentheses."""


def session_members(session: int) -> list[int]:
    """Process ids of those that still run; what is dead and waits for its parent's attention does not count."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            # It ended while we looked.
            continue
        if int(fields[_SESSION]) == session and fields[_STATE] not in "ZX":
            found.append(int(entry.name))
    return found


def kill_session(session: int, *, seconds: float) -> list[int]:
    """SIGKILL for all but the caller, until none is left: one may start another meanwhile. Returns who was left after `seconds`, which
    takes a process that hangs in the kernel."""
    due = time.monotonic() + seconds
    while left := [member for member in session_members(session) if member != os.getpid()]:
        for member in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(member, signal.SIGKILL)
        if time.monotonic() > due:
            return left
        time.sleep(_LOOK_SECONDS)
    return []
