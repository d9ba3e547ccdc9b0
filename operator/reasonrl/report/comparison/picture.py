"""The figure of a comparison as a picture file, for a paper or a README. It takes matplotlib, which nothing else of a report does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reasonrl.report.comparison.arms import Comparison, Panel
from reasonrl.report.comparison.bands import band_of
from reasonrl.report.comparison.measures import MEASURES, Measure
from reasonrl.report.palette import color

DRAWN = ("reward", "length", "testAccuracy")
_INCHES = (3.7, 2.45)
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
        panels, width, height = comparison.panels, len(DRAWN) * _INCHES[0], len(comparison.panels) * _INCHES[1]
        figure, grid = pyplot.subplots(len(panels), len(DRAWN), figsize=(width, height), layout="constrained", squeeze=False)
        try:
            for panel, row in zip(panels, grid, strict=True):
                _draw_row(panel, row, window=window)
            path.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path, dpi=160, metadata={"Date": None} if path.suffix == ".svg" else None)
        finally:
            pyplot.close(figure)


def _draw_row(panel: Panel, row: Sequence[Any], *, window: int) -> None:
    for name, axes in zip(DRAWN, row, strict=True):
        measure = MEASURES[name]
        _draw_arms(panel, measure, axes, window=window)
        axes.set_title(measure.title + (" (%)" if measure.form == "percent" else ""), fontsize=8.5)
        axes.set_xlabel("step")
    row[0].set_ylabel(panel.title, fontsize=9, fontweight="bold")
    row[0].legend(frameon=False, fontsize=7)


def _draw_arms(panel: Panel, measure: Measure, axes: Any, *, window: int) -> None:
    scale = 100 if measure.form == "percent" else 1
    for index, arm in enumerate(panel.arms):
        band = band_of(arm, measure, window=window)
        if band is None:
            continue
        marker = "o" if measure.of_evaluation is not None else None
        label = f"{arm.title} ({band.seeds} seeds)" if band.seeds > 1 else f"{arm.title} (1 seed)"
        axes.plot(band.steps, [scale * value for value in band.mean], color=color(index), lw=1.4, marker=marker, ms=2.5, label=label)
        if band.seeds > 1:
            low, high = ([scale * value for value in edge] for edge in (band.low, band.high))
            axes.fill_between(band.steps, low, high, color=color(index), alpha=0.15, lw=0)
