"""The directory of one run: one process at a time, one job for its whole life.

It keeps the job as it was resolved. Coming back with an edited job is allowed for what may change while a run goes on (see
`api.live_edits`); any other difference is refused, because the second half of the run would be another experiment than the first.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import yaml

from reasonrl.api.job import ReasoningRLJob
from reasonrl.api.live_edits import changed_fields, refused_changes
from reasonrl.api.parse import parse_job
from reasonrl.api.problems import JobError
from reasonrl.api.run_files import JOB_FILE

_LOCK = ".lock"


class RunDirectoryError(Exception):
    """The directory cannot be used for this run; the message says what to do instead."""


@contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Holds the directory for this process. The lock ends with the process, however it ends.

    Raises RunDirectoryError when it cannot be made or another process holds it.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        file = (directory / _LOCK).open("w")
    except OSError as error:
        raise RunDirectoryError(f"--output {directory}: {error.strerror}; name a directory that can be written to") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunDirectoryError(
                f"--output {directory}: another process is running this run; wait for it or choose another directory"
            ) from error
        yield


def keep_job(directory: Path, job: Mapping[str, object], *, current_phase: int) -> list[str]:
    """Writes the resolved job down and returns the paths of the fields that differ from what was kept before.

    Raises RunDirectoryError, and keeps the old one, when a field differs that may not change in phase `current_phase` (from 0).
    """
    path = directory / JOB_FILE
    changed: list[str] = []
    kept = kept_job(directory)
    if kept is not None:
        changed = changed_fields(kept.dumped(), job)
        refused = refused_changes(changed, current_phase=current_phase)
        if refused:
            raise RunDirectoryError(
                f"--output {directory} holds a run of another job; these fields may not change once a run has started: "
                f"{', '.join(refused)}. Put them back, or choose another directory"
            )
    temporary = path.with_suffix(".new")
    temporary.write_text(yaml.safe_dump(dict(job), sort_keys=False, allow_unicode=True))
    temporary.replace(path)
    return changed


def kept_job(directory: Path) -> ReasoningRLJob | None:
    """The kept job, with the defaults of fields that came with a later release than the one that wrote it; None before a first start.

    Raises RunDirectoryError when it cannot be read.
    """
    path = directory / JOB_FILE
    if not path.exists():
        return None
    try:
        return parse_job(yaml.safe_load(path.read_text()))
    except (JobError, yaml.YAMLError) as error:
        raise RunDirectoryError(f"{path} cannot be read as a job ({error}); choose another --output, or put the file back") from error


def job_hash(job: Mapping[str, object]) -> str:
    """SHA-256 of the resolved job, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(job, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
