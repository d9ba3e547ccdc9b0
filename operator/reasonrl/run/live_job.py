"""Edits of a job while it runs: the operator rewrites the job's file, and the run takes over, between two steps, what may change.

What may change is in `api.live_edits`; the rest of an edit is refused, told once, and changes nothing. The same holds when a run starts
again: a file that went further than the run may follow is no reason to end it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from reasonrl.api.job import ReasoningRLJob
from reasonrl.api.live_edits import changed_fields, refused_changes, with_live_fields
from reasonrl.api.parse import parse_job
from reasonrl.api.problems import JobError
from reasonrl.api.run_files import Event
from reasonrl.data.errors import DataError
from reasonrl.run.errors import RunInputError
from reasonrl.run.run_directory import RunDirectoryError, keep_job, kept_job

LARGEST_FILE = 1_048_576
"""Bytes; no object of a cluster may be larger."""
SETTLED_SECONDS = 2.0
"""A file that was written so lately may be written again without a change of its times and size, so it is read again at the next look."""


class LiveEditError(Exception):
    """The file holds no job that could run; the message says why."""


@dataclass(frozen=True, slots=True)
class Edit:
    """`job` from now on; the paths of the fields that changed, and of those that were left as they were."""

    job: ReasoningRLJob
    applied: tuple[str, ...]
    refused: tuple[str, ...]


def edited_job(current: ReasoningRLJob, text: str, *, current_phase: int) -> Edit:
    """`current` with what `text`, a job as JSON or YAML, changes of it and may change while phase `current_phase` (from 0) runs.

    Raises LiveEditError when the text is no job, or when what is left of the edit makes no sense without what was refused.
    """
    old, new = current.dumped(), _parsed(_mapping(text)).dumped()
    changed = changed_fields(old, new)
    refused = refused_changes(changed, current_phase=current_phase)
    if not refused:
        return Edit(_parsed(new), tuple(changed), ())
    job = _parsed(with_live_fields(old, new, current_phase=current_phase))
    return Edit(job, tuple(changed_fields(old, job.dumped())), tuple(refused))


def starting_job(directory: Path, wanted: ReasoningRLJob, *, current_phase: int) -> Edit:
    """The job that a resumed run goes on with on a cluster: the one it kept, with the live edits of `wanted`. The first start of a run
    takes `wanted` as it is. What comes out is kept.

    Raises RunDirectoryError when the kept job cannot be read.
    """
    kept = kept_job(directory)
    if kept is None:
        edit = Edit(wanted, (), ())
    else:
        try:
            edit = edited_job(kept, json.dumps(wanted.dumped()), current_phase=current_phase)
        except LiveEditError as error:
            edit = Edit(kept, (), (str(error),))
    keep_job(directory, edit.job.dumped(), current_phase=current_phase)
    return edit


class LiveJob:
    """The job's file of one run, for the thread of the loop.

    `take_over` puts an edited job into effect; it raises DataError or RunInputError when it cannot, and has then changed nothing.
    """

    def __init__(
        self,
        path: Path,
        job: ReasoningRLJob,
        *,
        run_directory: Path,
        take_over: Callable[[ReasoningRLJob], None],
        record: Callable[[Event], None],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self.job = job
        self._directory = run_directory
        self._take_over = take_over
        self._record = record
        self._wall = wall
        self._seen: tuple[int, ...] | None = None
        self._content: str | None = None
        self._told: str | None = None

    @property
    def config_hash(self) -> str | None:
        """SHA-256 of the file as it was read last; None before the first look."""
        return self._content

    def look(self, *, step: int, current_phase: int) -> bool:
        """Reads the file if it has changed, and says whether a new job is in effect. Never raises for what the file holds: what cannot be
        taken over is an event, once for each content."""
        try:
            text = self._changed_text()
            if text is None:
                return False
            edit = edited_job(self.job, text, current_phase=current_phase)
            if edit.applied:
                self._take_over(edit.job)
        except (OSError, UnicodeDecodeError, LiveEditError, DataError, RunInputError) as error:
            self._tell(step, "EditRefused", f"{self._path} changes nothing: {error}")
            return False
        if edit.refused:
            self._tell(step, "EditRefused", f"these fields may not change while the job runs: {', '.join(edit.refused)}")
        if not edit.applied:
            return False
        self.job = edit.job
        try:
            keep_job(self._directory, edit.job.dumped(), current_phase=current_phase)
        except (OSError, RunDirectoryError) as error:
            self._tell(step, "EditNotKept", f"the edit is in effect, but the next start may not know of it: {error}")
        self._record(Event(time=time.time(), step=step, reason="EditApplied", message=f"changed: {', '.join(edit.applied)}"))
        return True

    def _changed_text(self) -> str | None:
        """None for a file that is as it was."""
        with self._path.open("rb") as file:
            found = os.fstat(file.fileno())
            seen = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
            if seen == self._seen:
                return None
            content = file.read(LARGEST_FILE + 1)
        if len(content) > LARGEST_FILE:
            raise LiveEditError(f"it has more than {LARGEST_FILE:,} bytes")
        self._seen = seen if abs(self._wall() - found.st_mtime) > SETTLED_SECONDS else None
        digest = hashlib.sha256(content).hexdigest()
        if digest == self._content:
            return None
        self._content = digest
        return content.decode()

    def _tell(self, step: int, reason: str, message: str) -> None:
        if message != self._told:
            self._told = message
            self._record(Event(time=time.time(), step=step, reason=reason, message=message))


def _parsed(mapping: dict[str, object]) -> ReasoningRLJob:
    try:
        return parse_job(mapping)
    except JobError as error:
        raise LiveEditError(str(error)) from error
    except RecursionError as error:
        raise LiveEditError("it is nested too deeply to be a job") from error


def _mapping(text: str) -> dict[str, object]:
    try:
        found = _read(text)
    except yaml.YAMLError as error:
        raise LiveEditError(f"it is neither JSON nor YAML: {error}") from error
    except RecursionError as error:
        raise LiveEditError("it is nested too deeply to be a job") from error
    if not isinstance(found, dict):
        raise LiveEditError(f"it holds a {type(found).__name__}, and a job is an object")
    return found


def _read(text: str) -> object:
    # The operator writes JSON. All of it is YAML as well, but read so it takes a hundred times as long.
    try:
        return json.loads(text)
    except ValueError:
        return yaml.load(text, Loader=_Loader)


class _Loader(yaml.SafeLoader):
    """1e-6 is a number, as on a cluster; PyYAML wants 1.0e-6."""


_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789"))
