from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

from reasonrl.cli import report


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.callback()(lambda: None)
    report.register(app)
    return app


@pytest.fixture
def run(tmp_path):
    def make(name):
        directory = tmp_path / name
        directory.mkdir()
        (directory / "job.yaml").write_text(f"metadata: {{name: {name}}}\nspec: {{seed: 1}}\n")
        point = {"kind": "warm_start", "step": 0, "time": 0.0, "loss": 2.5, "learning_rate": 0.001, "tokens_per_second": 9.0}
        (directory / "metrics.jsonl").write_text(json.dumps(point) + "\n")
        return directory

    return make


def test_one_run_gets_its_report_beside_its_files(app, run):
    directory = run("one")
    result = CliRunner().invoke(app, ["report", str(directory)])
    assert result.exit_code == 0
    assert result.output.strip() == str(directory / "report.html")
    assert "<title>one</title>" in (directory / "report.html").read_text()


def test_several_runs_get_one_report_here(app, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["report", str(run("a")), str(run("b")), "--title", "a against b", "--smoothing", "7"])
    assert result.exit_code == 0
    page = (tmp_path / "reasonrl-report.html").read_text()
    assert "<title>a against b</title>" in page
    assert "smoothed over 7 steps" in page


def test_the_output_may_be_named(app, run, tmp_path):
    target = tmp_path / "pages" / "mine.html"
    result = CliRunner().invoke(app, ["report", str(run("one")), "--output", str(target)])
    assert result.exit_code == 0
    assert target.exists()


def test_a_directory_that_is_no_run_is_an_error_with_exit_code_2(app, run, tmp_path):
    result = CliRunner().invoke(app, ["report", str(run("one")), str(tmp_path)])
    assert result.exit_code == 2
    assert f"error: {tmp_path}: this is no run" in result.stderr


@pytest.mark.parametrize("arguments", [[], ["--smoothing", "0"]])
def test_wrong_arguments_have_exit_code_2(app, run, arguments):
    assert CliRunner().invoke(app, ["report", *arguments, *([str(run("one"))] if arguments else [])]).exit_code == 2


def test_a_place_that_cannot_be_written_is_named(app, run, tmp_path):
    (tmp_path / "file").write_text("")
    result = CliRunner().invoke(app, ["report", str(run("one")), "--output", str(tmp_path / "file" / "page.html")])
    assert result.exit_code == 2
    assert "error: --output" in result.stderr
