"""The figure of a comparison as a picture file, for a paper or a README. It takes matplotlib, which nothing else of a report does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from reasonrl.report.comparison.arms import Comparison, Panel
from reasonrl.report.comparison.bands import band_of
from reasonrl.report.comparison.measures import MEASURES, Measure
from reasonrl.report.palette import color

DRAWN = ("reward", "length", "testAccuracy")
_INCHES = (3.7, 2.6)
_CAPTION_INCHES = 0.3
_FORMATS = (".svg", ".png", ".pdf")


class PictureError(Exception):
    """The picture cannot be drawn; the message says what to do."""


def draw_picture(comparison: Comparison, path: Path, *, window: int) -> None:
    """A row for each panel, a column for each of reward, response length and test accuracy. The suffix of `path` says the format.

    Raises PictureError, without matplotlib and for another suffix; OSError where nothing can be written.
    """
    if path.suffix not in _FORMATS:
        raise PictureError(f"{path}: the name must end in one of {', '.join(_FORMATS)}")
    try:
        import matplotlib
    except ImportError as error:
        raise PictureError(
            "a picture takes matplotlib, which is not installed: pip install matplotlib; the HTML page does without"
        ) from error
    matplotlib.use("agg")
    from matplotlib import pyplot

    style = {"svg.hashsalt": "comparison", "font.size": 8, "axes.spines.top": False, "axes.spines.right": False}
    with matplotlib.rc_context(style):
        panels = comparison.panels
        size = (len(DRAWN) * _INCHES[0], len(panels) * _INCHES[1] + _CAPTION_INCHES)
        figure = pyplot.figure(figsize=size, layout="constrained")
        try:
            # A part of its own for each panel, so that its title has a line of its own.
            rows = figure.subfigures(len(panels) + 1, 1, height_ratios=[*[_INCHES[1]] * len(panels), _CAPTION_INCHES], squeeze=False)
            for panel, (part,) in zip(panels, rows, strict=False):
                _draw_panel(panel, part, window=window)
            rows[-1][0].text(0.01, 0.5, _caption(comparison, window=window), fontsize=7.5, va="center", color="0.35")
            path.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path, dpi=160, metadata={"Date": None} if path.suffix == ".svg" else None)
        finally:
            pyplot.close(figure)


def _caption(comparison: Comparison, *, window: int) -> str:
    counts = sorted({len(arm.runs) for arm in comparison.arms if arm.runs})
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    smoothing = f"; training curves are smoothed over {window} steps" if window > 1 else ""
    return (
        f"{comparison.title}: {seeds} seeds an arm. Lines are means over seeds, bands reach from the lowest to the highest seed{smoothing}."
    )


def _draw_panel(panel: Panel, part: Any, *, window: int) -> None:
    part.suptitle(panel.title, x=0.01, ha="left", fontsize=9.5, fontweight="bold")
    row = part.subplots(1, len(DRAWN))
    for name, axes in zip(DRAWN, row, strict=True):
        measure = MEASURES[name]
        _draw_arms(panel, measure, axes, window=window)
        unit = {"percent": " (%)", "tokens": " (tokens)", "number": ""}[measure.form]
        axes.set_title(measure.title + unit, fontsize=8.5)
        axes.set_xlabel("step")
    row[0].legend(frameon=False, fontsize=7)


def _draw_arms(panel: Panel, measure: Measure, axes: Any, *, window: int) -> None:
    scale = 100 if measure.form == "percent" else 1
    for index, arm in enumerate(panel.arms):
        band = band_of(arm, measure, window=window)
        if band is None:
            continue
        marker = "o" if measure.of_evaluation is not None else None
        axes.plot(band.steps, [scale * value for value in band.mean], color=color(index), lw=1.4, marker=marker, ms=2.5, label=arm.title)
        if band.seeds > 1:
            low, high = ([scale * value for value in edge] for edge in (band.low, band.high))
            axes.fill_between(band.steps, low, high, color=color(index), alpha=0.15, lw=0)
