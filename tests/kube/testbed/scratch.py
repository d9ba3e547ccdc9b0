"""Temporary directories that don't pile up: those of processes that were killed are swept by the next one.

A directory belongs to whoever holds the lock on the file in it; the kernel lets go of a lock when its holder dies. It matters where the
directory is memory: etcd's files would stay there until the machine restarts.
"""

from __future__ import annotations

import fcntl
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOCK = ".held"


@contextmanager
def scratch_directory(prefix: str, *, parent: Path | None = None, keep: bool = False) -> Iterator[Path]:
    """A fresh directory `<parent>/<prefix>…`, removed at the end unless `keep`; abandoned ones of the same prefix go first."""
    place = parent or Path(tempfile.gettempdir())
    _sweep(place, prefix)
    # It gets its final name only once its lock is held, so that no sweeper finds it unheld.
    aside = Path(tempfile.mkdtemp(prefix=f".{prefix}", dir=place))
    with (aside / _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        directory = aside.rename(place / f"{prefix}{secrets.token_hex(5)}")
        try:
            yield directory
        finally:
            if keep:
                (directory / _LOCK).unlink()
            else:
                shutil.rmtree(directory, ignore_errors=True)


def _sweep(place: Path, prefix: str) -> None:
    for directory in place.glob(f"{prefix}*"):
        try:
            with (directory / _LOCK).open("r+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(directory, ignore_errors=True)
        except OSError:
            continue  # Held, kept on purpose, somebody else's, or swept by another in this moment.
