"""One HTML file of a comparison, in the manner of a report: it needs no server, no network and no second file."""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from reasonrl.report.comparison.arms import Comparison
from reasonrl.report.comparison.panels import fills_on_dark, panel_rows
from reasonrl.report.comparison.tables import arm_rows, column_titles, tally, verdict_rows
from reasonrl.report.comparison.verdicts import Verdict
from reasonrl.report.page import json_for_script
from reasonrl.report.palette import on_dark
from reasonrl.report.wording import counted, moment


def render_comparison(comparison: Comparison, verdicts: Sequence[Verdict], *, window: int) -> str:
    """`window` is the smoothing of training curves in steps."""
    rows = panel_rows(comparison.panels, comparison.arms, window=window)
    figures = {figure.id: {"data": figure.data, "layout": figure.layout} for row in rows for figure in row.figures}
    environment = Environment(
        loader=PackageLoader("reasonrl.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("comparison.html.jinja").render(
        title=comparison.title,
        headline=tally(verdicts) if verdicts else "No claims were given to check.",
        counted=_counted(comparison),
        written=moment(time.time()),
        problems=comparison.problems,
        arms=arm_rows(comparison.arms),
        columns=column_titles(),
        verdicts=verdict_rows(verdicts),
        rows=rows,
        figures=json_for_script({"figures": figures, "dark": on_dark() | fills_on_dark()}),
        style=_packaged("page.css"),
        script=_packaged("page.js"),
        plotly=get_plotlyjs(),
    )


def _counted(comparison: Comparison) -> str:
    runs = sum(len(arm.runs) for arm in comparison.arms)
    return f"{counted(len(comparison.arms), 'arm')}, {counted(runs, 'finished run')}."


def _packaged(name: str) -> str:
    return files("reasonrl.report").joinpath("templates", name).read_text(encoding="utf-8")
