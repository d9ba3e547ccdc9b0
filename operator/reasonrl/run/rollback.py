"""Going back to an earlier checkpoint, as the operator orders it for one start of the trainers.

What is newer than that step must not be gone on from by accident, and must not be lost either while nothing has taken its place. So the
newer checkpoints are moved aside, into `.abandoned-attempt-K` beside the others, where no reader of checkpoints looks, and are deleted when
the run has made its next checkpoint. A note is written first and removed last: a start that dies half-way is finished by the next one,
whichever it is.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

from reasonrl.run.checkpoint_store import CheckpointError, CheckpointStore, Manifest

ABANDONED_PREFIX = ".abandoned-attempt-"
NOTE = ".rollback.json"
_ABANDONED = re.compile(rf"^{re.escape(ABANDONED_PREFIX)}\d+$")


class RollbackError(Exception):
    """There is nothing to go back to. Nothing was moved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolledBack:
    """`checkpoint` was verified and is gone on from; `abandoned` are the steps that were moved aside, oldest first."""

    checkpoint: Path
    manifest: Manifest
    abandoned: tuple[int, ...]

    @property
    def message(self) -> str:
        newer = f"; put aside: {', '.join(map(str, self.abandoned))}" if self.abandoned else ""
        return f"back to the checkpoint of step {self.manifest.step}{newer}"


def roll_back(store: CheckpointStore, *, step: int, attempt: int) -> RolledBack:
    """Makes the checkpoint of `step` the newest. Where it is gone or damaged, the newest sound one before it takes its place.

    Raises RollbackError when there is none. `attempt` is which start of the trainers this is. Called again, it does nothing more.
    """
    checkpoint, manifest = _sound_one(store, step)
    newer = tuple(each for each in store.steps() if each > manifest.step)
    if newer:
        _write_note(store.directory, step=manifest.step, attempt=attempt)
        finish_rollback(store)
    return RolledBack(checkpoint=checkpoint, manifest=manifest, abandoned=newer)


def finish_rollback(store: CheckpointStore) -> None:
    """Every start calls it before it looks for a checkpoint: moves aside what a roll-back that was cut short has left in place.

    Raises CheckpointError when the disk refuses, or the note of that roll-back cannot be read.
    """
    directory = store.directory
    note = directory / NOTE
    try:
        found = json.loads(note.read_bytes())
        step, attempt = int(found["step"]), int(found["attempt"])
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{note} cannot be read: {error!r}; it belongs to a roll-back. Remove it, and with it the checkpoints that are not wanted"
        ) from error
    aside = directory / f"{ABANDONED_PREFIX}{attempt}"
    try:
        aside.mkdir(exist_ok=True)
        for newer in [each for each in store.steps() if each > step]:
            target = aside / store.path(newer).name
            shutil.rmtree(target, ignore_errors=True)
            os.rename(store.path(newer), target)
        _flush(aside)
        _flush(directory)
        note.unlink()
        _flush(directory)
    except OSError as error:
        raise CheckpointError(f"checkpoints newer than step {step} could not be moved aside, to {aside}: {error}") from error


def forget_abandoned(store: CheckpointStore) -> None:
    """Deletes what roll-backs have moved aside; for a run that has made a checkpoint since. One that resists is left for the next time."""
    for entry in store.directory.iterdir():
        if _ABANDONED.match(entry.name):
            shutil.rmtree(entry, ignore_errors=True)


def _sound_one(store: CheckpointStore, step: int) -> tuple[Path, Manifest]:
    faults = []
    for candidate in reversed([each for each in store.steps() if each <= step]):
        try:
            return store.path(candidate), store.verify(candidate)
        except CheckpointError as error:
            faults.append(str(error))
    why = f": {'; '.join(faults)}" if faults else ""
    raise RollbackError(
        f"the run was to go back to step {step}, but no sound checkpoint of it or of a step before it is kept{why}. Ask for another step "
        "with the annotation reasonrl.dev/rollback-to, or remove it and start again"
    )


def _write_note(directory: Path, *, step: int, attempt: int) -> None:
    aside = directory / f"{NOTE}.new"
    try:
        with aside.open("w") as file:
            json.dump({"step": step, "attempt": attempt}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, directory / NOTE)
        _flush(directory)
    except OSError as error:
        raise CheckpointError(f"the roll-back to step {step} could not be noted in {directory}: {error}") from error


def _flush(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
