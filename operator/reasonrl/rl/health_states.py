"""The states of a run's health signals: ok, warning or critical, step after step, without flapping.

A signal enters at one threshold and leaves at a lower one, and only after several calm steps. While it stands, the newest steps are
compared with those from before it began: otherwise a run that has collapsed for as long as the window is wide would count as healthy
again. The states follow from the step records alone, so a resumed run finds them again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from reasonrl.api.run_files import StepMetrics
from reasonrl.rl.health import CRITICAL, RECENT, SIGNALS, WARNING, Signal, steps_before

Severity = Literal["ok", "warning", "critical"]

LEAVE = 0.8
"""A standing signal begins to leave below this badness."""
CALM_STEPS = 5
"""It has left after so many such steps in a row."""
PATIENCE_STEPS = 10
"""A warning that has stood for so many steps and does not leave is critical: what a person has to look at for that long does not pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalState:
    """One signal after one step. `stood` counts steps since it left ok, `calm` the last ones in a row below `LEAVE`; `earlier` are the
    steps that it is compared with while it stands."""

    severity: Severity = "ok"
    message: str = ""
    stood: int = 0
    calm: int = 0
    earlier: tuple[StepMetrics, ...] = ()


OK = SignalState()
ALL_OK: Mapping[str, SignalState] = dict.fromkeys(SIGNALS, OK)


def next_states(states: Mapping[str, SignalState], history: Sequence[StepMetrics]) -> dict[str, SignalState]:
    """The states after the last step of `history`, oldest first, of which the last `RECENT + EARLIER` steps suffice."""
    return {name: next_state(states[name], signal, history) for name, signal in SIGNALS.items()}


def next_state(state: SignalState, signal: Signal, history: Sequence[StepMetrics]) -> SignalState:
    if state.severity == "ok" or _of_another_phase(state, history):
        return _entered(signal, history)
    reading = signal(history, state.earlier)
    if reading is None:
        return state
    if reading.badness < LEAVE:
        calm = state.calm + 1
        return OK if calm >= CALM_STEPS else replace(state, stood=state.stood + 1, calm=calm)
    stood = state.stood + 1
    critical = state.severity == "critical" or reading.badness >= CRITICAL or stood > PATIENCE_STEPS
    return replace(state, severity="critical" if critical else "warning", message=reading.message, stood=stood, calm=0)


def _entered(signal: Signal, history: Sequence[StepMetrics]) -> SignalState:
    earlier = steps_before(history)
    reading = signal(history, earlier)
    if reading is None or reading.badness < WARNING:
        return OK
    severity: Severity = "critical" if reading.badness >= CRITICAL else "warning"
    return SignalState(severity=severity, message=reading.message, stood=1, earlier=tuple(earlier))


def _of_another_phase(state: SignalState, history: Sequence[StepMetrics]) -> bool:
    """Whether the newest steps are all of a later phase than the one in which the signal began: a comparison with that one says nothing
    any more. Until then the signal stands, so that the first steps of a phase do not look healthy."""
    if not state.earlier or len(history) < RECENT:
        return False
    began = state.earlier[-1].phase_index
    return all(metrics.phase_index != began for metrics in history[-RECENT:])
