"""The report's Figure 1 as Plotly figures: a row for each panel, and in it reward, response length and test accuracy of its arms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reasonrl.report.comparison.arms import Arm, Panel
from reasonrl.report.comparison.bands import Band, band_of
from reasonrl.report.comparison.measures import MEASURES, Form, Measure
from reasonrl.report.figures import Figure, Json, LegendEntry, base_layout, rounded, step_axis
from reasonrl.report.palette import DARK, LIGHT, color
from reasonrl.report.plotly_text import plain

DRAWN = ("reward", "length", "testAccuracy", "entropy")
"""A column of the figure each: the report's own two, with the reward that its text speaks of, and entropy."""
_FILL, _FILL_ON_DARK = 0.16, 0.22
_FORMATS: Mapping[Form, tuple[str, str]] = {"percent": ("~%", ".1%"), "tokens": ("~s", ",.0f"), "number": ("~g", ".3~g")}


@dataclass(frozen=True, slots=True, kw_only=True)
class PanelRow:
    title: str
    figures: Sequence[Figure]


def panel_rows(panels: Sequence[Panel], arms: Sequence[Arm], *, window: int) -> list[PanelRow]:
    """Rows that have something to show. `arms` are all of the comparison: their order is what the page's script knows them by."""
    places = {arm.name: index for index, arm in enumerate(arms)}
    rows = []
    for number, panel in enumerate(panels):
        figures = [_figure(number, name, panel, places, window=window) for name in DRAWN]
        kept = [figure for figure in figures if figure is not None]
        if kept:
            rows.append(PanelRow(title=panel.title, figures=kept))
    return rows


def fills_on_dark() -> dict[str, str]:
    """What the page's script swaps on a dark screen, for the bands."""
    return {_fill(light, _FILL): _fill(dark, _FILL_ON_DARK) for light, dark in zip(LIGHT, DARK, strict=True)}


def _figure(number: int, name: str, panel: Panel, places: Mapping[str, int], *, window: int) -> Figure | None:
    measure = MEASURES[name]
    data: list[Json] = []
    legend: list[LegendEntry] = []
    for index, arm in enumerate(panel.arms):
        band = band_of(arm, measure, window=window)
        if band is None:
            continue
        look = color(index)
        data += _traces(arm, band, measure, look=look, run=places[arm.name])
        legend.append(LegendEntry(series=arm.title, color=look, dash="solid", shown=True))
    if not data:
        return None
    axis, _ = _FORMATS[measure.form]
    runs = [run for arm in panel.arms for run in arm.runs.values()]
    layout = base_layout(
        x_title="optimizer steps done" if measure.of_evaluation is not None else "step",
        y_title=measure.unit,
        y_format=axis,
        x_axis=step_axis(runs),
    )
    smoothing = "" if measure.of_evaluation is not None or window == 1 else f", smoothed over {window} steps"
    return Figure(
        id=f"panel-{number}-{name}",
        title=measure.title.capitalize(),
        unit=measure.unit,
        caption=f"Mean over seeds{smoothing}; band: lowest to highest seed.",
        legend=legend,
        data=data,
        layout=layout,
        height=250,
    )


def _traces(arm: Arm, band: Band, measure: Measure, *, look: str, run: int) -> list[Json]:
    common: Json = {
        "type": "scatter",
        "meta": {"run": run, "series": arm.title},
        "showlegend": False,
        "x": list(band.steps),
    }
    edge: Json = {**common, "mode": "lines", "line": {"width": 0, "color": look}, "hoverinfo": "skip"}
    _, value = _FORMATS[measure.form]
    evaluations = measure.of_evaluation is not None
    spread = [f"{low:.4g} to {high:.4g}" for low, high in zip(band.low, band.high, strict=True)]
    mean: Json = {
        **common,
        "name": plain(arm.title),
        "mode": "lines+markers" if evaluations or len(band.steps) == 1 else "lines",
        "y": rounded(list(band.mean)),
        "line": {"color": look, "width": 2.2},
        "marker": {"color": look, "size": 5},
        "customdata": spread,
        "hovertemplate": f"{plain(arm.title)} %{{y:{value}}} (seeds %{{customdata}})<extra></extra>",
    }
    if band.seeds < 2:
        return [mean]
    filled: Json = {"fill": "tonexty", "fillcolor": _fill(look, _FILL)}
    return [{**edge, "y": rounded(list(band.low))}, {**edge, **filled, "y": rounded(list(band.high))}, mean]


def _fill(hexadecimal: str, opacity: float) -> str:
    red, green, blue = (int(hexadecimal[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"
