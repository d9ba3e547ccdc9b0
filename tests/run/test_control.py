"""What the operator's control.json asks of a run, and when it is obeyed."""

from __future__ import annotations

from pathlib import Path

import pytest

from reasonrl.controller.requests import Control as WrittenControl
from reasonrl.run.control import Control, ControlError, may_enter, read_control, request_advance, rollback_step


@pytest.fixture
def control(tmp_path: Path) -> Path:
    return tmp_path / "control.json"


def test_what_the_operator_writes_is_what_the_run_reads(control: Path) -> None:
    control.write_text(WrittenControl(advance_to="long", rollback_to=40, rollback_attempt=3, suspended_seconds=7).text())
    assert read_control(control) == Control(advance_to="long", rollback_to=40, rollback_attempt=3)
    control.write_text(WrittenControl().text())
    assert read_control(control) == Control()


def test_a_roll_back_is_for_one_start_and_no_other(control: Path) -> None:
    control.write_text('{"rollbackTo": 40, "rollbackAttempt": 3}')
    assert [rollback_step(control, attempt=attempt) for attempt in (2, 3, 4)] == [None, 40, None]


def test_going_back_to_the_start_is_a_roll_back(control: Path) -> None:
    control.write_text('{"rollbackTo": 0, "rollbackAttempt": 0}')
    assert rollback_step(control, attempt=0) == 0


def test_nothing_is_asked_where_there_is_no_operator_and_no_file(control: Path) -> None:
    assert rollback_step(None, attempt=0) is None
    assert rollback_step(control, attempt=0) is None


@pytest.mark.parametrize(
    "text", ['{"rollbackTo": 4', "[]", '{"rollbackTo": "40"}', '{"rollbackTo": -1}', '{"rollbackAttempt": true}', "\xff"]
)
def test_requests_that_cannot_be_read_stop_a_start_and_name_the_file(control: Path, text: str) -> None:
    control.write_text(text, encoding="latin-1")
    with pytest.raises(ControlError, match=r"control\.json"):
        rollback_step(control, attempt=0)
    assert not may_enter("long", run_directory=control.parent, control=control)


def test_a_persons_file_counts_on_a_cluster_too(control: Path) -> None:
    request_advance(control.parent)
    assert may_enter("long", run_directory=control.parent, control=control)
    assert not may_enter("long", run_directory=control.parent, control=control)
