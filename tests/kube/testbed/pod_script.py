"""What a test wants a pod to do: when it starts, how it ends, how it answers a deletion."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """The life of one pod. All times are seconds.

    Without `run_for` a pod runs until a command of the test or a deletion ends it. `status` is what trainer-0 answers at /status: a
    body, or a function of the seconds since the container started. A pod with `unschedulable` or `waiting` never runs: no node takes
    it, or its container cannot start (`ErrImagePull`, `CreateContainerConfigError`, …).
    """

    start_after: float = 0.0
    run_for: float | None = None
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    ready: bool = True
    status: Body | Callable[[float], Body] | None = None
    terminate_after: float = 0.0
    terminate_exit_code: int = 143
    terminate_message: str = ""
    unschedulable: str = ""
    waiting: str = ""
    waiting_message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a container ended. `reason` is what the kubelet would say; empty means by the exit code."""

    exit_code: int
    reason: str = ""
    message: str = ""

    @property
    def shown_reason(self) -> str:
        return self.reason or ("Completed" if self.exit_code == 0 else "Error")


def run_result(*, exit_code: int, reason: str, message: str = "", step: int | None = None, checkpoint_step: int | None = None) -> str:
    """A termination message as a run writes it: JSON of RunResult."""
    return json.dumps({"exitCode": exit_code, "reason": reason, "message": message, "step": step, "checkpointStep": checkpoint_step})


def run_status(*, step: int, **values: Any) -> dict[str, Any]:
    """A /status body of a healthy run at `step`, as RunStatus writes it; `values` (camelCase) replace or add fields."""
    body: dict[str, Any] = {
        "step": step,
        "phase": "main",
        "phaseIndex": 0,
        "phaseStep": step,
        "waitingToEnter": None,
        "stage": "rollout",
        "stageStarted": time.time(),
        "stageDeadlineSeconds": 600.0,
        "klCoefficient": 0.001,
        "reward": 0.5,
        "accuracy": 0.4,
        "responseLengthMean": 512.0,
        "responseLengthP95": 1024.0,
        "truncatedShare": 0.02,
        "onPolicy": True,
        "tokensPerSecond": 1000.0,
        "checkpoints": [],
        "health": [],
        "configHash": None,
    }
    return body | values
