"""The checkpoints of a run as its status lists them, read from what each says of itself on the disk, so that a restarted run knows which of
them were healthy."""

from __future__ import annotations

import os

from reasonrl.api.run_status import SavedCheckpoint
from reasonrl.run.checkpoint_store import CheckpointError, CheckpointStore, read_manifest
from reasonrl.run.status.board import MOST_CHECKPOINTS

HEALTHY = "healthy"
"""Key of a manifest's metadata: "true", or "false" when a health signal was critical."""
LONGEST_PATH = 1024


def health_metadata(*, critical: bool) -> dict[str, str]:
    """What a checkpoint that is written now says of the run's health."""
    return {HEALTHY: "false" if critical else "true"}


def kept_checkpoints(store: CheckpointStore) -> tuple[SavedCheckpoint, ...]:
    """The newest that are kept, oldest first. One whose manifest cannot be read is none that a run could go back to, and is left out."""
    found = []
    for step in store.steps()[-MOST_CHECKPOINTS:]:
        path = store.path(step)
        try:
            manifest = read_manifest(path)
        except CheckpointError:
            continue
        shown = os.fsencode(path).decode(errors="replace")[-LONGEST_PATH:]
        found.append(SavedCheckpoint(step=step, time=manifest.time, healthy=manifest.metadata.get(HEALTHY) != "false", path=shown))
    return tuple(found)
