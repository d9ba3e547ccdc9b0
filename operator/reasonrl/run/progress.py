"""How far a run has come: all the state of the loop that the trainer does not hold.

It is small, it is JSON, and it is written into each checkpoint. Whatever can be computed from the step (schedules, seeds, the order
of questions) is not in it, so it cannot go out of step with the rest.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

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


def write_progress(path: Path, progress: Progress) -> None:
    path.write_text(json.dumps(asdict(progress), indent=1))


def read_progress(path: Path) -> Progress:
    raw = json.loads(path.read_text())
    raw["phase_signals"] = [StepSignals(**signals) for signals in raw["phase_signals"]]
    raw["scores"] = {int(step): found for step, found in raw["scores"].items()}
    return Progress(**raw)
