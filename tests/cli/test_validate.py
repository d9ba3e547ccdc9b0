"""`reasonrl validate`: good files pass, bad ones are explained by file, line and field."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from reasonrl.api.parse import parse_job
from reasonrl.cli.job_file import check_paths, line_of, load_job_file, read_mapping
from reasonrl.cli.problems import JobFileError

FILES = sorted((Path(__file__).resolve().parents[2] / "examples").rglob("*.yaml"))
EXAMPLES = [path for path in FILES if "\nkind: ReasoningRLJob\n" in path.read_text()]
"""The jobs; other commands have examples of their own among the files."""

Cli = Callable[..., Any]
JobFile = Callable[..., Path]


def test_a_good_job_is_named(reasonrl: Cli, job_file: JobFile) -> None:
    answer = reasonrl("validate", job_file())
    assert answer.code == 0
    assert "first is valid" in answer.out
    assert answer.err == ""


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_valid(example: Path, reasonrl: Cli) -> None:
    answer = reasonrl("validate", example, "--skip-paths")
    assert answer.code == 0, answer.err


def test_there_are_examples() -> None:
    assert {"quickstart.yaml", "real-model.yaml"} <= {path.name for path in EXAMPLES}


def test_each_problem_is_a_block_with_field_value_fix_and_line(reasonrl: Cli, job_file: JobFile, minimal_text: str) -> None:
    path = job_file(minimal_text.replace("type: answer", "type: answr").replace("2048", "8k"))
    answer = reasonrl("validate", path)
    assert answer.code == 2
    assert answer.out == ""
    lines = answer.err.splitlines()
    first = lines.index("error: spec.rewards[0].type = 'answr'")
    assert "did you mean answer?" in lines[first + 1]
    assert lines[first + 2] == f"  at {path}:10"
    second = lines.index("error: spec.phases[0].maxResponseTokens = '8k'")
    assert lines[second + 2] == f"  at {path}:15"


def test_all_files_are_checked_and_one_bad_one_is_enough(reasonrl: Cli, job_file: JobFile) -> None:
    good, bad = job_file(name="good.yaml"), job_file("kind: Nothing\n", name="bad.yaml")
    answer = reasonrl("validate", bad, good)
    assert answer.code == 2
    assert "first is valid" in answer.out
    assert "error: kind = 'Nothing'" in answer.err


def test_warnings_do_not_fail(reasonrl: Cli, job_file: JobFile, minimal_text: str) -> None:
    answer = reasonrl("validate", job_file(minimal_text + "  rollout: {temperature: 1.7}\n"))
    assert answer.code == 0
    assert "warning: spec.rollout.temperature = 1.7" in answer.err


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("# nothing here\n", "is empty"),
        ("- a\n- b\n", "holds a list"),
        ("just text\n", "holds a str"),
        ("a: 1\n---\nb: 2\n", "holds 2 documents"),
        ("a: [1, 2\nb: 3\n", "line 2, column"),
        ("a: 1\n  b: 2\n", "line 2"),
        ("a: 1\nb: 2\na: 3\n", "line 3, column 1: not valid YAML: the key 'a' is given twice"),
        ("a: !!python/object:os.system {}\n", "not valid YAML"),
        ("a: *nothing\n", "line 1"),
        ("a: \x00\n", "not valid YAML"),
        ("a: &a [*a]\n", "would never end"),
        ("a: " + "[" * 3000, "nested too deeply"),
        (
            "a: &a [1,1,1,1,1,1,1,1]\n"
            + "".join(f"{n}: &{n} [*{p},*{p},*{p},*{p},*{p},*{p},*{p},*{p}]\n" for p, n in pairwise("abcdefgh")),
            "unfold to",
        ),
    ],
)
def test_a_file_that_holds_no_job(text: str, says: str, reasonrl: Cli, job_file: JobFile) -> None:
    path = job_file(text)
    answer = reasonrl("validate", path)
    assert answer.code == 2
    assert says in answer.err
    assert str(path) in answer.err
    assert "Traceback" not in answer.err


def test_a_missing_file_names_those_that_are_there(reasonrl: Cli, job_file: JobFile) -> None:
    path = job_file().with_name("jbo.yaml")
    answer = reasonrl("validate", path)
    assert answer.code == 2
    assert "there is no such file. Here there is job.yaml" in answer.err


def test_a_directory_and_a_binary_file_are_no_jobs(reasonrl: Cli, tmp_path: Path) -> None:
    assert "cannot be read" in reasonrl("validate", tmp_path).err
    binary = tmp_path / "model.bin"
    binary.write_bytes(b"\xff\xfe\x00")
    assert "is not UTF-8 text" in reasonrl("validate", binary).err


def test_a_data_file_by_mistake_is_not_parsed(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    path.write_text("a: 1\n" * 300_000)
    with pytest.raises(JobFileError, match="Is it a data file"):
        read_mapping(path)


def test_numbers_are_those_of_a_cluster_and_not_of_old_yaml(job_file: JobFile) -> None:
    """PyYAML alone reads 1e-6 as text; Kubernetes reads a number."""
    assert load_job_file(job_file()).spec.algorithm.optimizer.learning_rate == 1e-6
    assert read_mapping(job_file("a: [1e3, 1.5e-3, 1e, e1, -2E5, .5e1]\n")) == {"a": [1000.0, 0.0015, "1e", "e1", -200000.0, 5.0]}


def test_json_is_yaml(job_file: JobFile) -> None:
    assert read_mapping(job_file('{"a": {"b": [1, true, null]}}', name="job.json")) == {"a": {"b": [1, True, None]}}


def test_merged_keys_may_be_overridden(job_file: JobFile) -> None:
    assert read_mapping(job_file("a: &x {b: 1, c: 2}\nd:\n  <<: *x\n  b: 3\n"))["d"] == {"b": 3, "c": 2}


def test_a_missing_path_names_its_field(reasonrl: Cli, job_file: JobFile, tmp_path: Path, minimal_text: str) -> None:
    path = job_file(minimal_text)
    (tmp_path / "questions.jsonl").unlink()
    answer = reasonrl("validate", path)
    assert answer.code == 2
    assert "error: spec.data.train[0].path = 'questions.jsonl'" in answer.err
    assert str(tmp_path / "questions.jsonl") in answer.err
    assert reasonrl("validate", path, "--skip-paths").code == 0


def test_every_kind_of_path_is_looked_at(tmp_path: Path, minimal_text: str, job_file: JobFile) -> None:
    mapping: Any = read_mapping(job_file())
    spec = mapping["spec"]
    spec["model"] = {"path": "model", "tokenizer": "tokenizer"}
    spec["sft"] = {"train": [{"path": "sft.jsonl"}], "steps": 1}
    spec["rewards"].append({"type": "function", "path": "rewards.py"})
    spec["evaluation"] = {"benchmarks": [{"name": "aime", "path": "aime.jsonl"}]}
    job = parse_job(mapping)
    assert {problem.field for problem in check_paths(job, tmp_path)} == {
        "spec.model.path",
        "spec.model.tokenizer",
        "spec.sft.train[0].path",
        "spec.rewards[1].path",
        "spec.evaluation.benchmarks[0].path",
    }
    for name in ("sft.jsonl", "aime.jsonl", "rewards.py"):
        (tmp_path / name).touch()
    (tmp_path / "model").mkdir()
    (tmp_path / "tokenizer").touch()
    assert {problem.field: problem.message for problem in check_paths(job, tmp_path)}.keys() == {"spec.model.path", "spec.model.tokenizer"}
    (tmp_path / "model" / "config.json").touch()
    (tmp_path / "tokenizer").unlink()
    (tmp_path / "tokenizer").mkdir()
    assert check_paths(job, tmp_path) == []


def test_lines_of_fields(job_file: JobFile, minimal_text: str) -> None:
    path = job_file(minimal_text)
    lines = minimal_text.splitlines()
    for field, text in (
        ("spec.phases[0].until.steps", "      until: {steps: 200}"),
        ("spec.data.train[0].path", "      - {path: questions.jsonl}"),
        ("metadata.name", "metadata: {name: first}"),
        ("spec.phases[0].missing.deeper", "    - name: ctx-2k"),
        ("spec.nothing", "spec:"),
    ):
        line = line_of(path, field)
        assert line is not None
        assert lines[line - 1] == text
    assert line_of(path, "nothing") is None
