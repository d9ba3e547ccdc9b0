"""Stacks of a run that does not get on, captured before anybody ends it."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reasonrl.api.run_files import Event
from reasonrl.run.status.board import CurrentStage
from reasonrl.run.status.stall_watchdog import MOST_FILES, StallWatchdog

DEADLINE_SECONDS = 120.0


class Scene:
    """A stage that a test moves, and what the watchdog made of it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.stage = CurrentStage(stage="rollout", step=12, seconds=0.0, deadline_seconds=10.0, mark=1)
        self.events: list[Event] = []
        self.looks = 0
        self.said = directory / "said"
        self.descriptor = os.open(self.said, os.O_WRONLY | os.O_CREAT)

    def look(self) -> CurrentStage:
        self.looks += 1
        return self.stage

    def now(self, *, seconds: float, mark: int = 1) -> None:
        self.stage = CurrentStage(stage="rollout", step=12, seconds=seconds, deadline_seconds=10.0, mark=mark)

    def watchdog(self, dump_others: Callable[[], str] | None = None) -> StallWatchdog:
        return StallWatchdog(
            self.look,
            run_directory=self.directory,
            record=self.events.append,
            dump_others=dump_others,
            descriptor=self.descriptor,
            every_seconds=0.01,
        )

    def wait(self, until: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not until():
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def wait_for_looks(self, count: int) -> None:
        wanted = self.looks + count
        self.wait(lambda: self.looks >= wanted)

    @property
    def files(self) -> list[str]:
        folder = self.directory / "stalls"
        return sorted(each.name for each in folder.iterdir()) if folder.exists() else []


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    os.close(scene.descriptor)


def hang_here(release: threading.Event) -> None:
    release.wait(DEADLINE_SECONDS)


def test_a_stage_past_its_deadline_leaves_the_stacks_of_all_threads(scene: Scene) -> None:
    release = threading.Event()
    hung = threading.Thread(target=hang_here, args=(release,), name="the hung one")
    hung.start()
    try:
        with scene.watchdog():
            scene.wait_for_looks(3)
            assert scene.events == []
            scene.now(seconds=10.5)
            scene.wait(lambda: bool(scene.events))
    finally:
        release.set()
        hung.join()
    (event,) = scene.events
    path = scene.directory / "stalls" / "step-000012-rollout.txt"
    assert (event.reason, event.step) == ("Stalled", 12)
    assert "deadline of 10 s" in event.message
    assert str(path) in event.message
    text = path.read_text()
    assert "in hang_here" in text
    assert f"Thread {hung.ident:#018x} is the hung one" in text
    assert "MainThread" in text
    assert text in scene.said.read_text()


def test_a_stall_is_told_once_and_the_next_one_again(scene: Scene) -> None:
    with scene.watchdog():
        scene.now(seconds=11)
        scene.wait(lambda: len(scene.events) == 1)
        scene.now(seconds=30)
        scene.wait_for_looks(5)
        assert len(scene.events) == 1
        scene.now(seconds=0, mark=2)
        scene.wait_for_looks(2)
        scene.now(seconds=11, mark=2)
        scene.wait(lambda: len(scene.events) == 2)
    assert scene.files == ["step-000012-rollout-2.txt", "step-000012-rollout.txt"]


def test_other_processes_are_asked_too(scene: Scene) -> None:
    scene.now(seconds=11)
    with scene.watchdog(lambda: "rank 3 waits in all_reduce"):
        scene.wait(lambda: bool(scene.events))
    assert "rank 3 waits in all_reduce" in (scene.directory / "stalls" / "step-000012-rollout.txt").read_text()


def test_others_that_cannot_be_asked_are_part_of_the_evidence(scene: Scene) -> None:
    def gone() -> str:
        raise ConnectionError("rank 3 does not answer")

    scene.now(seconds=11)
    with scene.watchdog(gone):
        scene.wait(lambda: bool(scene.events))
    assert "could not be asked: ConnectionError: rank 3 does not answer" in scene.said.read_text()


def test_a_disk_that_refuses_leaves_the_stacks_on_stderr(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    (scene.directory / "stalls").write_text("not a directory")
    scene.now(seconds=11)
    with scene.watchdog():
        scene.wait(lambda: "could not be written down" in caplog.text)
    assert "Current thread" in scene.said.read_text()


def test_the_oldest_files_make_room(scene: Scene) -> None:
    with scene.watchdog():
        for mark in range(2, MOST_FILES + 5):
            scene.now(seconds=11, mark=mark)
            scene.wait(lambda mark=mark: len(scene.events) == mark - 1)  # type: ignore[misc]
    assert len(scene.files) == MOST_FILES


def test_even_native_code_that_holds_the_interpreter_is_seen(tmp_path: Path) -> None:
    """PyDLL keeps the interpreter's lock during the call: no Python thread runs, the watchdog's neither."""
    code = """
        import ctypes, pathlib, sys, time
        from reasonrl.run.status.board import CurrentStage
        from reasonrl.run.status.stall_watchdog import StallWatchdog

        began = time.monotonic()

        def stage():
            return CurrentStage(stage="update", step=1, seconds=time.monotonic() - began, deadline_seconds=0.5, mark=1)

        def stuck_in_native_code():
            ctypes.PyDLL(None).sleep(6)

        with StallWatchdog(stage, run_directory=pathlib.Path(sys.argv[1]), record=print, every_seconds=0.2):
            stuck_in_native_code()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)], capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=True
    )
    assert "Timeout" in done.stderr
    assert "in stuck_in_native_code" in done.stderr
