"""The list of checkpoints, as the disk has it."""

from __future__ import annotations

from pathlib import Path

from reasonrl.run.checkpoint_store import MANIFEST, CheckpointStore
from reasonrl.run.status.kept_checkpoints import health_metadata, kept_checkpoints


def test_a_restarted_run_knows_which_checkpoints_were_healthy(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, warn=print)
    for step, critical in ((1, False), (2, True)):
        store.save(step, lambda directory: (directory / "state").touch(), metadata=health_metadata(critical=critical))
    store.save(3, lambda directory: (directory / "state").touch(), metadata={"reason": "of an earlier release"})
    found = kept_checkpoints(CheckpointStore(tmp_path, warn=print))
    assert [(each.step, each.healthy) for each in found] == [(1, True), (2, False), (3, True)]
    assert found[0].path == str(tmp_path / "step-000001")
    assert found[0].time == store.verify(1).time


def test_a_checkpoint_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, warn=print)
    for step in (1, 2):
        store.save(step, lambda directory: (directory / "state").touch(), metadata={})
    (store.path(2) / MANIFEST).write_text("{")
    assert [each.step for each in kept_checkpoints(store)] == [1]
