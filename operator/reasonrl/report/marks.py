"""What happened in a run, drawn behind its curves: phases as shaded bands, resets, checkpoints and warnings as lines and ticks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reasonrl.api.run_files import Event
from reasonrl.report.palette import INK, WARNING, color
from reasonrl.report.plotly_text import plain
from reasonrl.report.read import RunRecord

Json = dict[str, object]

ROUTINE = frozenset(
    {
        "PhaseEntered",
        "CheckpointSaved",
        "ReferenceReset",
        "Completed",
        "Resumed",
        "WarmStartFinished",
        "Note",
        "EditApplied",
        "RolloutJoined",
        "RolloutLeft",
    }
)
"""Events that a healthy run has. Every other is shown as something to look at."""

_BAND_FILLS = ("rgba(120,130,150,0.00)", "rgba(120,130,150,0.13)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One stretch of a run under one phase. `end` is the first step that is no longer in it."""

    name: str
    index: int
    start: int
    end: int
    max_response_tokens: int

    @property
    def label(self) -> str:
        return f"{self.name} · {self.max_response_tokens:,} tokens"


def phases_of(run: RunRecord) -> list[Phase]:
    """The phases that the run has been in, in order."""
    found: list[Phase] = []
    for step in run.steps:
        start = step.step
        if found and (found[-1].index, found[-1].name, found[-1].max_response_tokens) == (
            step.phase_index,
            step.phase,
            step.max_response_tokens,
        ):
            start = found.pop().start
        found.append(
            Phase(name=step.phase, index=step.phase_index, start=start, end=step.step + 1, max_response_tokens=step.max_response_tokens)
        )
    return found


def phase_bands(runs: Sequence[RunRecord]) -> tuple[list[Json], list[Json]]:
    """Shapes and labels. Runs that went through the same phases share one shading; else each run's changes of phase are lines of its
    colour, as bands over each other would say nothing."""
    every = [phases_of(run) for run in runs]
    longest = max(every, key=lambda phases: phases[-1].end if phases else 0, default=[])
    if all(_agrees(phases, longest) for phases in every):
        return [_band(phase) for phase in longest], [_band_label(phase) for phase in longest]
    shapes = [
        _line(phase.start, run=index, look=color(index), dash="dot", width=1.5)
        for index, phases in enumerate(every)
        for phase in phases[1:]
    ]
    return shapes, []


def event_marks(runs: Sequence[RunRecord]) -> list[Json]:
    """Reference resets as dashed lines, checkpoints as ticks at the foot, anything out of the ordinary as ticks at the head."""
    several = len(runs) > 1
    marks: list[Json] = []
    for index, run in enumerate(runs):
        look = color(index) if several else INK
        for step in _steps_of(run.events, "ReferenceReset"):
            marks.append(_line(step, run=index, look=look, dash="dash", width=1))
        for step in _steps_of(run.events, "CheckpointSaved"):
            marks.append(_tick(step, run=index, look=look, foot=0.0, head=0.035))
        for step in sorted({event.step for event in run.events if event.reason not in ROUTINE}):
            marks.append(_tick(step, run=index, look=color(index) if several else WARNING, foot=0.95, head=1.0))
    return marks


def _steps_of(events: Sequence[Event], reason: str) -> list[int]:
    return sorted({event.step for event in events if event.reason == reason})


def _agrees(phases: Sequence[Phase], longest: Sequence[Phase]) -> bool:
    """Whether the run, as far as it came, entered the same phases at the same steps."""
    starts = [(phase.name, phase.start, phase.max_response_tokens) for phase in phases]
    return starts == [(phase.name, phase.start, phase.max_response_tokens) for phase in longest[: len(phases)]] and (
        len(phases) == len(longest) or not phases or phases[-1].end <= longest[len(phases)].start
    )


def _band(phase: Phase) -> Json:
    return {
        "type": "rect",
        "xref": "x",
        "yref": "paper",
        "x0": phase.start - 0.5,
        "x1": phase.end - 0.5,
        "y0": 0,
        "y1": 1,
        "layer": "below",
        "line": {"width": 0},
        "fillcolor": _BAND_FILLS[phase.index % 2],
    }


def _band_label(phase: Phase) -> Json:
    """The page's script shortens it where the band is narrow: `name` holds what it must fit between, `hovertext` all of it."""
    return {
        "name": f"phase {phase.start} {phase.end}",
        "text": plain(phase.label),
        "hovertext": plain(phase.label),
        "xref": "x",
        "yref": "paper",
        "x": phase.start - 0.5,
        "y": 1,
        "xanchor": "left",
        "yanchor": "bottom",
        "showarrow": False,
        "font": {"size": 11},
    }


def _line(step: int, *, run: int, look: str, dash: str, width: float) -> Json:
    return {
        "type": "line",
        "name": f"run {run}",
        "xref": "x",
        "yref": "paper",
        "x0": step - 0.5,
        "x1": step - 0.5,
        "y0": 0,
        "y1": 1,
        "layer": "below",
        "line": {"color": look, "width": width, "dash": dash},
    }


def _tick(step: int, *, run: int, look: str, foot: float, head: float) -> Json:
    return {**_line(step, run=run, look=look, dash="solid", width=1.5), "y0": foot, "y1": head}
