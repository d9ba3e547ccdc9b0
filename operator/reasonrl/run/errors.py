"""What can stop a run, sorted by what the person who started it can do about it."""

from __future__ import annotations


class RunInputError(Exception):
    """Something that the job names cannot be used. Nothing was started; the message names the field and the fix."""
