"""Going back to a checkpoint: the newer ones are out of the way, not lost, and gone after the next one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reasonrl.run import rollback
from reasonrl.run.checkpoint_store import MANIFEST, CheckpointError, CheckpointStore
from reasonrl.run.rollback import NOTE, RollbackError, finish_rollback, forget_abandoned, roll_back


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    store = CheckpointStore(tmp_path / "checkpoints", warn=pytest.fail)
    for step in (20, 40, 60, 80):
        save(store, step)
    return store


def save(store: CheckpointStore, step: int) -> None:
    store.save(step, lambda directory: (directory / "state").write_text(str(step)) and None, metadata={})


def newest(store: CheckpointStore) -> int:
    found = store.latest_complete()
    assert found is not None
    return found[1].step


def test_a_start_goes_on_from_the_step_that_was_asked_for(store: CheckpointStore) -> None:
    done = roll_back(store, step=40, attempt=3)
    assert (done.manifest.step, done.checkpoint, done.abandoned) == (40, store.path(40), (60, 80))
    assert done.message == "back to the checkpoint of step 40; put aside: 60, 80"
    assert newest(store) == 40


def test_what_was_abandoned_is_whole_until_the_run_has_a_new_checkpoint(store: CheckpointStore) -> None:
    roll_back(store, step=40, attempt=3)
    aside = store.directory / ".abandoned-attempt-3"
    assert sorted(each.name for each in aside.iterdir()) == ["step-000060", "step-000080"]
    assert CheckpointStore(aside, warn=pytest.fail).verify(80).step == 80
    save(store, 50)
    store.remove_unfinished()
    assert aside.exists()
    forget_abandoned(store)
    assert sorted(os.listdir(store.directory)) == ["step-000020", "step-000040", "step-000050"]


def test_a_later_start_does_not_go_forward_to_what_was_abandoned(store: CheckpointStore) -> None:
    roll_back(store, step=40, attempt=3)
    again = CheckpointStore(store.directory, warn=pytest.fail)
    finish_rollback(again)
    assert newest(again) == 40


@pytest.mark.parametrize("moved", [0, 1, 2])
def test_a_start_that_dies_half_way_is_finished_by_the_next(store: CheckpointStore, monkeypatch: pytest.MonkeyPatch, moved: int) -> None:
    really_rename, done = os.rename, list[Path]()

    def rename(source: Path, target: Path) -> None:
        if len(done) == moved:
            raise KeyboardInterrupt
        really_rename(source, target)
        done.append(target)

    def unlink(path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(rollback.os, "rename", rename)
        patch.setattr(rollback.Path, "unlink", unlink)
        with pytest.raises(KeyboardInterrupt):
            roll_back(store, step=40, attempt=3)
    assert len(store.steps()) == 4 - moved
    assert (store.directory / NOTE).exists()
    finish_rollback(store)
    assert newest(store) == 40
    assert not (store.directory / NOTE).exists()
    assert sorted(each.name for each in (store.directory / ".abandoned-attempt-3").iterdir()) == ["step-000060", "step-000080"]


def test_the_same_order_twice_is_carried_out_once(store: CheckpointStore) -> None:
    roll_back(store, step=40, attempt=3)
    assert roll_back(store, step=40, attempt=3).abandoned == ()
    assert newest(store) == 40


def test_a_second_roll_back_keeps_apart_what_each_abandoned(store: CheckpointStore) -> None:
    roll_back(store, step=60, attempt=1)
    roll_back(store, step=20, attempt=2)
    assert [path.parent.name for path in sorted(store.directory.glob(".abandoned-*/step-*"))] == [
        ".abandoned-attempt-1",
        ".abandoned-attempt-2",
        ".abandoned-attempt-2",
    ]
    forget_abandoned(store)
    assert store.steps() == [20]


def test_a_damaged_target_gives_way_to_the_sound_one_before_it(store: CheckpointStore) -> None:
    (store.path(40) / "state").write_text("damaged")
    done = roll_back(store, step=40, attempt=3)
    assert (done.manifest.step, done.abandoned) == (20, (40, 60, 80))


def test_a_step_that_is_no_longer_kept_gives_way_too(store: CheckpointStore) -> None:
    assert roll_back(store, step=50, attempt=3).manifest.step == 40


def test_nothing_is_moved_when_there_is_nothing_to_go_back_to(store: CheckpointStore) -> None:
    (store.path(20) / MANIFEST).unlink()
    with pytest.raises(RollbackError, match=r"step 20, but no sound checkpoint .* is kept: .*cannot be read.*rollback-to"):
        roll_back(store, step=20, attempt=3)
    assert store.steps() == [20, 40, 60, 80]
    assert newest(store) == 80


def test_a_note_that_cannot_be_read_is_an_error_and_not_passed_over(store: CheckpointStore) -> None:
    (store.directory / NOTE).write_text("{")
    with pytest.raises(CheckpointError, match=r"\.rollback\.json cannot be read"):
        finish_rollback(store)
