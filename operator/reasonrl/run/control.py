"""Requests from a person to a run that is going on, as files in its `control` directory.

One file a request, named after it; the loop looks between steps and removes what it has carried out. Files, because they need no
server on a laptop, survive a restart of the run, and can be made by hand.
"""

from __future__ import annotations

from pathlib import Path

from reasonrl.api.run_files import CONTROL_DIRECTORY

ADVANCE = "advance"


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
