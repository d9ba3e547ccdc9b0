from __future__ import annotations

import json

import plotly.graph_objects as go
import pytest

from reasonrl.report.curves import curves_of
from reasonrl.report.figures import held_out_figure, step_figure
from reasonrl.report.marks import phases_of
from reasonrl.report.page import page_sections
from reasonrl.report.read import read_run, read_runs
from reasonrl.report.smoothing import smoothed
from reasonrl.report.time_figures import OTHER, seconds_of, stage_figure, timeline_figure

EVERY_FIGURE = {
    "timeline",
    "held-out",
    "reward",
    "accuracy",
    "reward-components",
    "groups",
    "kept",
    "selection",
    "refills",
    "repetition",
    "distinct-ngrams",
    "warm-start",
    "length",
    "length-by-correctness",
    "completed",
    "kl",
    "entropy",
    "gradient-norm",
    "clip-fraction",
    "reflection",
    "reflection-rate",
    "tokens",
    "sampler-gap",
    "scoring-failures",
    "staleness",
    "stages",
}


def _figures(runs, window=5):
    return {figure.id: figure for section in page_sections(runs, window=window) for figure in section.figures}


@pytest.mark.parametrize("names", [["a"], ["a", "b", "c"]])
def test_every_figure_is_there_and_plotly_knows_all_that_it_says(make_run, names):
    figures = _figures(read_runs([make_run(name) for name in names]))
    assert set(figures) == EVERY_FIGURE
    for figure in figures.values():
        go.Figure(data=list(figure.data), layout=figure.layout)
        assert figure.unit
        json.dumps([figure.data, figure.layout], allow_nan=False)


def test_a_curve_is_drawn_raw_and_smoothed(make_run):
    run = read_run(make_run())
    raw, bold = _figures([run])["reward"].data
    values = [step.reward_mean for step in run.steps]
    assert raw["x"] == bold["x"] == list(range(40))
    assert raw["y"] == pytest.approx(values)
    assert bold["y"] == pytest.approx(smoothed(values, 5), rel=1e-4)
    assert raw["opacity"] < 0.5


def test_without_smoothing_there_is_one_line(make_run):
    (line,) = _figures([read_run(make_run())], window=1)["reward"].data
    assert line["y"] == pytest.approx([0.2 + s / 100 for s in range(40)])


def test_lengths_are_not_smoothed_across_phases_nor_kl_across_resets(make_run, step):
    directory = make_run()
    lines = [step(s, response_length_mean=100.0 if s < 20 else 500.0, kl_k3=0.5 if s < 10 else 0.0) for s in range(40)]
    (directory / "metrics.jsonl").write_text("".join(line.model_dump_json() + "\n" for line in lines))
    figures = _figures([read_run(directory)])
    assert set(figures["length"].data[1]["y"]) == {100.0, 500.0}
    assert set(figures["kl"].data[1]["y"]) == {0.5, 0.0}


def test_what_no_step_measured_has_no_figure_and_what_some_did_has_gaps(make_run, step):
    directory = make_run()
    nothing = {"kl_k1": None, "kl_k2": None, "kl_k3": None, "reflection_share": {}, "reflection_per_1000_tokens": {}}
    lines = [step(s, reward_mean=None if s == 3 else 0.5, **nothing) for s in range(6)]
    (directory / "metrics.jsonl").write_text("".join(line.model_dump_json() + "\n" for line in lines))
    figures = _figures([read_run(directory)])
    assert "kl" not in figures
    assert "reflection" not in figures
    assert figures["reward"].data[1]["y"] == [0.5, 0.5, 0.5, None, 0.5, 0.5]


def test_a_value_between_two_unknown_ones_is_a_dot(make_run, step):
    directory = make_run()
    lines = [step(s, correct_length_mean=None if s in (1, 3) else 50.0) for s in range(6)]
    (directory / "metrics.jsonl").write_text("".join(line.model_dump_json() + "\n" for line in lines))
    right, wrong = (
        [trace for trace in _figures([read_run(directory)])["length-by-correctness"].data if trace["meta"]["series"] == name]
        for name in ("right", "wrong")
    )
    assert [trace["x"] for trace in right if trace["mode"] == "markers"] == [[0, 2]]
    assert [trace["mode"] for trace in wrong] == ["lines", "lines"]


def test_the_coefficient_has_the_second_axis_and_is_not_smoothed(make_run):
    figure = _figures([read_run(make_run())])["kl"]
    (coefficient,) = [trace for trace in figure.data if trace.get("yaxis") == "y2"]
    assert coefficient["y"][0] == pytest.approx(0.001)
    assert figure.layout["yaxis2"]["title"]["text"] == "KL coefficient"
    assert figure.layout["yaxis2"]["side"] == "right"


def test_phases_are_shaded_with_their_name_and_limit(make_run):
    run = read_run(make_run())
    assert [(phase.name, phase.start, phase.end) for phase in phases_of(run)] == [("short", 0, 20), ("long", 20, 40)]
    layout = _figures([run])["reward"].layout
    bands = [(shape["x0"], shape["x1"]) for shape in layout["shapes"] if shape["type"] == "rect"]
    assert bands == [(-0.5, 19.5), (19.5, 39.5)]
    assert [label["text"] for label in layout["annotations"]] == ["short · 256 tokens", "long · 512 tokens"]


def test_resets_checkpoints_and_warnings_are_marked_at_their_step(make_run):
    layout = _figures([read_run(make_run())])["reward"].layout
    lines = {(shape["x0"], shape["y0"], shape["y1"]) for shape in layout["shapes"] if shape["type"] == "line"}
    assert lines == {(9.5, 0, 1), (19.5, 0.0, 0.035), (14.5, 0.95, 1.0)}


def test_runs_with_other_phases_get_lines_of_their_colour_and_no_bands(make_run):
    runs = read_runs([make_run("a"), make_run("b", switch=30)])
    layout = _figures(runs)["reward"].layout
    dotted = [shape for shape in layout["shapes"] if shape["line"].get("dash") == "dot"]
    assert not [shape for shape in layout["shapes"] if shape["type"] == "rect"]
    assert [(shape["name"], shape["x0"]) for shape in dotted] == [("run 0", 19.5), ("run 1", 29.5)]
    assert dotted[0]["line"]["color"] != dotted[1]["line"]["color"]


def test_a_run_that_is_not_as_far_shares_the_bands(make_run):
    runs = read_runs([make_run("a"), make_run("b", steps=15, finished=False)])
    assert [shape["x1"] for shape in _figures(runs)["reward"].layout["shapes"] if shape["type"] == "rect"] == [19.5, 39.5]


def test_each_run_has_one_colour_in_all_curves(make_run):
    runs = read_runs([make_run("a"), make_run("b")])
    colors: dict[int, set[str]] = {0: set(), 1: set()}
    for curves in curves_of([step for run in runs for step in run.steps]):
        for trace in step_figure(curves, runs, window=5).data:
            colors[trace["meta"]["run"]].add(trace["line"]["color"])
    assert [len(found) for found in colors.values()] == [1, 1]
    assert colors[0] != colors[1]


def test_held_out_accuracy_has_its_standard_error(make_run):
    (trace,) = held_out_figure([read_run(make_run())]).data
    assert trace["x"] == [0, 10, 20, 30, 40]
    assert trace["y"] == pytest.approx([0.2, 0.3, 0.4, 0.5, 0.6])
    assert trace["error_y"]["array"] == [0.03] * 5


def test_stages_add_up_to_the_whole_step(make_run):
    run = read_run(make_run())
    figure = stage_figure([run])
    assert figure.layout["barmode"] == "stack"
    assert [sum(trace["y"][i] for trace in figure.data) for i in range(40)] == pytest.approx([2.0] * 40)
    assert seconds_of(run.steps[0], OTHER) == pytest.approx(2.0 - 1.75)


def test_stages_of_several_runs_are_means(make_run, step):
    fast, slow = make_run("fast"), make_run("slow")
    lines = [step(s, seconds={"rollout": 3.0 + (s % 2), "total": 5.0}) for s in range(10)]
    (slow / "metrics.jsonl").write_text("".join(line.model_dump_json() + "\n" for line in lines))
    rollout = {trace["meta"]["run"]: trace["x"][0] for trace in stage_figure(read_runs([fast, slow])).data if trace["name"] == "rollout"}
    assert rollout == {0: 1.0, 1: 3.5}


def test_the_timeline_holds_each_event_with_its_message(make_run):
    data = timeline_figure([read_run(make_run())]).data
    messages = [message for trace in data for message in trace.get("customdata", [])]
    assert messages == ["CheckpointSaved: step-000020", "ReferenceReset: reset 1", "LengthHacking: length rose and accuracy did not"]
    assert data[0]["base"] == [-0.5, 19.5]
    assert data[0]["x"] == [20, 20]


def test_a_long_run_is_thinned_and_keeps_its_spikes(make_run, step):
    directory = make_run()
    lines = [step(s, gradient_norm=99.0 if s == 3333 else 1.0) for s in range(5000)]
    (directory / "metrics.jsonl").write_text("".join(line.model_dump_json() + "\n" for line in lines))
    figures = _figures([read_run(directory)])
    raw = figures["gradient-norm"].data[0]
    assert len(raw["x"]) <= 1500
    assert raw["y"][raw["x"].index(3333)] == 99.0
    assert len(figures["stages"].data[0]["x"]) <= 80


def test_names_from_a_job_cannot_become_tags_in_a_figure(make_run, step):
    directory = make_run()
    (directory / "metrics.jsonl").write_text(step(0, phase="<b>%{x}</b>").model_dump_json() + "\n")
    figures = _figures([read_run(directory, label="<i>")])
    text = json.dumps([[figure.data, figure.layout] for figure in figures.values()])
    assert "<b>" not in text
    assert "<i>" not in text
    assert "&lt;b&gt;&#37;{x}" in text


def test_what_a_rule_kept_is_a_share_of_the_batch_and_not_of_what_was_replaced(make_run):
    # 15 of 16 have a reward, 13 are left by the mask, 12 by the last rule; the 16 responses of replaced questions do not count.
    figure = _figures(read_runs([make_run()]), window=1)["selection"]
    assert {trace["meta"]["series"]: trace["y"][0] for trace in figure.data} == {"overlengthMask": 0.8125, "dynamicSampling": 0.75}
