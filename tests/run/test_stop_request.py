"""SIGTERM and Ctrl-C: what can be done again is dropped, what cannot is finished."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from reasonrl.run.stop_request import StopRequest, StopRequestedError


@pytest.fixture(autouse=True)
def as_in_a_terminal() -> Iterator[None]:
    """A shell starts what it puts into the background with Ctrl-C ignored, and Python leaves it so."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_droppable_work_ends_at_the_signal() -> None:
    after = False
    with StopRequest() as stop:
        with pytest.raises(StopRequestedError, match="SIGTERM"), stop.droppable():
            os.kill(os.getpid(), signal.SIGTERM)
            after = True
        assert stop.requested
    assert not after


def test_other_work_is_finished_and_the_next_droppable_work_does_not_begin() -> None:
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.signal_name == "SIGINT"
        with pytest.raises(StopRequestedError), stop.droppable():
            pytest.fail("work began after a stop was asked for")


def test_a_second_signal_does_what_it_always_did() -> None:
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert stop.requested


def test_the_handlers_of_before_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with StopRequest():
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
