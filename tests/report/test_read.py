from __future__ import annotations

import json

import pytest

from reasonrl.report.read import RunReadError, read_run, read_runs


def test_a_whole_run_reads_without_a_complaint(make_run):
    run = read_run(make_run())
    assert [step.step for step in run.steps] == list(range(40))
    assert [each.step for each in run.evaluations] == [0, 10, 20, 30, 40]
    assert (len(run.warm_start), len(run.events), run.label, run.finished) == (5, 5, "run", True)
    assert run.problems == []
    assert [(pair.early.step, pair.late.step) for pair in run.answers] == [(0, 39)]


def test_a_torn_last_line_is_left_out_and_told(make_run, step):
    directory = make_run()
    with (directory / "metrics.jsonl").open("a") as file:
        file.write(step(40).model_dump_json()[:300])
    run = read_run(directory)
    assert run.steps[-1].step == 39
    assert any("the last line is not complete" in problem for problem in run.problems)


@pytest.mark.parametrize("cut", [1, 2, 50, 900])
def test_a_file_cut_anywhere_reads_up_to_the_cut(make_run, cut):
    directory = make_run()
    path = directory / "metrics.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    lines = whole[:-cut].count(b"\n")
    run = read_run(directory)
    assert len(run.steps) + len(run.evaluations) + len(run.warm_start) == lines


def test_lines_that_are_not_json_are_counted(make_run):
    directory = make_run()
    path = directory / "metrics.jsonl"
    path.write_bytes(b"\x00\xff\x00\n[1]\n" + path.read_bytes())
    run = read_run(directory)
    assert len(run.steps) == 40
    assert any("2 lines are not JSON" in problem for problem in run.problems)


def test_a_step_that_is_there_twice_counts_once_with_its_later_line(make_run, step):
    directory = make_run()
    with (directory / "metrics.jsonl").open("a") as file:
        file.write(step(7, reward_mean=0.875).model_dump_json() + "\n")
    run = read_run(directory)
    assert [each.step for each in run.steps] == list(range(40))
    assert run.steps[7].reward_mean == 0.875


def test_a_newer_release_with_more_fields_is_read_and_an_older_with_fewer_is_told(make_run, step):
    directory = make_run()
    newer = json.loads(step(40).model_dump_json()) | {"tool_calls": 3}
    older = {name: value for name, value in json.loads(step(41).model_dump_json()).items() if name != "entropy"}
    with (directory / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(newer) + "\n" + json.dumps(older) + "\n" + '{"kind": "tool", "step": 1}\n')
    run = read_run(directory)
    assert run.steps[-1].step == 40
    assert any("StepMetrics" in problem and "entropy" in problem for problem in run.problems)
    assert any("1 lines of a kind" in problem for problem in run.problems)


def test_a_run_that_has_just_begun_reads(tmp_path):
    (tmp_path / "job.yaml").write_text("metadata: {name: young}\nspec: {}\n")
    run = read_run(tmp_path)
    assert (run.label, list(run.steps), run.finished) == ("young", [], False)


def test_a_job_that_is_no_yaml_costs_the_settings_only(make_run):
    directory = make_run()
    (directory / "job.yaml").write_text("a: [")
    run = read_run(directory)
    assert len(run.steps) == 40
    assert run.label == "run"
    assert any("job.yaml is not YAML" in problem for problem in run.problems)


@pytest.mark.parametrize("what", ["missing", "empty", "file"])
def test_a_path_that_is_no_run_is_named(tmp_path, what):
    path = tmp_path / what
    if what == "empty":
        path.mkdir()
    elif what == "file":
        path.write_text("x")
    with pytest.raises(RunReadError, match=str(path)):
        read_run(path)


def test_runs_of_the_same_job_are_told_apart(make_run):
    first, second, third = make_run("a"), make_run("b"), make_run("c")
    for directory in (first, second):
        (directory / "job.yaml").write_text("metadata: {name: same}\n")
    assert [run.label for run in read_runs([first, second, third])] == ["a", "b", "c"]
    assert [run.label for run in read_runs([first, third])] == ["same", "c"]


def test_a_run_named_twice_is_read_once(make_run):
    directory = make_run()
    assert len(read_runs([directory, directory / ".." / directory.name])) == 1


def test_a_summary_says_that_a_run_is_over(make_run):
    directory = make_run(finished=False)
    assert not read_run(directory).finished
    (directory / "summary.json").write_text("{}")
    assert read_run(directory).finished
