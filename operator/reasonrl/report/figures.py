"""Turns runs into Plotly figures: plain dictionaries of traces and layout, which the page's script draws.

One run: a colour for each series. Several runs: a colour for each run, and a dash for each series, so that a run looks the same in
all pictures. Every trace carries `meta: {run, series}`, by which the page's legends turn it on and off.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reasonrl.report.curves import PERCENT, Curves, Jump, Series
from reasonrl.report.marks import event_marks, phase_bands
from reasonrl.report.palette import INK, color, dash
from reasonrl.report.plotly_text import plain
from reasonrl.report.read import RunRecord
from reasonrl.report.smoothing import smoothed, thinned

POINTS_DRAWN = 1500
"""A longer curve is thinned to this many points."""

Json = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class LegendEntry:
    series: str
    color: str
    dash: str
    shown: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """`legend` is empty when there is only one series to tell. `height` in pixels."""

    id: str
    title: str
    unit: str
    caption: str
    legend: Sequence[LegendEntry]
    data: Sequence[Json]
    layout: Json
    height: int = 280


def step_figure(curves: Curves, runs: Sequence[RunRecord], *, window: int) -> Figure:
    """`curves` of all runs over training steps, raw and faint beneath smoothed over `window` steps."""
    several = len(runs) > 1
    data: list[Json] = []
    for run_index, run in enumerate(runs):
        for series_index, series in enumerate(curves.series):
            look = color(run_index if several else series_index)
            data += _step_traces(
                curves,
                series,
                run,
                window=window,
                look={"color": look, "dash": dash(series_index) if several else "solid"},
                meta={"run": run_index, "series": series.name},
                with_raw=series_index == 0 or not several,
            )
    shapes, annotations = phase_bands(runs)
    flat = all(not series.value(step) for series in curves.series for run in runs for step in run.steps)
    scale: Json = {"range": [0, 0.05]} if flat else {"rangemode": "tozero"}
    if curves.log_scale:
        scale = {"type": "log", "tickformat": "~e", "nticks": 5}
    layout = base_layout(x_title="step", y_title=curves.unit, y_format=_tick_format(curves.format), x_axis=step_axis(runs), y_axis=scale)
    layout["shapes"] = [*shapes, *event_marks(runs)]
    layout["annotations"] = annotations
    layout["margin"] = _margin(annotations)
    if any(series.second_axis for series in curves.series):
        layout["yaxis2"] = second_axis(curves.second_unit)
    return Figure(
        id=curves.id,
        title=curves.title,
        unit=curves.unit,
        caption=curves.caption,
        legend=_legend(curves.series, several=several),
        data=data,
        layout=layout,
    )


def _step_traces(
    curves: Curves,
    series: Series,
    run: RunRecord,
    *,
    window: int,
    look: Mapping[str, str],
    meta: Json,
    with_raw: bool,
) -> list[Json]:
    values = [_finite(series.value(step)) for step in run.steps]
    if all(value is None for value in values):
        return []
    smooth = values if series.scheduled else smoothed(values, window, breaks=_breaks(run, curves.jumps))
    axis = {"yaxis": "y2"} if series.second_axis else {}
    name = f"{run.label} {series.name}"
    common: Json = {
        "type": "scatter",
        "mode": "lines",
        "name": plain(name),
        "meta": meta,
        "visible": series.shown,
        "showlegend": False,
        **axis,
    }
    traces: list[Json] = []
    if with_raw and window > 1 and not series.scheduled:
        drawn = thinned(values, POINTS_DRAWN)
        traces.append(
            {
                **common,
                "x": [run.steps[i].step for i in drawn],
                "y": rounded([values[i] for i in drawn]),
                "line": {"color": look["color"], "width": 1},
                "opacity": 0.3,
                "hoverinfo": "skip",
            }
        )
    drawn = thinned(smooth, POINTS_DRAWN)
    form = ".3~g" if series.second_axis else curves.format
    traces.append(
        {
            **common,
            "x": [run.steps[i].step for i in drawn],
            "y": rounded([smooth[i] for i in drawn]),
            "customdata": rounded([values[i] for i in drawn]),
            "line": {"color": look["color"], "width": 2.2, "dash": "longdash" if series.second_axis else look["dash"]},
            "hovertemplate": f"{plain(name)} %{{y:{form}}}"
            + (f" (raw %{{customdata:{form}}})" if not series.scheduled else "")
            + "<extra></extra>",
        }
    )
    alone = _alone(smooth)
    if alone:
        dots: Json = {"mode": "markers", "x": [run.steps[i].step for i in alone], "y": rounded([smooth[i] for i in alone])}
        traces.append({**common, **dots, "marker": {"color": look["color"], "size": 5}, "hoverinfo": "skip"})
    return traces


def held_out_figure(runs: Sequence[RunRecord]) -> Figure | None:
    """Accuracy on each benchmark with one standard error; None when nothing was evaluated."""
    benchmarks = list(dict.fromkeys(name for run in runs for name in run.benchmarks))
    if not benchmarks:
        return None
    several = len(runs) > 1
    data: list[Json] = []
    for run_index, run in enumerate(runs):
        for index, benchmark in enumerate(benchmarks):
            found = run.evaluations_of(benchmark)
            if not found:
                continue
            look = color(run_index if several else index)
            name = f"{run.label} {benchmark}"
            data.append(
                {
                    "type": "scatter",
                    "mode": "lines+markers",
                    "name": plain(name),
                    "meta": {"run": run_index, "series": benchmark},
                    "showlegend": False,
                    "x": [each.step for each in found],
                    "y": rounded([each.accuracy for each in found]),
                    "error_y": {
                        "type": "data",
                        "array": rounded([each.accuracy_error for each in found]),
                        "color": look,
                        "thickness": 1.2,
                        "width": 3,
                    },
                    "line": {"color": look, "width": 2, "dash": dash(index) if several else "solid"},
                    "marker": {"color": look, "size": 7},
                    "customdata": [f"± {100 * each.accuracy_error:.1f}, {each.questions} questions × {each.samples}" for each in found],
                    "hovertemplate": f"{plain(name)} %{{y:.1%}} %{{customdata}}<extra></extra>",
                }
            )
    shapes, annotations = phase_bands(runs)
    layout = base_layout(
        x_title="optimizer steps done",
        y_title="share of answers",
        y_format=_tick_format(PERCENT),
        x_axis=step_axis(runs),
        y_axis={"rangemode": "tozero"},
    )
    layout["shapes"] = [*shapes, *event_marks(runs)]
    layout["annotations"] = annotations
    layout["margin"] = _margin(annotations)
    entries = [
        LegendEntry(series=name, color=INK if several else color(i), dash=dash(i) if several else "solid", shown=True)
        for i, name in enumerate(benchmarks)
    ]
    return Figure(
        id="held-out",
        title="Held-out accuracy",
        unit="share of answers",
        caption="pass@1 as the mean over the samples of a question. Bars: one standard error over questions.",
        legend=entries,
        data=data,
        layout=layout,
    )


def warm_start_figure(runs: Sequence[RunRecord]) -> Figure | None:
    """Loss of the supervised warm start over its own steps; None when no run had one."""
    data: list[Json] = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": plain(run.label),
            "meta": {"run": index, "series": "loss"},
            "showlegend": False,
            "x": [point.step for point in run.warm_start],
            "y": rounded([point.loss for point in run.warm_start]),
            "line": {"color": color(index), "width": 2.2},
            "hovertemplate": f"{plain(run.label)} %{{y:.4f}}<extra></extra>",
        }
        for index, run in enumerate(runs)
        if run.warm_start
    ]
    if not data:
        return None
    layout = base_layout(x_title="warm-start step", y_title="nats a token", y_format="~g")
    return Figure(
        id="warm-start",
        title="Warm start",
        unit="nats a token",
        caption="Loss of the supervised training before reinforcement learning.",
        legend=(),
        data=data,
        layout=layout,
    )


def base_layout(
    *, x_title: str, y_title: str, y_format: str, x_axis: Mapping[str, object] | None = None, y_axis: Mapping[str, object] | None = None
) -> Json:
    """What all pictures share; `x_axis` and `y_axis` are what the axes of this one have besides. Colours of the page itself are set by
    its script."""
    return {
        "margin": _margin(()),
        "font": {"size": 12},
        "hovermode": "x unified",
        "showlegend": False,
        "xaxis": {
            "title": {"text": x_title, "standoff": 6},
            "zeroline": False,
            "tickformat": ",d",
            "nticks": 8,
            **(x_axis or {}),
        },
        "yaxis": {
            "title": {"text": y_title, "standoff": 4},
            "zeroline": False,
            "tickformat": y_format,
            "nticks": 6,
            "automargin": True,
            **(y_axis or {}),
        },
    }


def step_axis(runs: Sequence[RunRecord]) -> Json:
    """The same stretch of steps in all pictures, so that one can be held against the other."""
    steps = [each.step for run in runs for part in (run.steps, run.evaluations) for each in part] or [0]
    low, high = min(steps), max(steps)
    margin = max(0.6, 0.015 * (high - low))
    return {"range": [low - margin, high + margin], **({"dtick": 1} if high - low < 8 else {})}


def second_axis(title: str) -> Json:
    return {
        "title": {"text": title, "standoff": 4},
        "overlaying": "y",
        "side": "right",
        "showgrid": False,
        "zeroline": False,
        "rangemode": "tozero",
        "tickformat": "~g",
        "exponentformat": "power",
        "nticks": 5,
        "automargin": True,
    }


def rounded(values: Sequence[float | None]) -> list[float | None]:
    """Five significant digits: no eye sees more, and the page is half as large."""
    return [None if value is None else float(f"{value:.5g}") for value in values]


def _breaks(run: RunRecord, jumps: Jump | None) -> set[int]:
    """Places in the run's steps before which smoothing forgets."""
    if jumps is None:
        return set()
    kept = [step.phase_index if jumps == "phase" else step.reference_resets for step in run.steps]
    return {place for place in range(1, len(kept)) if kept[place] != kept[place - 1]}


def _alone(values: Sequence[float | None]) -> list[int]:
    """Places of values between two unknown ones, which no line would show."""
    around = [None, *values, None]
    return [i for i, value in enumerate(values) if value is not None and around[i] is None and around[i + 2] is None]


def _margin(labels: Sequence[Json]) -> Json:
    """Room above for the phases' labels where there are any."""
    return {"l": 58, "r": 14, "t": 24 if labels else 10, "b": 40}


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _tick_format(value_format: str) -> str:
    return "~%" if value_format.endswith("%") else "~s" if value_format == ",.0f" else "~g"


def _legend(series: Sequence[Series], *, several: bool) -> list[LegendEntry]:
    if len(series) < 2:
        return []
    return [
        LegendEntry(
            series=each.name,
            color=INK if several else color(index),
            dash="longdash" if each.second_axis else dash(index) if several else "solid",
            shown=each.shown,
        )
        for index, each in enumerate(series)
    ]
