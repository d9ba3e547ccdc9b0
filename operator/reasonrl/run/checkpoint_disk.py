"""Why a disk refuses a checkpoint, in words that help: which volume it is, and what to do about it.

The libraries that write checkpoints report a full disk each in its own way: an OSError, an error of their own with the number in its text,
or an assertion about a position in the file. So the causes of the error are looked through first, and then the volume itself.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_NUMBER_IN_TEXT = re.compile(r"\bos error (\d+)\b")
_WORDS = {os.strerror(number): number for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)}
NOTHING_LEFT = 1 << 20
"""Bytes. A volume with less room is full, whatever the library says."""


@dataclass(frozen=True, slots=True)
class DiskFault:
    """`message` names the volume and what to do."""

    kind: Literal["full", "readOnly"]
    message: str


def disk_fault(error: BaseException, directory: Path) -> DiskFault | None:
    """What is wrong with the volume of `directory`, where writing ended with `error`; None when it is not the volume's fault."""
    numbers = [number for each in _causes(error) if (number := _number(each)) is not None]
    if errno.EROFS in numbers:
        return DiskFault(
            "readOnly",
            f"the volume mounted at {_mount(directory)} is read-only; mount it for writing (a volume whose device failed turns read-only "
            "as well: look at the node's log)",
        )
    room = _room(directory)
    if _FULL.isdisjoint(numbers) and (room is None or room[0] >= NOTHING_LEFT):
        return None
    left = f": {_size(room[0])} of {_size(room[1])} are free" if room is not None else ""
    return DiskFault(
        "full",
        f"the volume mounted at {_mount(directory)} is full{left}; make it larger, delete what else lies on it, or keep fewer checkpoints "
        "(spec.checkpoint.keepLast, keepBest and maxBytes may be edited while the job runs)",
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from; `cause` is where an error that crossed processes keeps the original."""
    seen: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        each = waiting.pop()
        if isinstance(each, BaseException) and each not in seen:
            seen.append(each)
            yield each
            waiting += [each.__cause__, each.__context__, getattr(each, "cause", None)]


def _number(error: BaseException) -> int | None:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    text = str(error)
    found = _NUMBER_IN_TEXT.search(text)
    return int(found[1]) if found else next((number for words, number in _WORDS.items() if words in text), None)


def _room(directory: Path) -> tuple[int, int] | None:
    """Free and all bytes of the volume; None where it cannot even be asked."""
    try:
        found = os.statvfs(directory)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize


def _mount(directory: Path) -> Path:
    path = directory.resolve()
    while not path.is_mount() and path != path.parent:
        path = path.parent
    return path


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"
