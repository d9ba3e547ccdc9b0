"""Where the pods of a run on one machine keep their sockets and temporary files: one directory, gone when the run is over.

A supervisor that is killed cannot remove it, nor can its pods, which die with it. So the run directory has a note of where it is, and the
next supervisor of that run removes what nobody holds any more.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

_PREFIX = "rrl-"
"""Short: sockets lie deep below it, whose names have a limit."""


class Scratch:
    """Made at once, with a note of it at `note`. Held by a lock that ends with this process, however that ends."""

    def __init__(self, note: Path) -> None:
        self._note = note
        remove_abandoned(note)
        self.path = Path(tempfile.mkdtemp(prefix=_PREFIX))
        self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(str(self.path))

    def close(self) -> None:
        """Removes it, with all that is in it."""
        shutil.rmtree(self.path, ignore_errors=True)
        with contextlib.suppress(OSError):
            # The run directory may be gone, or its disk broken; a note of nothing does no harm.
            self._note.unlink()
        os.close(self._lock)


def remove_abandoned(note: Path) -> None:
    """Removes the directory that `note` names, where it is one of ours and its supervisor has gone."""
    try:
        path = Path(note.read_text())
        if not path.name.startswith(_PREFIX) or path.is_symlink():
            return
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except (OSError, ValueError):
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(path, ignore_errors=True)
    except OSError:
        # Another supervisor is at work in the same run directory; what that means is for the run itself to say.
        return
    finally:
        os.close(lock)
