"""The walls around a worker: namespaces where the kernel permits them, resource limits everywhere.

Each wall is tried on its own and reported, because machines differ: a container may refuse any of them.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from contextlib import suppress

from reasonrl.sandbox import linux

MAX_FILES = 4096
HIDDEN_DIRECTORIES = ("/run/secrets", "/var/run/secrets")
"""Where containers find mounted credentials."""


def part_processes() -> dict[str, bool | str]:
    """Gives the children that this process forks next a process-id space of their own. Returns what worked, in `Isolation`'s words."""
    refused: list[str] = []
    user, group = os.getuid(), os.getgid()
    if _works(lambda: linux.unshare(linux.CLONE_NEWUSER), refused):
        # Refused when the kernel keeps group maps to itself; the process then runs as "nobody", which opens and closes no door.
        with suppress(OSError):
            _write("/proc/self/setgroups", "deny")
            _write("/proc/self/uid_map", f"{user} {user} 1")
            _write("/proc/self/gid_map", f"{group} {group} 1")
    processes = _works(lambda: linux.unshare(linux.CLONE_NEWPID), refused)
    return {"processes": processes, "detail": "; ".join(refused)}


def wall_off(directory: str, *, directory_bytes: int, own_processes: bool) -> dict[str, bool | str]:
    """Parts this process from the network and the file system. Returns what worked, in `Isolation`'s words."""
    refused: list[str] = []
    network = _works(lambda: linux.unshare(linux.CLONE_NEWNET), refused)
    _works(lambda: linux.unshare(linux.CLONE_NEWIPC), refused)
    files = _works(lambda: linux.unshare(linux.CLONE_NEWNS), refused) and _works(
        lambda: _wall_off_files(directory, directory_bytes=directory_bytes, own_processes=own_processes), refused
    )
    _works(linux.drop_privileges, refused)
    return {"network": network, "files": files, "detail": "; ".join(refused)}


def _wall_off_files(directory: str, *, directory_bytes: int, own_processes: bool) -> None:
    """Read-only everywhere but in `directory`, which becomes an empty file system in memory."""
    linux.keep_mounts_private()
    linux.make_read_only()
    linux.mount_memory(directory, size_bytes=directory_bytes, files=MAX_FILES)
    os.chdir(directory)
    for each in HIDDEN_DIRECTORIES:
        if os.path.isdir(each):
            linux.mount_memory(each, size_bytes=4096, files=2)
    # Another process of the same user shows its environment, secrets included, in its /proc directory.
    if not (own_processes and _works(linux.mount_proc, [])):
        linux.mount_memory("/proc", size_bytes=4096, files=2)


def limit_resources(*, memory_bytes: int, file_bytes: int, open_files: int) -> None:
    for kind, amount in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_NOFILE, open_files),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        amount = amount if hard == resource.RLIM_INFINITY else min(amount, hard)
        resource.setrlimit(kind, (amount, amount))


def _works(step: Callable[[], None], refused: list[str]) -> bool:
    try:
        step()
    except OSError as error:
        refused.append(error.strerror or str(error))
        return False
    return True


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)
