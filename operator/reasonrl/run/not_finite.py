"""An update that gave no finite number, and what the failure policy asks for then.

The run cannot go on by itself: the same step would end the same way. Where the policy asks for a pause or a roll-back the operator carries
it out, and it must hear of it first, so the run stays for a while with the signal in its status before it gives up.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from reasonrl.api.failure_answers import health_action
from reasonrl.api.failure_policy_spec import FailurePolicySpec
from reasonrl.run.health_watch import NOT_FINITE, HealthWatch
from reasonrl.run.stop_request import StopRequest
from reasonrl.run.telemetry.telemetry import Telemetry
from reasonrl.run.transitions import record_event

OPERATOR_SECONDS = 120.0
"""The operator asks a run every ten seconds, and less often when it has very many."""
_LOOK_SECONDS = 0.5


def tell_not_finite(
    message: str,
    *,
    step: int,
    health: HealthWatch,
    policy: FailurePolicySpec,
    telemetry: Telemetry,
    stop: StopRequest,
    operator_seconds: float,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Records it, and where the policy declares an action waits up to `operator_seconds` for the signal that carries it out.

    Raises StoppedWithinStepError when the signal comes: the weights may be between two updates of a step, and nothing may be saved.
    """
    change = health.report_not_finite(message, step=step)
    record_event(telemetry, change.step, change.reason, change.message)
    telemetry.health(health.signals())
    if health_action(policy, NOT_FINITE) == "none":
        return
    due = clock() + operator_seconds
    while clock() < due:
        stop.check_within_step()
        telemetry.touch()
        pause(_LOOK_SECONDS)
