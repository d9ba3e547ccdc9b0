"""Checkpoints on disk: complete or not there.

A checkpoint is a directory `step-000020`. It is written beside its final place, every file is hashed and flushed to the disk, the
manifest goes last, and one rename makes it visible. A reader accepts it only when each file has the size and the SHA-256 that
the manifest promises, so a save cut short by a crash, a full disk or a flipped bit is passed over, with a warning, for the one
before it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from reasonrl.run.checkpoint_disk import disk_fault

MANIFEST = "manifest.json"
SCHEMA_VERSION = 1
_NAME = re.compile(r"^step-(\d{6,})$")
_WRITING_PREFIX = ".writing-"
_HASH_BLOCK = 1 << 22


class CheckpointError(Exception):
    """A checkpoint could not be written or read; the message names the file and what is wrong with it."""


class CheckpointDiskFullError(CheckpointError):
    """The volume of the checkpoints has no room; the message names it."""


class CheckpointDiskReadOnlyError(CheckpointError):
    """The volume of the checkpoints cannot be written to; the message names it."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """`metadata` is whatever the run wants to know of a checkpoint without opening it: why it was saved, the spec's hash."""

    step: int
    time: float
    metadata: Mapping[str, str]
    files: Mapping[str, FileEntry]
    schema_version: int = SCHEMA_VERSION

    @property
    def size(self) -> int:
        return sum(entry.size for entry in self.files.values())


def checkpoint_name(step: int) -> str:
    return f"step-{step:06d}"


class CheckpointStore:
    """The checkpoints of one run, in one directory."""

    def __init__(self, directory: Path, *, warn: Callable[[str], None]) -> None:
        self._directory = directory
        self._warn = warn
        directory.mkdir(parents=True, exist_ok=True)

    @property
    def directory(self) -> Path:
        return self._directory

    def path(self, step: int) -> Path:
        return self._directory / checkpoint_name(step)

    def steps(self) -> list[int]:
        """Steps of all visible checkpoints, oldest first. Visible means renamed into place, not verified."""
        return sorted(int(match[1]) for entry in self._directory.iterdir() if (match := _NAME.match(entry.name)))

    def size(self, step: int) -> int:
        """Bytes of one checkpoint, as they lie on the disk."""
        return sum(file.stat().st_size for file in self.path(step).rglob("*") if file.is_file())

    def save(self, step: int, write: Callable[[Path], None], *, metadata: Mapping[str, str]) -> Path:
        """`write(directory)` fills an empty directory; afterwards the whole of it is durable under its final name.

        A sound checkpoint of the same step is left as it is: a step's state does not depend on why it is saved. Raises
        CheckpointError when the disk refuses (CheckpointDiskFullError and CheckpointDiskReadOnlyError where that is why); nothing
        half-written is left then.
        """
        if self._has_sound(step):
            return self.path(step)
        writing = self._directory / f"{_WRITING_PREFIX}{checkpoint_name(step)}"
        final = self.path(step)
        try:
            self.remove_unfinished()
            writing.mkdir()
            write(writing)
            files = {name: _flush_and_hash(writing / name) for name in _relative_files(writing)}
            manifest = Manifest(step=step, time=time.time(), metadata=dict(metadata), files=files)
            _write_durably(writing / MANIFEST, json.dumps(asdict(manifest), indent=1).encode())
            for directory in [path for path in writing.rglob("*") if path.is_dir()] + [writing]:
                _flush_directory(directory)
            os.rename(writing, final)
            _flush_directory(self._directory)
        except Exception as error:
            # Asked while what was written still fills the volume; and of any error: each library has its own word for a full disk.
            fault = disk_fault(error, self._directory)
            shutil.rmtree(writing, ignore_errors=True)
            what = f"checkpoint of step {step} could not be written to {self._directory}: {error}"
            if fault is not None:
                kind = CheckpointDiskFullError if fault.kind == "full" else CheckpointDiskReadOnlyError
                raise kind(f"{what}; {fault.message}") from error
            if isinstance(error, OSError):
                raise CheckpointError(what) from error
            raise
        return final

    def _has_sound(self, step: int) -> bool:
        if not self.path(step).exists():
            return False
        try:
            self.verify(step)
        except CheckpointError as error:
            self._warn(f"checkpoint {checkpoint_name(step)} is replaced: {error}")
            self.delete(step)
            return False
        return True

    def delete(self, step: int) -> None:
        # Renamed first: a crash in the middle of a deletion must not leave a directory that looks like a checkpoint.
        doomed = self._directory / f"{_WRITING_PREFIX}deleted-{checkpoint_name(step)}"
        os.rename(self.path(step), doomed)
        shutil.rmtree(doomed)

    def remove_unfinished(self) -> None:
        """Clears what a crash in the middle of a save or a deletion left behind."""
        for entry in self._directory.iterdir():
            if entry.name.startswith(_WRITING_PREFIX):
                shutil.rmtree(entry)

    def verify(self, step: int) -> Manifest:
        """Reads every byte. Raises CheckpointError with the first fault found."""
        directory = self.path(step)
        manifest = read_manifest(directory)
        present = set(_relative_files(directory)) - {MANIFEST}
        for name in sorted(set(manifest.files) | present):
            if name not in manifest.files:
                raise CheckpointError(f"{directory / name} is not in the manifest")
            if name not in present:
                raise CheckpointError(f"{directory / name} is missing")
            entry = manifest.files[name]
            size = (directory / name).stat().st_size
            if size != entry.size:
                raise CheckpointError(f"{directory / name} has {size} bytes, the manifest says {entry.size}")
            if _sha256(directory / name) != entry.sha256:
                raise CheckpointError(f"{directory / name} does not have the SHA-256 that the manifest promises")
        return manifest

    def latest_complete(self) -> tuple[Path, Manifest] | None:
        """The newest checkpoint that verifies; each one passed over is reported through `warn`."""
        for step in reversed(self.steps()):
            try:
                return self.path(step), self.verify(step)
            except CheckpointError as error:
                self._warn(f"checkpoint {checkpoint_name(step)} is passed over: {error}")
        return None


def read_manifest(directory: Path) -> Manifest:
    try:
        raw = json.loads((directory / MANIFEST).read_bytes())
        if raw["schema_version"] != SCHEMA_VERSION:
            raise CheckpointError(f"{directory / MANIFEST} has schema version {raw['schema_version']}; this release reads {SCHEMA_VERSION}")
        files = {name: FileEntry(**entry) for name, entry in raw["files"].items()}
        return Manifest(step=int(raw["step"]), time=float(raw["time"]), metadata=raw["metadata"], files=files)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{directory / MANIFEST} cannot be read: {error!r}") from error


def _relative_files(directory: Path) -> Iterator[str]:
    for path in sorted(directory.rglob("*")):
        if path.is_file():
            yield path.relative_to(directory).as_posix()


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_HASH_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _flush_and_hash(path: Path) -> FileEntry:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
    return FileEntry(size=path.stat().st_size, sha256=_sha256(path))


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _flush_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
