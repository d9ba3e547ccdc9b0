"""The health of one run: what its signals are, what the failure policy asks for, and what is worth an event.

The run judges, because it has the numbers. Pausing and rolling back are the operator's; here they are only told.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from reasonrl.api.failure_answers import Action, health_action
from reasonrl.api.failure_policy_spec import FailurePolicySpec
from reasonrl.api.run_files import StepMetrics
from reasonrl.api.run_status import HealthSignal
from reasonrl.rl.health import EARLIER, RECENT
from reasonrl.rl.health_states import ALL_OK, SignalState, next_states

RECOVERED = "HealthRecovered"
NOT_FINITE = "NotFinite"
LONGEST_MESSAGE = 1024
_ASKED: dict[Action, str] = {"none": "nothing", "pause": "a pause", "rollback": "a roll-back to the last healthy checkpoint"}


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthChange:
    """Something to record as an event. `reason` is the signal's name, or `HealthRecovered`."""

    reason: str
    message: str
    step: int


class HealthWatch:
    """For the thread of the loop."""

    def __init__(self, policy: FailurePolicySpec) -> None:
        self._policy = policy
        self._history: deque[StepMetrics] = deque(maxlen=RECENT + EARLIER)
        self._states = dict(ALL_OK)

    def replay(self, earlier: Sequence[StepMetrics]) -> None:
        """Takes up the records of a resumed run, oldest first, without telling of them again."""
        for metrics in earlier:
            self._take(metrics)

    def observe(self, metrics: StepMetrics) -> list[HealthChange]:
        """What this step changes: signals that began to stand, became critical, or are over."""
        before, step = self._take(metrics), metrics.step
        found = [self._change(name, before[name], state, step=step) for name, state in self._states.items()]
        return [change for change in found if change is not None]

    def report_not_finite(self, message: str, *, step: int) -> HealthChange:
        """For an update that gave no finite number and therefore no step record."""
        self._states[NOT_FINITE] = SignalState(severity="critical", message=message, stood=1)
        return HealthChange(reason=NOT_FINITE, message=self._critical(NOT_FINITE, message), step=step)

    @property
    def critical(self) -> bool:
        return any(state.severity == "critical" for state in self._states.values())

    def signals(self) -> tuple[HealthSignal, ...]:
        """Every signal, those that are ok included."""
        return tuple(
            HealthSignal(
                signal=name, state=state.severity, message=state.message[:LONGEST_MESSAGE], action=health_action(self._policy, name)
            )
            for name, state in self._states.items()
        )

    def _take(self, metrics: StepMetrics) -> dict[str, SignalState]:
        self._history.append(metrics)
        before, self._states = self._states, next_states(self._states, list(self._history))
        return before

    def _change(self, name: str, before: SignalState, after: SignalState, *, step: int) -> HealthChange | None:
        if before.severity == after.severity:
            return None
        if after.severity == "ok":
            return HealthChange(reason=RECOVERED, message=f"{name} is over; it was: {before.message}", step=step)
        if after.severity == "critical":
            return HealthChange(reason=name, message=self._critical(name, after.message), step=step)
        # From critical to warning only a new phase leads: the comparison begins anew, and there is nothing to tell.
        return HealthChange(reason=name, message=after.message, step=step) if before.severity == "ok" else None

    def _critical(self, name: str, message: str) -> str:
        asked = _ASKED[health_action(self._policy, name)]
        return f"{message} This is critical; spec.failurePolicy.onUnhealthy asks for {asked}, which is the operator's to carry out."
