"""How a pod ended, in the words of its exit code and termination message; light enough for a pod that only lends its node."""

from __future__ import annotations

from dataclasses import dataclass

from reasonrl.api.exit_codes import ExitCode

COMPLETED = "Completed"
PREEMPTED = "Preempted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """`reason` is CamelCase and stable; `message` says what happened and what to do."""

    exit_code: ExitCode
    reason: str
    message: str
