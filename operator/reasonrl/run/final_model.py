"""The end of a run: the trained policy in Hugging Face format, and a summary that scripts can read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

from reasonrl.api.run_files import FINAL_DIRECTORY, SUMMARY_FILE
from reasonrl.run.checkpoint_store import CheckpointError
from reasonrl.train.trainer_files import POLICY_DIRECTORY


def write_final_model(run_directory: Path, checkpoint: Path) -> Path:
    """Copies the policy of the last checkpoint. Written aside and renamed, so that `final` is whole whenever it is there.

    Raises CheckpointError when the disk refuses.
    """
    final, aside = run_directory / FINAL_DIRECTORY, run_directory / f".{FINAL_DIRECTORY}"
    shutil.rmtree(aside, ignore_errors=True)
    try:
        shutil.copytree(checkpoint / POLICY_DIRECTORY, aside)
        if final.exists():
            shutil.rmtree(final)
        aside.rename(final)
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise CheckpointError(
            f"the final model could not be written to {final}: {error}; it is in {checkpoint / POLICY_DIRECTORY}"
        ) from error
    return final


def write_summary(run_directory: Path, summary: Mapping[str, object]) -> None:
    aside = run_directory / f".{SUMMARY_FILE}"
    aside.write_text(json.dumps(dict(summary), indent=1))
    aside.replace(run_directory / SUMMARY_FILE)


def read_summary(run_directory: Path) -> dict[str, object] | None:
    """None while the run is not finished."""
    path = run_directory / SUMMARY_FILE
    if not path.exists():
        return None
    found: dict[str, object] = json.loads(path.read_text())
    return found
