"""Where a run's time went, and when things happened to it."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from reasonrl.api.run_files import StepMetrics
from reasonrl.report.figures import Figure, Json, LegendEntry, base_layout, rounded, step_axis
from reasonrl.report.marks import ROUTINE, phases_of
from reasonrl.report.palette import INK, WARNING, color
from reasonrl.report.plotly_text import plain
from reasonrl.report.read import RunRecord

STAGES = ("rollout", "grade", "reference", "update", "weight_sync", "checkpoint", "evaluation")
OTHER = "other"
_BARS = 80
_PHASE_FILLS = ("#556277", "#6f7c90")


def stage_figure(runs: Sequence[RunRecord]) -> Figure | None:
    """Seconds by stage: over the steps of one run, or as the mean step of each of several. None when no run has a step."""
    measured = [run for run in runs if run.steps]
    if not measured:
        return None
    stages = [stage for stage in _stages(measured) if any(seconds_of(step, stage) > 0 for run in measured for step in run.steps)]
    return _stages_of_one(measured[0], stages) if len(runs) == 1 else _stages_of_several(runs, stages)


def seconds_of(step: StepMetrics, stage: str) -> float:
    """Seconds of one stage; `other` is what the step's total holds beyond its stages."""
    if stage == OTHER:
        return max(0.0, step.seconds.get("total", 0.0) - sum(seconds for name, seconds in step.seconds.items() if name != "total"))
    return step.seconds.get(stage, 0.0)


def _stages(runs: Sequence[RunRecord]) -> list[str]:
    seen = {name for run in runs for step in run.steps for name in step.seconds} - {"total"}
    return [*(stage for stage in STAGES if stage in seen), *sorted(seen - set(STAGES)), OTHER]


def _stages_of_one(run: RunRecord, stages: Sequence[str]) -> Figure:
    size = -(-len(run.steps) // _BARS)
    bins = [run.steps[start : start + size] for start in range(0, len(run.steps), size)]
    data: list[Json] = [
        {
            "type": "bar",
            "name": plain(stage),
            "meta": {"run": 0, "series": stage.replace("_", " ")},
            "x": [(steps[0].step + steps[-1].step) / 2 for steps in bins],
            "width": [steps[-1].step - steps[0].step + 1 for steps in bins],
            "y": rounded([statistics.fmean(seconds_of(step, stage) for step in steps) for steps in bins]),
            "marker": {"color": color(index), "line": {"width": 0}},
            "hovertemplate": f"{plain(stage)} %{{y:.3~g}} s<extra></extra>",
        }
        for index, stage in enumerate(stages)
    ]
    layout = base_layout(x_title="step", y_title="seconds a step", y_format="~g", x_axis=step_axis([run]))
    layout |= {"barmode": "stack", "bargap": 0}
    return Figure(
        id="stages",
        title="Seconds by stage",
        unit="seconds a step",
        caption="Where the time of a step goes" + (f"; each bar is the mean of {size} steps." if size > 1 else "."),
        legend=_stage_legend(stages),
        data=data,
        layout=layout,
    )


def _stages_of_several(runs: Sequence[RunRecord], stages: Sequence[str]) -> Figure:
    data: list[Json] = [
        {
            "type": "bar",
            "orientation": "h",
            "name": plain(stage),
            "meta": {"run": run_index, "series": stage.replace("_", " ")},
            "x": rounded([statistics.fmean(seconds_of(step, stage) for step in run.steps)]),
            "y": [run_index],
            "marker": {"color": color(index)},
            "hovertemplate": f"{plain(run.label)}: {plain(stage)} %{{x:.3~g}} s<extra></extra>",
        }
        for index, stage in enumerate(stages)
        for run_index, run in enumerate(runs)
        if run.steps
    ]
    layout = base_layout(
        x_title="seconds a step, mean over the run", y_title="", y_format="", x_axis={"tickformat": "~g"}, y_axis=_run_axis(runs)
    )
    layout |= {"barmode": "stack", "bargap": 0.35, "hovermode": "closest"}
    return Figure(
        id="stages",
        title="Seconds by stage",
        unit="seconds a step",
        caption="Where the time of a step goes, as a mean over each run.",
        legend=_stage_legend(stages),
        data=data,
        layout=layout,
    )


def timeline_figure(runs: Sequence[RunRecord]) -> Figure:
    """One row for each run: its phases, and what happened when. Pointing at a mark shows the event's message."""
    data: list[Json] = []
    for index, run in enumerate(runs):
        phases = phases_of(run)
        data.append(
            {
                "type": "bar",
                "orientation": "h",
                "meta": {"run": index, "series": "phases"},
                "y": [index] * len(phases),
                "base": [phase.start - 0.5 for phase in phases],
                "x": [phase.end - phase.start for phase in phases],
                "width": 0.42,
                "text": [plain(phase.label) for phase in phases],
                "textposition": "inside",
                "insidetextanchor": "start",
                "textangle": 0,
                "constraintext": "none",
                "cliponaxis": True,
                "textfont": {"color": "#ffffff", "size": 11},
                "marker": {"color": [_PHASE_FILLS[phase.index % 2] for phase in phases]},
                "hovertemplate": [
                    f"{plain(phase.label)}<br>steps {phase.start:,} to {phase.end - 1:,}<extra>{plain(run.label)}</extra>"
                    for phase in phases
                ],
            }
        )
        look = color(index) if len(runs) > 1 else INK
        for reasons, symbol, offset, shade in (
            ({"CheckpointSaved"}, "line-ns-open", -0.36, look),
            ({"ReferenceReset"}, "diamond", -0.36, look),
            (None, "triangle-up", 0.36, WARNING),
        ):
            events = [event for event in run.events if (event.reason in reasons if reasons else event.reason not in ROUTINE)]
            if events:
                data.append(
                    {
                        "type": "scatter",
                        "mode": "markers",
                        "meta": {"run": index, "series": "events"},
                        "x": [event.step - 0.5 for event in events],
                        "y": [index + offset] * len(events),
                        "marker": {"symbol": symbol, "size": 9, "color": shade, "line": {"color": shade, "width": 1.5}},
                        "customdata": [plain(f"{event.reason}: {event.message}"[:300]) for event in events],
                        "hovertemplate": f"step %{{x:,.0f}} %{{customdata}}<extra>{plain(run.label)}</extra>",
                    }
                )
    layout = base_layout(x_title="step", y_title="", y_format="", x_axis=step_axis(runs), y_axis=_run_axis(runs))
    layout |= {"barmode": "overlay", "hovermode": "closest"}
    layout["margin"] = {"l": 14, "r": 14, "t": 8, "b": 40}
    return Figure(
        id="timeline",
        title="What happened when",
        unit="step",
        caption="Bars: phases with their response limit. | checkpoint saved, ◆ reference reset, ▲ something to look at.",
        legend=(),
        data=data,
        layout=layout,
        height=70 + 62 * len(runs),
    )


def _run_axis(runs: Sequence[RunRecord]) -> Json:
    """Runs from top to bottom in the order given; numbers as places, so that no label can be taken for one."""
    several = len(runs) > 1
    return {
        "tickvals": list(range(len(runs))),
        "ticktext": [plain(run.label) if len(run.label) <= 24 else plain(run.label[:23]) + "…" for run in runs],
        "showticklabels": several,
        "range": [len(runs) - 0.45, -0.55],
        "showgrid": False,
        "title": {"text": ""},
    }


def _stage_legend(stages: Sequence[str]) -> list[LegendEntry]:
    return [LegendEntry(series=stage.replace("_", " "), color=color(index), dash="solid", shown=True) for index, stage in enumerate(stages)]
