"""How far a run has come: all the state of the loop that the trainer does not hold.

It is small, it is JSON, and it is written into each checkpoint. Whatever can be computed from the step (schedules, seeds, the order
of questions) is not in it, so it cannot go out of step with the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from reasonrl.api.phase_trigger import StepSignals

PROGRESS_FILE = "progress.json"


@dataclass(slots=True, kw_only=True)
class Progress:
    """`step` counts finished steps, so it is also the number of the next one and the version of the current weights.

    `phase_signals` are what the triggers of the current phase look at; `scores` the metrics of evaluated steps, for keeping the best
    checkpoints; `evaluated_step` the step whose weights were evaluated last; `awaiting_advance` is set while a phase that needs a
    person's word is due.
    """

    step: int = 0
    phase_index: int = 0
    phase_step: int = 0
    cursor: int = 0
    adaptive_kl: float | None = None
    adaptive_entropy: float | None = None
    reference_resets: int = 0
    phase_signals: list[StepSignals] = field(default_factory=list)
    scores: dict[int, dict[str, float]] = field(default_factory=dict)
    evaluated_step: int | None = None
    awaiting_advance: bool = False
    finished: bool = False
