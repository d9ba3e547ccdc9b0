"""The result of a container, as Kubernetes keeps it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from reasonrl.api.run_status import LARGEST_TERMINATION_MESSAGE, RunResult, parse_run_result
from reasonrl.run.status.termination import run_result, termination_message, write_result


def read(path: Path) -> RunResult:
    found = parse_run_result(path.read_bytes())
    assert isinstance(found, RunResult), found
    return found


def test_a_result_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    result = run_result(exit_code=3, reason="RankLost", message="trainer-1 is gone", step=12, checkpoint_step=10)
    write_result(tmp_path / "log", result)
    assert read(tmp_path / "log") == result


@pytest.mark.parametrize("text", ["x", "é", "日", "😀", '"', "\\", "\n", "\x01", "a日😀\x02"], ids=ascii)
def test_the_longest_message_of_any_text_fits_and_stays_json(tmp_path: Path, text: str) -> None:
    result = run_result(exit_code=1, reason="A" * 253, message=text * 9000, step=2**31 - 1, checkpoint_step=2**31 - 1)
    write_result(tmp_path / "log", result)
    body = (tmp_path / "log").read_bytes()
    assert len(body) <= LARGEST_TERMINATION_MESSAGE
    found = read(tmp_path / "log")
    assert found.message.endswith("…")
    assert found.message.startswith(text)
    # Nothing is given away: what is left over could not hold much more.
    assert len(body) > LARGEST_TERMINATION_MESSAGE - 16 or len(found.message) > 3000


def test_a_message_that_fits_is_not_touched() -> None:
    result = run_result(exit_code=0, reason="Completed", message="y" * 3072)
    assert termination_message(result) == result.to_json()


def test_names_of_files_that_are_no_text_can_be_told() -> None:
    assert run_result(exit_code=2, reason="BadData", message="no such file: \udcff").message == "no such file: ?"


def test_a_longer_message_of_before_leaves_nothing_behind(tmp_path: Path) -> None:
    write_result(tmp_path / "log", run_result(exit_code=1, reason="First", message="z" * 3000))
    write_result(tmp_path / "log", run_result(exit_code=0, reason="Second", message=""))
    assert read(tmp_path / "log").reason == "Second"


def test_the_file_is_written_in_place_because_it_is_a_mount(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.touch()
    before = path.stat().st_ino
    write_result(path, run_result(exit_code=0, reason="Completed", message=""))
    assert path.stat().st_ino == before


@pytest.mark.parametrize("kind", ["directory", "missing folder", "pipe without reader"])
def test_a_path_that_cannot_be_written_is_logged_and_hangs_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str) -> None:
    path = tmp_path / "log"
    match kind:
        case "directory":
            path.mkdir()
        case "missing folder":
            path = tmp_path / "no" / "log"
        case _:
            os.mkfifo(path)
    write_result(path, run_result(exit_code=3, reason="EngineLost", message="gone"))
    assert "cannot be written" in caplog.text
    assert "EngineLost" in caplog.text
