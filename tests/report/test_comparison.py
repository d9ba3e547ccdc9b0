"""Arms from runs, claims against arms, and the pages that say so."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from reasonrl.api.problems import JobError
from reasonrl.api.sweep_spec import SWEEP_FILE, ArmSpec, PanelSpec, SweepRecord
from reasonrl.report.comparison.arms import Comparison, read_comparison
from reasonrl.report.comparison.bands import band_of
from reasonrl.report.comparison.check_file import parse_checks
from reasonrl.report.comparison.markdown import markdown_of
from reasonrl.report.comparison.measures import FIRST, LAST, MEASURES, WHOLE, Window, correlation_of, shown_with_spread, value_of
from reasonrl.report.comparison.page import render_comparison
from reasonrl.report.comparison.picture import PictureError, draw_picture
from reasonrl.report.comparison.tables import arm_rows
from reasonrl.report.comparison.verdicts import Verdict, judge
from reasonrl.report.read import RunReadError, read_run

STEPS = 20
SEEDS = (1, 2, 3)
Write = Callable[..., Path]


@pytest.fixture
def write_run(tmp_path: Path, step: Callable[..., Any], evaluation: Callable[..., Any]) -> Write:
    """A run whose accuracy begins at 0.4 and rises by `gain`, with `noise` of its own."""

    def write(
        directory: str, *, seed: int = 1, gain: float = 0.2, noise: float = 0.0, finished: bool = True, name: str = "arm", **spec: object
    ) -> Path:
        path = tmp_path / directory
        path.mkdir(parents=True)
        source = random.Random(f"{directory}{seed}")
        lines = []
        for number in range(STEPS + 1):
            accuracy = 0.4 + 0.01 * seed + gain * number / STEPS + source.uniform(-noise, noise)
            if number % 5 == 0:
                lines.append(evaluation(number, accuracy=accuracy))
            if number < STEPS:
                lines.append(step(number, switch=100, accuracy=accuracy, response_length_mean=50 + 100 * accuracy, kl_k3=None))
        (path / "metrics.jsonl").write_text("".join(line.model_dump_json() + "\n" for line in lines))
        (path / "job.yaml").write_text(yaml.safe_dump({"metadata": {"name": name}, "spec": {"seed": seed, **spec}}))
        if finished:
            (path / "summary.json").write_text(json.dumps({"step": STEPS}))
        return path

    return write


@pytest.fixture
def sweep(tmp_path: Path, write_run: Write) -> Callable[..., Path]:
    """A sweep of arms by name and gain, three seeds each."""

    def write(gains: Mapping[str, float], *, noise: float = 0.005, panels: tuple[PanelSpec, ...] = ()) -> Path:
        for arm, gain in gains.items():
            for seed in SEEDS:
                write_run(f"sweep/{arm}/seed-{seed}", seed=seed, gain=gain, noise=noise, name=arm)
        arms = tuple(ArmSpec(name=arm, title=f"the {arm} arm") for arm in gains)
        record = SweepRecord(name="my-sweep", seeds=SEEDS, arms=arms, panels=panels)
        (tmp_path / "sweep" / SWEEP_FILE).write_text(yaml.safe_dump(record.dumped()))
        return tmp_path / "sweep"

    return write


def claim(**fields: object) -> dict[str, object]:
    return {"name": "c", "claim": "A beats b.", "metric": "testAccuracy", "direction": "higher", "a": "a", "b": "b"} | fields


def verdict_on(comparison: Comparison, **fields: object) -> Verdict:
    (found,) = judge(parse_checks({"checks": [claim(**fields)]}), comparison)
    return found


def test_runs_that_differ_in_the_seed_alone_are_one_arm(write_run: Write) -> None:
    runs = [write_run(f"{arm}{seed}", seed=seed, name=arm, kl=kl) for arm, kl in (("fixed", 1), ("off", None)) for seed in SEEDS]
    found = read_comparison(runs)
    assert [(arm.name, sorted(arm.runs)) for arm in found.arms] == [("fixed", [1, 2, 3]), ("off", [1, 2, 3])]
    assert found.problems == []


def test_arms_of_one_name_are_told_by_what_they_set(write_run: Write) -> None:
    runs = [write_run(f"t{t}{seed}", seed=seed, rollout={"temperature": t}) for t in (0.6, 1.0) for seed in (1, 2)]
    assert [arm.name for arm in read_comparison(runs).arms] == ["temperature 0.6", "temperature 1.0"]


def test_models_that_were_warmed_up_with_the_seed_stand_for_each_other(write_run: Write) -> None:
    runs = [write_run(f"r{seed}", seed=seed, model={"path": f"/x/warm-start/ab/seed-{seed}/final"}) for seed in SEEDS]
    (arm,) = read_comparison(runs).arms
    assert sorted(arm.runs) == [1, 2, 3]


def test_what_is_not_finished_or_there_twice_is_left_out_and_said(write_run: Write, tmp_path: Path) -> None:
    runs = [write_run("one"), write_run("again"), write_run("half", seed=2, finished=False)]
    found = read_comparison([*runs, runs[0]])
    assert [sorted(arm.runs) for arm in found.arms] == [[1]]
    assert len(found.problems) == 2
    assert "same settings and seed" in found.problems[0]
    assert "not finished" in found.problems[1]
    with pytest.raises(RunReadError, match="no finished run"):
        read_comparison([tmp_path / "half"])
    with pytest.raises(RunReadError, match="this is no run"):
        read_comparison([tmp_path])


def test_a_sweep_has_its_own_arms_panels_and_gaps(sweep: Callable[..., Path]) -> None:
    path = sweep({"a": 0.4, "b": 0.2}, panels=(PanelSpec(title="(a) both", arms=("b", "a")),))
    (path / "b" / "seed-2" / "summary.json").unlink()
    found = read_comparison([path])
    assert [(arm.name, arm.title, sorted(arm.runs)) for arm in found.arms] == [("a", "the a arm", [1, 2, 3]), ("b", "the b arm", [1, 3])]
    assert [[arm.name for arm in panel.arms] for panel in found.panels] == [["b", "a"]]
    assert found.problems == ["b, seed 2: left out, as it is not finished (20 steps are done)."]


def test_a_sweep_beside_other_runs_gives_its_runs(sweep: Callable[..., Path], write_run: Write) -> None:
    found = read_comparison([sweep({"a": 0.4}), write_run("other", name="other", kl=1)])
    assert [(arm.name, sorted(arm.runs)) for arm in found.arms] == [("a", [1, 2, 3]), ("other", [1])]


def test_a_window_takes_the_steps_and_evaluations_within_it(write_run: Write) -> None:
    run = read_run(write_run("run", gain=0.2))
    accuracy = [0.41 + 0.01 * number for number in range(STEPS + 1)]
    assert value_of(run, "trainAccuracy", WHOLE) == pytest.approx(sum(accuracy[:20]) / 20)
    assert value_of(run, "trainAccuracy", FIRST) == pytest.approx((accuracy[0] + accuracy[1]) / 2)
    assert value_of(run, "trainAccuracy", LAST) == pytest.approx((accuracy[18] + accuracy[19]) / 2)
    assert value_of(run, "testAccuracy", LAST) == pytest.approx(accuracy[20])
    assert value_of(run, "testAccuracy", FIRST) == pytest.approx(accuracy[0])
    assert value_of(run, "testAccuracy", Window(start=0.2, end=0.5)) == pytest.approx((accuracy[5] + accuracy[10]) / 2)
    assert value_of(run, "testAccuracy", Window(start=0.3, end=0.4)) is None
    assert value_of(run, "kl", WHOLE) is None
    assert value_of(run, "trainAccuracy", WHOLE, "fluctuation") == pytest.approx(0.01 / 2**0.5)
    assert correlation_of(run, "length", "trainAccuracy", WHOLE) == pytest.approx(1.0)
    assert correlation_of(run, "length", "entropy", WHOLE) is None


def test_a_clear_difference_is_shown_and_the_other_way_round_it_is_the_opposite(sweep: Callable[..., Path]) -> None:
    found = read_comparison([sweep({"a": 0.4, "b": 0.2})])
    up = verdict_on(found)
    assert up.word == "shown"
    assert sorted(up.effects) == [1, 2, 3]
    assert up.result is not None
    assert up.result.mean == pytest.approx(0.2, abs=0.01)
    assert verdict_on(found, direction="lower").word == "opposite"
    assert verdict_on(found, a="b", b="a").word == "opposite"
    assert verdict_on(found, a="b", b="a", direction="lower").word == "shown"
    assert verdict_on(found, metric="length", smallestDifference=15).word == "shown"


def test_an_effect_below_the_smallest_difference_is_not_shown_either_way(sweep: Callable[..., Path]) -> None:
    found = read_comparison([sweep({"a": 0.4, "b": 0.2})])
    assert verdict_on(found, smallestDifference=0.3).word == "not shown"
    assert verdict_on(found, smallestDifference=0.3, direction="lower").word == "not shown"


def test_noise_is_not_shown(sweep: Callable[..., Path]) -> None:
    found = read_comparison([sweep({"a": 0.22, "b": 0.2}, noise=0.3)])
    assert verdict_on(found).word == "not shown"


def test_what_the_seed_decides_for_both_arms_falls_out(sweep: Callable[..., Path]) -> None:
    """Seeds lie a point apart, the arms half a point: unpaired, that would be lost in the spread."""
    found = read_comparison([sweep({"a": 0.205, "b": 0.2}, noise=0.0)])
    assert verdict_on(found).word == "shown"


def test_too_few_seeds_are_said_and_not_judged(sweep: Callable[..., Path]) -> None:
    path = sweep({"a": 0.4, "b": 0.2})
    (path / "b" / "seed-2" / "summary.json").unlink()
    found = read_comparison([path])
    assert (verdict_on(found).word, verdict_on(found).missing) == ("too few seeds", "seed 2 without a value in every arm")
    assert verdict_on(found, leastSeeds=2).word == "shown"
    absent = verdict_on(found, b="nobody")
    assert (absent.word, absent.result, absent.missing) == ("too few seeds", None, "no arm nobody")
    assert verdict_on(found, metric="kl").word == "too few seeds"


def test_changes_and_correlations_are_of_one_arm(sweep: Callable[..., Path]) -> None:
    found = read_comparison([sweep({"a": 0.4, "b": 0.0})])
    base = {"name": "c", "claim": "It rises.", "direction": "higher", "arm": "a"}
    checks = parse_checks(
        {
            "checks": [
                {**base, "type": "change", "metric": "testAccuracy", "smallestDifference": 0.1},
                {**base, "name": "d", "type": "change", "metric": "testAccuracy", "arm": "b", "smallestDifference": 0.1},
                {**base, "name": "e", "type": "correlation", "metric": "length", "with": "trainAccuracy"},
            ]
        }
    )
    assert [verdict.word for verdict in judge(checks, found)] == ["shown", "not shown", "shown"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"metric": "acuracy"}, "checks[0].metric"),
        ({"direction": "up"}, "checks[0].direction"),
        ({"b": "a"}, "checks[0].b"),
        ({"window": {"from": 0.5, "to": 0.5}}, "checks[0].window"),
        ({"window": "lastly"}, "checks[0].window"),
        ({"type": "diference"}, "checks[0].type"),
        ({"smallestDifference": "1"}, "checks[0].smallestDifference"),
        ({"threshold": 1}, "checks[0].threshold"),
        ({"claim": None}, "checks[0].claim"),
    ],
)
def test_a_bad_check_is_refused_by_its_field(fields: dict[str, object], field: str) -> None:
    with pytest.raises(JobError) as raised:
        parse_checks({"checks": [claim(**fields)]})
    assert [problem.field for problem in raised.value.problems] == [field]


def test_a_correlation_is_of_two_measures_of_the_same_things() -> None:
    check = {
        "name": "c",
        "claim": "x",
        "type": "correlation",
        "metric": "length",
        "with": "testAccuracy",
        "arm": "a",
        "direction": "higher",
    }
    with pytest.raises(JobError, match="evaluations"):
        parse_checks({"checks": [check]})


def test_a_band_reaches_from_the_lowest_to_the_highest_seed(sweep: Callable[..., Path]) -> None:
    (arm,) = read_comparison([sweep({"a": 0.2}, noise=0.0)]).arms
    band = band_of(arm, MEASURES["testAccuracy"], window=5)
    assert band is not None
    assert band.steps == [0, 5, 10, 15, 20]
    assert (band.low[0], band.mean[0], band.high[0]) == (pytest.approx(0.41), pytest.approx(0.42), pytest.approx(0.43))
    assert band_of(arm, MEASURES["kl"], window=5) is None


def test_a_mean_has_the_decimals_of_its_spread() -> None:
    assert shown_with_spread(0.79876, 0.00523, "percent") == "79.9 ± 0.5 %"
    assert shown_with_spread(0.0664123, 0.004251, "number") == "0.0664 ± 0.0043"
    assert shown_with_spread(-1234.56, 12.3, "number") == "−1,235 ± 12"
    assert shown_with_spread(0.5, 0.0, "number") == "0.500 ± 0.000"
    assert shown_with_spread(0.0, 0.0, "number") == "0.0 ± 0.0"


def test_the_table_has_every_arm_also_one_without_runs(sweep: Callable[..., Path]) -> None:
    path = sweep({"a": 0.2, "b": 0.2}, noise=0.0)
    for seed in SEEDS:
        (path / "b" / f"seed-{seed}" / "summary.json").unlink()
    rows = arm_rows(read_comparison([path]).arms)
    assert [(row.name, row.seeds, row.values[0]) for row in rows] == [("a", 3, "62.0 ± 1.0 %"), ("b", 0, "–")]


def test_the_page_holds_claims_arms_and_a_row_for_each_panel(sweep: Callable[..., Path]) -> None:
    path = sweep({"a": 0.4, "b": 0.2}, panels=(PanelSpec(title="(a) <first>", arms=("a", "b")), PanelSpec(title="(b)", arms=("b",))))
    found = read_comparison([path])
    verdicts = judge(parse_checks({"checks": [claim(claim="<script>alert(1)</script>", source="§1")]}), found)
    page = render_comparison(found, verdicts, window=5)
    assert "Of 1 claims: 1 shown." in page
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert(1)" not in page
    assert "(a) &lt;first&gt;" in page
    assert "connect-src" not in page
    assert "default-src 'none'" in page
    text = re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.DOTALL)
    assert text is not None
    figures = json.loads(text[1])["figures"]
    assert set(figures) == {f"panel-{row}-{name}" for row in (0, 1) for name in ("reward", "length", "testAccuracy", "entropy")}
    accuracy = figures["panel-0-testAccuracy"]["data"]
    means = [trace for trace in accuracy if trace["mode"] == "lines+markers"]
    assert [trace["meta"] for trace in means] == [{"run": 0, "series": "the a arm"}, {"run": 1, "series": "the b arm"}]
    assert means[0]["y"][-1] == pytest.approx(0.82, abs=0.01)
    assert all(f'data-figure="{name}"' in page for name in figures)


def test_a_page_without_claims_says_so(sweep: Callable[..., Path]) -> None:
    page = render_comparison(read_comparison([sweep({"a": 0.4})]), [], window=1)
    assert "No claims were given to check." in page
    assert "1 arm, 3 finished runs." in page


def test_the_tables_as_markdown(sweep: Callable[..., Path]) -> None:
    found = read_comparison([sweep({"a": 0.4, "b": 0.2}, noise=0.0)])
    text = markdown_of(found, judge(parse_checks({"checks": [claim(claim="A | b")]}), found))
    assert "| the a arm | 3 | 20 | 16 | 1 | 82.0 ± 1.0 % |" in text
    assert "| A &#124; b | shown | +20.0 points | +20.0 to +20.0 | +20.0 (seed 1), +20.0 (seed 2), +20.0 (seed 3) |" in text


def test_a_picture_is_drawn_and_a_strange_name_refused(sweep: Callable[..., Path], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pictures take matplotlib")
    found = read_comparison([sweep({"a": 0.4, "b": 0.2})])
    draw_picture(found, tmp_path / "new" / "figure.svg", window=5)
    assert "<svg" in (tmp_path / "new" / "figure.svg").read_text()
    with pytest.raises(PictureError, match=r"\.svg, \.png, \.pdf"):
        draw_picture(found, tmp_path / "figure.gif", window=5)
