"""The watcher of one worker: a small process between the pool and the code that is not trusted.

It runs none of that code, so it always answers. It ends the worker, and all that the worker started, when the pool says so, when the
pool's end of the pipe closes, or when the pool's process is gone, killed -9 included.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import time
from contextlib import suppress

GRACE_SECONDS = 1.0
_LOOK_FOR_PARENT_MS = 1000


def supervise(worker: int, *, lifeline: int, parent: int, directory: str) -> int:
    """Waits for the process `worker`; returns its exit status as a shell does. `lifeline` is the read end of the pool's pipe, `parent`
    the pool's process id, `directory` what was made for the worker, which is removed."""
    wakeup, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _noted)
    poll = select.poll()
    poll.register(wakeup, select.POLLIN)
    # No event asked for: only the hang-up is reported. The bytes belong to the worker.
    poll.register(lifeline, 0)
    status = _wait(worker, poll, wakeup, parent)
    _end_all(worker)
    if status is None:
        _, status = os.waitpid(worker, 0)
    reap_descendants()
    shutil.rmtree(directory, ignore_errors=True)
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code


def _noted(_number: int, _frame: object) -> None:
    """The wake-up pipe carries the news; a handler is needed for it to be written."""


def _wait(worker: int, poll: select.poll, wakeup: int, parent: int) -> int | None:
    """The worker's status when it ended by itself; None when it is to be ended."""
    deadline: float | None = None
    while deadline is None or time.monotonic() < deadline:
        timeout = _LOOK_FOR_PARENT_MS if deadline is None else max(1, int(1000 * (deadline - time.monotonic())))
        ready = dict(poll.poll(timeout))
        ended, status = os.waitpid(worker, os.WNOHANG)
        if ended == worker:
            return status
        if wakeup in ready and set(os.read(wakeup, 512)) & {signal.SIGTERM, signal.SIGINT}:
            return None
        if os.getppid() != parent:
            return None
        if deadline is None and any(fd != wakeup for fd in ready):
            # The worker sees the end of the pipe as well, and goes by itself unless it is stuck.
            deadline = time.monotonic() + GRACE_SECONDS
            for fd in ready:
                if fd != wakeup:
                    poll.unregister(fd)
    return None


def _end_all(worker: int) -> None:
    """The worker leads a process group of its own; the group may outlive it."""
    for end in (os.kill, os.killpg):
        with suppress(ProcessLookupError, PermissionError):
            end(worker, signal.SIGKILL)


def reap_descendants() -> None:
    """Ends and collects every process below this one. As process 1 of its own namespace a single signal reaches them all."""
    if os.getpid() == 1:
        with suppress(ProcessLookupError):
            os.kill(-1, signal.SIGKILL)
        while _collected(block=True):
            continue
        return
    # A process may fork between the look and the signal; each round ends a generation, orphans come up to be children here.
    deadline = time.monotonic() + GRACE_SECONDS
    while (children := _children()) and time.monotonic() < deadline:
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        while _collected(block=False):
            continue


def _collected(*, block: bool) -> bool:
    try:
        ended, _ = os.waitpid(-1, 0 if block else os.WNOHANG)
    except ChildProcessError:
        return False
    return ended != 0


def _children() -> list[int]:
    found: list[int] = []
    # Where /proc is hidden they live until the worker ends, and the supervisor, which sees it, ends them then.
    tasks = os.listdir("/proc/self/task") if os.path.isdir("/proc/self/task") else []
    for task in tasks:
        with suppress(OSError), open(f"/proc/self/task/{task}/children") as file:
            found += [int(each) for each in file.read().split()]
    return found
