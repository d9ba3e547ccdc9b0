"""What a run that starts again says of itself before it has read its checkpoint: where it stood.

Loading takes a while, and the operator asks meanwhile. Step 0 of the first phase would be a lie that it acts on: it would show the
curriculum as begun anew, and give the run the rollout pods of its first phase.
"""

from __future__ import annotations

from reasonrl.run.checkpoint_store import CheckpointStore
from reasonrl.run.progress import PROGRESS_FILE, read_progress
from reasonrl.run.status.board import RunStatusBoard
from reasonrl.run.status.kept_checkpoints import kept_checkpoints


def show_last_known(board: RunStatusBoard, store: CheckpointStore) -> None:
    """Puts the newest checkpoint that says how far it is on the board, and the list of all. Nothing is verified here: the run does that
    when it loads, and says then where it really goes on."""
    for step in reversed(store.steps()):
        try:
            progress = read_progress(store.path(step) / PROGRESS_FILE)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue  # The run passes it over as well, with an event.
        board.at(progress)
        break
    board.keeps(kept_checkpoints(store))
