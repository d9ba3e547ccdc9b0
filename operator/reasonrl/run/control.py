"""Requests to a run that is going on: a person's files in its `control` directory, and the operator's file `control.json`.

On a laptop one file is one request, named after it; the loop looks between steps and removes what it has carried out. Files, because they
need no server, survive a restart of the run, and can be made by hand. On a cluster the operator writes what a person asked for by an
annotation into the job's ConfigMap, from where the run reads it and cannot remove it; so those requests name what they are about.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from reasonrl.api.run_files import CONTROL_DIRECTORY

ADVANCE = "advance"


class ControlError(Exception):
    """The operator's requests cannot be read; the message names the file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """`advance_to` names a phase that may be entered. `rollback_to` is the step to go back to, for start `rollback_attempt` of the
    trainers and no other."""

    advance_to: str | None = None
    rollback_to: int | None = None
    rollback_attempt: int | None = None


def request_advance(run_directory: Path) -> None:
    """Lets the run enter the phase that waits for a person's word."""
    directory = run_directory / CONTROL_DIRECTORY
    directory.mkdir(exist_ok=True)
    (directory / ADVANCE).touch()


def take_advance(run_directory: Path) -> bool:
    """True once for each request."""
    try:
        (run_directory / CONTROL_DIRECTORY / ADVANCE).unlink()
    except FileNotFoundError:
        return False
    return True


def may_enter(phase: str, *, run_directory: Path, control: Path | None) -> bool:
    """Whether a person's word for this phase is there, by either way. `control` is the operator's file, None without an operator."""
    if take_advance(run_directory):
        return True
    if control is None:
        return False
    try:
        return read_control(control).advance_to == phase
    except ControlError:
        # No word was given as far as anybody can tell, and the next step looks again.
        return False


def rollback_step(control: Path | None, *, attempt: int) -> int | None:
    """The step that this start of the trainers is to begin at; None to go on from the newest checkpoint. `attempt` is which start it is.

    Raises ControlError when the requests cannot be read: to go on from the newest checkpoint might be just what was to be prevented.
    """
    if control is None:
        return None
    found = read_control(control)
    return found.rollback_to if found.rollback_attempt == attempt else None


def read_control(path: Path) -> Control:
    """Nothing is asked where there is no such file. Raises ControlError for one that is no control file."""
    try:
        body = json.loads(path.read_bytes())
    except FileNotFoundError:
        return Control()
    except (OSError, ValueError) as error:
        raise ControlError(f"{path} cannot be read: {error}; the operator writes it anew when the ConfigMap is changed") from error
    if not isinstance(body, dict):
        raise ControlError(f"{path} holds a {type(body).__name__}, and should hold an object")
    return Control(
        advance_to=_text(body.get("advanceTo"), "advanceTo", path),
        rollback_to=_count(body.get("rollbackTo"), "rollbackTo", path),
        rollback_attempt=_count(body.get("rollbackAttempt"), "rollbackAttempt", path),
    )


def _text(value: object, key: str, path: Path) -> str | None:
    if value is None or isinstance(value, str):
        return value or None
    raise ControlError(f"{path}: {key} is {value!r}, and should be text or null")


def _count(value: object, key: str, path: Path) -> int | None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    raise ControlError(f"{path}: {key} is {value!r}, and should be a number from 0 or null")
