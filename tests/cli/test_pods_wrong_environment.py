"""A pod that is told wrongly who it is: one sentence that names the variable, and the code that nobody tries again."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

TOLD = {
    "REASONRL_JOB": "small",
    "REASONRL_INDEX": "0",
    "REASONRL_TRAINERS": "1",
    "REASONRL_HEAD": "127.0.0.1",
}


@pytest.fixture(autouse=True)
def own_signals() -> Iterator[None]:
    """A pod sets its handler first of all, and here its process is that of the tests."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("role", ["trainer", "rollout"])
@pytest.mark.parametrize(("name", "value"), [("REASONRL_ROLE", "learner"), ("REASONRL_INDEX", "-1"), ("REASONRL_HEAD", "")])
def test_a_wrong_variable_is_named_on_one_line_and_in_the_termination_message(
    role: str, name: str, value: str, reasonrl: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    message = tmp_path / "message"
    for key, said in {**TOLD, "REASONRL_ROLE": role, "REASONRL_TERMINATION_MESSAGE": str(message), name: value}.items():
        monkeypatch.setenv(key, said)
    answer = reasonrl(role)
    assert answer.code == 2
    assert answer.err.startswith(f"error: {name} ")
    assert len(answer.err.splitlines()) == 1
    last_word = json.loads(message.read_text())
    assert (last_word["exitCode"], last_word["reason"]) == (2, "BadInput")
    assert f"error: {last_word['message']}\n" == answer.err
