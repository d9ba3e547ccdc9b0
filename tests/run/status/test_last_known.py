"""What a run that starts again answers before it has read its checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from reasonrl.api.job import ReasoningRLJob
from reasonrl.run.checkpoint_store import CheckpointStore
from reasonrl.run.progress import PROGRESS_FILE, Progress, write_progress
from reasonrl.run.status.board import RunStatusBoard
from reasonrl.run.status.last_known import show_last_known


def saved(directory: Path, *progress: Progress) -> CheckpointStore:
    store = CheckpointStore(directory, warn=print)
    for each in progress:
        store.save(each.step, lambda place, each=each: write_progress(place / PROGRESS_FILE, each), metadata={})  # type: ignore[misc]
    return store


def test_it_is_where_its_newest_checkpoint_is(job: Callable[..., ReasoningRLJob], tmp_path: Path) -> None:
    board = RunStatusBoard(job())
    show_last_known(board, saved(tmp_path, Progress(step=2, phase_step=2), Progress(step=5, phase_index=1, phase_step=1)))
    status = board.status()
    assert (status.step, status.phase_index, status.phase_step) == (5, 1, 1)
    assert [each.step for each in status.checkpoints] == [2, 5]
    assert status.stage == "loading"


def test_a_checkpoint_that_does_not_say_where_it_is_is_passed_over(job: Callable[..., ReasoningRLJob], tmp_path: Path) -> None:
    store = saved(tmp_path, Progress(step=2, phase_step=2), Progress(step=5, phase_step=5))
    (store.path(5) / PROGRESS_FILE).write_text("{")
    board = RunStatusBoard(job())
    show_last_known(board, store)
    assert board.status().step == 2


def test_a_run_that_never_saved_is_at_its_beginning(job: Callable[..., ReasoningRLJob], tmp_path: Path) -> None:
    board = RunStatusBoard(job())
    show_last_known(board, CheckpointStore(tmp_path, warn=print))
    assert (board.status().step, board.status().checkpoints) == (0, ())
