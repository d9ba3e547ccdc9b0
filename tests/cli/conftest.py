"""The command line as its users see it: exit code, standard output and standard error."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from reasonrl.cli.app import main


class Answer(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def reasonrl(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Runs `reasonrl ARGUMENTS` through its entry point."""

    def run(*arguments: object) -> Answer:
        monkeypatch.setattr("sys.argv", ["reasonrl", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "120")
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        output = capsys.readouterr()
        return Answer(code if isinstance(code, int) else 0, output.out, output.err)

    return run


@pytest.fixture
def job_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a job file; without text, a small valid job whose data file is there."""

    def write(text: str | None = None, *, name: str = "job.yaml") -> Path:
        (tmp_path / "questions.jsonl").write_text('{"question": "1 + 1", "answer": "2"}\n')
        path = tmp_path / name
        path.write_text(MINIMAL if text is None else textwrap.dedent(text))
        return path

    return write


MINIMAL = """\
apiVersion: reasonrl.dev/v1alpha1
kind: ReasoningRLJob
metadata: {name: first}
spec:
  model: {path: hf://Qwen/Qwen2.5-1.5B}
  data:
    train:
      - {path: questions.jsonl}
  rewards:
    - {type: answer}
  algorithm:
    optimizer: {learningRate: 1e-6}
  phases:
    - name: ctx-2k
      maxResponseTokens: 2048
      until: {steps: 200}
"""


@pytest.fixture
def minimal_text() -> str:
    return MINIMAL
