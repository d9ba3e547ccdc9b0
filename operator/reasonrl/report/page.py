"""One HTML file that needs nothing else: no server, no network, no second file.

It is made to be kept beside a run, mailed, and printed. The page forbids itself every connection (Content-Security-Policy), so text
that a model wrote cannot fetch anything even if it slipped through escaping.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from reasonrl.report.answers import Answer
from reasonrl.report.curves import LEARNING, SECTIONS, curves_of
from reasonrl.report.figures import Figure, held_out_figure, step_figure, warm_start_figure
from reasonrl.report.headline import headline
from reasonrl.report.palette import color, on_dark
from reasonrl.report.read import RunRecord
from reasonrl.report.settings import differing_settings
from reasonrl.report.smoothing import default_window
from reasonrl.report.tables import evaluation_rows, event_rows, run_rows
from reasonrl.report.time_figures import stage_figure, timeline_figure
from reasonrl.report.wording import moment

_PAIRS_OF_ONE, _PAIRS_OF_EACH = 4, 2
_LETTERS_SHOWN = 6000


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    title: str
    figures: Sequence[Figure]


def render_page(runs: Sequence[RunRecord], *, title: str | None = None, window: int | None = None) -> str:
    """The page of these runs (at least one). `window` is the smoothing in steps; None chooses it by the longest run."""
    if not runs:
        raise ValueError("a report needs at least one run")
    smoothing = window if window is not None else default_window(max(len(run.steps) for run in runs))
    sections = page_sections(runs, window=smoothing)
    figures = {figure.id: {"data": figure.data, "layout": figure.layout} for section in sections for figure in section.figures}
    environment = Environment(
        loader=PackageLoader("reasonrl.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["shortened"] = shortened
    environment.filters["verdict"] = verdict
    return environment.get_template("page.html.jinja").render(
        title=title or " · ".join(run.label for run in runs),
        headline=headline(runs),
        written=moment(time.time()),
        smoothing=smoothing,
        runs=run_rows(runs),
        colors=[color(index) for index in range(len(runs))],
        sections=sections,
        evaluations=evaluation_rows(runs),
        warnings=event_rows(runs),
        problems=[(run.label, problem) for run in runs for problem in run.problems],
        settings=differing_settings(runs) if len(runs) > 1 else [],
        jobs=[(run.label, run.job_text) for run in runs if run.job_text],
        answers=[(index, run.label, run.answers[: _PAIRS_OF_ONE if len(runs) == 1 else _PAIRS_OF_EACH]) for index, run in enumerate(runs)],
        figures=json_for_script({"figures": figures, "dark": on_dark()}),
        style=_packaged("page.css"),
        script=_packaged("page.js"),
        plotly=get_plotlyjs(),
    )


def page_sections(runs: Sequence[RunRecord], *, window: int) -> list[Section]:
    """All figures that the runs have data for, in the order of the page."""
    curves = curves_of([step for run in runs for step in run.steps])
    by_section = {name: [step_figure(each, runs, window=window) for each in curves if each.section == name] for name in SECTIONS}
    held_out, warm_start, stages = held_out_figure(runs), warm_start_figure(runs), stage_figure(runs)
    learning = by_section[LEARNING]
    by_section[LEARNING] = [*([held_out] if held_out else []), *learning, *([warm_start] if warm_start else [])]
    by_section[SECTIONS[-1]] += [stages] if stages else []
    timeline = [Section(title="Timeline", figures=[timeline_figure(runs)])] if any(run.steps for run in runs) else []
    return timeline + [Section(title=name, figures=figures) for name, figures in by_section.items() if figures]


def write_page(page: str, path: Path) -> None:
    """Writes aside and renames, so that a reader of an older page never sees half of this one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(page, encoding="utf-8")
    aside.replace(path)


def json_for_script(value: object) -> str:
    """JSON that can stand inside a script element: it holds no `<`, so no tag can end or open there."""

    def plain(other: object) -> object:
        raise TypeError(f"{type(other).__name__} in a figure")

    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=plain)
    return (
        text.replace("<", "\\u003c")
        .replace(">", "\\u003e")
        .replace("&", "\\u0026")
        .replace("\u2028", "\\u2028")
        .replace("\u2029", "\\u2029")
    )


def shortened(text: str) -> str:
    """Beginning and end of a very long answer."""
    if len(text) <= _LETTERS_SHOWN:
        return text
    half = _LETTERS_SHOWN // 2
    return f"{text[:half]}\n\n[… {len(text) - 2 * half:,} letters left out …]\n\n{text[-half:]}"


def verdict(answer: Answer) -> Mapping[str, str]:
    """What the answer's badge says, and its style."""
    word = {True: "right", False: "wrong", None: "unscored"}[answer.correct]
    return {"word": word, "style": word}


def _packaged(name: str) -> str:
    return files("reasonrl.report").joinpath("templates", name).read_text(encoding="utf-8")
