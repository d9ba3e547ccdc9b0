"""`reasonrl sweep` and `reasonrl compare` as their users see them, and Table 1 of the report as a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from reasonrl.api.run_files import EvaluationMetrics, StepMetrics
from reasonrl.api.sweep_jobs import arms_of, sweep_runs
from reasonrl.api.sweep_spec import SweepSpec, parse_sweep
from reasonrl.report.comparison.check_file import DifferenceCheck, parse_checks

STILL3 = Path(__file__).resolve().parents[2] / "examples" / "still3"
TABLE_1 = STILL3 / "small" / "table1.yaml"

Cli = Callable[..., Any]
JobFile = Callable[..., Path]


def sweep_file(directory: Path, text: str) -> Path:
    path = directory / "sweep.yaml"
    path.write_text(f"name: tried\njob: job.yaml\nseeds: [1, 2]\n{text}")
    return path


def table_1() -> SweepSpec:
    return parse_sweep(yaml.safe_load(TABLE_1.read_text()))


def test_a_dry_run_shows_every_arm_and_makes_nothing(reasonrl: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    answer = reasonrl("sweep", TABLE_1, "--dry-run")
    assert answer.code == 0, answer.err
    assert "off-policy" in answer.out
    assert "11 arms × 3 seeds (1, 2, 3) = 33 runs, and 6 warm starts that they share" in answer.out.replace("\n", " ")
    assert list(tmp_path.iterdir()) == []


def test_all_bad_arms_are_named_before_anything_starts(reasonrl: Cli, job_file: JobFile, tmp_path: Path) -> None:
    job_file()
    path = sweep_file(
        tmp_path,
        """arms:
- {name: fine}
- {name: typo, set: {spec.rollout.temprature: 1}}
- {name: odd, set: {spec.algorithm.updatesPerStep: 3}}
""",
    )
    answer = reasonrl("sweep", path, "--output", tmp_path / "out")
    assert answer.code == 2
    assert "error: arm typo: spec.rollout.temprature = 1" in answer.err
    assert "did you mean temperature" in answer.err
    assert "error: arm odd: spec.algorithm" in answer.err
    assert not (tmp_path / "out").exists()


def test_what_this_machine_cannot_do_names_its_arm(reasonrl: Cli, job_file: JobFile, tmp_path: Path) -> None:
    job_file()
    path = sweep_file(
        tmp_path,
        """arms:
- {name: gone, set: {"spec.data.train[0].path": none.jsonl}}
- {name: idle, set: {spec.suspend: true}}
""",
    )
    answer = reasonrl("sweep", path)
    assert answer.code == 2
    assert "error: arm gone: spec.data.train[0].path = 'none.jsonl'" in answer.err
    assert "error: arm idle: spec.suspend = true" in answer.err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "a sweep without arms and axes is one job"),
        ("arm: []\n", "there is no such field"),
        ("arms: [{name: a}]\nchecks: none.yaml\n", "none.yaml: there is no such file"),
        ("arms: [{name: a}]\nchecks: job.yaml\n", "must be a list of 1 to"),
    ],
)
def test_a_bad_file_is_explained(text: str, says: str, reasonrl: Cli, job_file: JobFile, tmp_path: Path) -> None:
    job_file()
    answer = reasonrl("sweep", sweep_file(tmp_path, text), "--output", tmp_path / "out")
    assert answer.code == 2
    assert says in answer.err
    assert "Traceback" not in answer.err


def test_a_base_job_that_is_missing_is_named(reasonrl: Cli, tmp_path: Path) -> None:
    answer = reasonrl("sweep", sweep_file(tmp_path, "arms: [{name: a}]\n"))
    assert answer.code == 2
    assert "job.yaml: there is no such file" in answer.err


def test_table_1_changes_one_thing_in_each_arm() -> None:
    """Clipping higher means nothing on-policy, so that arm is off-policy too."""
    assert {arm.name: len(arm.set) for arm in arms_of(table_1()) if not arm.name.startswith("small")} == {
        "base": 0,
        "clip-higher": 2,
        **dict.fromkeys(["large-batch", "off-policy", "more-rollouts", "cold", "hot", "kl-fixed", "kl-dynamic", "short-context"], 1),
    }


def test_table_1_compares_arms_over_the_same_steps() -> None:
    runs = sweep_runs(table_1(), yaml.safe_load((TABLE_1.parent / table_1().job).read_text()))
    assert {sum(phase.until.steps or 0 for phase in run.job.spec.phases) for run in runs} == {120}


def test_the_claims_are_about_arms_that_there_are() -> None:
    arms = {arm.name for arm in arms_of(table_1())}
    named: set[str] = set()
    for check in parse_checks(yaml.safe_load((STILL3 / "checks.yaml").read_text())):
        named |= {check.a, check.b} if isinstance(check, DifferenceCheck) else {check.arm}
    assert named == arms


@pytest.fixture
def finished_runs(tmp_path: Path) -> Callable[..., list[Path]]:
    """Three seeds of an arm of ten steps, with the accuracy that is asked for."""

    def write(arm: str, accuracy: float) -> list[Path]:
        directories = []
        for seed in (1, 2, 3):
            directory = tmp_path / f"{arm}-{seed}"
            directory.mkdir()
            lines = [step(number, accuracy + seed / 1000) for number in range(10)]
            lines += [evaluation(number, accuracy + seed / 1000) for number in (0, 10)]
            (directory / "metrics.jsonl").write_text("".join(line + "\n" for line in lines))
            (directory / "job.yaml").write_text(yaml.safe_dump({"metadata": {"name": arm}, "spec": {"seed": seed, "suspend": arm}}))
            (directory / "summary.json").write_text("{}")
            directories.append(directory)
        return directories

    return write


def step(number: int, accuracy: float) -> str:
    required = {name: 0 for name, field in StepMetrics.model_fields.items() if field.is_required()}
    named = ("reward_components", "outcomes", "lengths_by_outcome", "reflection_share", "reflection_per_1000_tokens", "seconds")
    maps: dict[str, object] = {name: {} for name in named}
    return json.dumps({**required, **maps, "kind": "step", "step": number, "phase": "p", "accuracy": accuracy, "responses": 8})


def evaluation(number: int, accuracy: float) -> str:
    required = {name: 0 for name, field in EvaluationMetrics.model_fields.items() if field.is_required()}
    return json.dumps({**required, "kind": "evaluation", "step": number, "phase": "p", "benchmark": "test", "accuracy": accuracy})


CHECKS = """checks:
- {name: up, claim: Good beats bad., metric: testAccuracy, a: good, b: bad, direction: higher}
- {name: down, claim: Bad beats good., metric: testAccuracy, a: bad, b: good, direction: higher}
"""


def test_arms_are_compared_and_claims_judged(
    reasonrl: Cli, finished_runs: Callable[..., list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "checks.yaml").write_text(CHECKS)
    runs = [*finished_runs("good", 0.8), *finished_runs("bad", 0.5)]
    arguments = ["compare", *runs, "--checks", "checks.yaml", "--markdown", "tables.md"]
    answer = reasonrl(*arguments)
    assert answer.code == 0, answer.err
    lines = [line.split() for line in answer.out.splitlines() if line]
    assert ["good", "3", "80.2", "±", "0.1", "%"] in [line[:6] for line in lines]
    assert any(line[0] == "shown" and "+30.0" in line for line in lines)
    assert any(line[0] == "opposite" and "−30.0" in line for line in lines)
    assert (tmp_path / "reasonrl-comparison.html").exists()
    assert "| Good beats bad. | shown |" in (tmp_path / "tables.md").read_text()
    assert reasonrl(*arguments, "--strict").code == 1
    (tmp_path / "checks.yaml").write_text("\n".join(CHECKS.splitlines()[:2]))
    assert reasonrl(*arguments, "--strict").code == 0


def test_without_claims_there_are_arms_alone(reasonrl: Cli, finished_runs: Callable[..., list[Path]], tmp_path: Path) -> None:
    answer = reasonrl("compare", *finished_runs("good", 0.8), "--html", tmp_path / "pages" / "page.html")
    assert answer.code == 0
    assert "verdict" not in answer.out
    assert (tmp_path / "pages" / "page.html").exists()


def test_what_cannot_be_compared_is_said(reasonrl: Cli, finished_runs: Callable[..., list[Path]], tmp_path: Path) -> None:
    runs = finished_runs("good", 0.8)
    assert "this is no run" in reasonrl("compare", tmp_path).err
    assert reasonrl("compare", tmp_path).code == 2
    picture = reasonrl("compare", *runs, "--html", tmp_path / "p.html", "--picture", tmp_path / "p.gif")
    assert (picture.code, ".svg, .png, .pdf" in picture.err) == (2, True)
    (tmp_path / "checks.yaml").write_text("checks: [{name: a, claim: b, metric: acuracy, a: a, b: b, direction: higher}]\n")
    bad = reasonrl("compare", *runs, "--checks", tmp_path / "checks.yaml")
    assert bad.code == 2
    assert "error: checks[0].metric = 'acuracy'" in bad.err
    for run in runs:
        (run / "summary.json").unlink()
    assert "there is no finished run to compare" in reasonrl("compare", *runs).err
