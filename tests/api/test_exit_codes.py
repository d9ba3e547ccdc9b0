"""Exit codes are part of the contract: scripts and the operator decide by their numbers."""

from __future__ import annotations

from reasonrl.api.exit_codes import ExitCode


def test_the_numbers_stay() -> None:
    assert {code.name: code.value for code in ExitCode} == {"SUCCESS": 0, "FATAL": 1, "BAD_INPUT": 2, "RETRYABLE": 3, "PREEMPTED": 4}
