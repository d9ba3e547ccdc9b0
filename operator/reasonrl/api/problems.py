"""What is wrong with a job: one problem names the field, the value that was given, and what to do about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """`field` is a path such as `spec.phases[1].maxResponseTokens`; `value` is what the user wrote there (None when nothing);
    `message` says what is wrong and how to put it right."""

    field: str
    value: object
    message: str

    def __str__(self) -> str:
        given = "" if self.value is None else f" (given: {shown_value(self.value)})"
        return f"{self.field}: {self.message}{given}"


class JobError(Exception):
    """A job that cannot run as it is written. `problems` has every one that was found, in the order of the file."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        if not problems:
            raise ValueError("a JobError needs at least one problem")
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def shown_value(value: object, *, limit: int = 80) -> str:
    """The value as the user would recognise it, cut to `limit` characters."""
    if value is None or isinstance(value, bool):
        text = {None: "null", True: "true", False: "false"}[value]
    else:
        text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
