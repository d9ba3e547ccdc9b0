"""A rollout pod as a process: it lends its node to whichever head there is, and ends when the run says that engines do not last on it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray")

from reasonrl.api.exit_codes import ExitCode
from reasonrl.api.parse import parse_job
from reasonrl.run.cluster.node_complaint import write_complaint
from reasonrl.run.cluster.ray_node import NodeSettings, RayNode
from reasonrl.run.cluster.ray_node_process import DIRECTORY_VARIABLE, UP_FILE

pytestmark = pytest.mark.slow
DEADLINE = 120.0
STORE = 100 * 2**20


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def eventually(holds: Callable[[], object], what: str) -> None:
    due = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < due, f"{what}: not within {DEADLINE:.0f} s"
        time.sleep(0.1)


class Pod:
    """`reasonrl rollout`, whose head is at `ray_port` of this machine."""

    def __init__(self, job: dict[str, Any], scratch: Path, *, ray_port: int) -> None:
        self.message, self._port, self._scratch = scratch / "message", free_port(), scratch
        config = scratch / "job.json"
        config.write_text(json.dumps(parse_job(job).dumped()))
        told = {
            "REASONRL_JOB": "tiny",
            "REASONRL_ROLE": "rollout",
            "REASONRL_INDEX": "0",
            "REASONRL_TRAINERS": "1",
            "REASONRL_HEAD": "127.0.0.1",
            "REASONRL_ADDRESS": "127.0.0.1",
            "REASONRL_STATUS_PORT": str(self._port),
            "REASONRL_RAY_PORT": str(ray_port),
            "REASONRL_TERMINATION_MESSAGE": str(self.message),
            "REASONRL_SCRATCH": str(scratch),
            "REASONRL_PODS_HERE": "4",
        }
        with (scratch / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "reasonrl.cli", "rollout", "--config", str(config)],
                env={**os.environ, **told},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def ready(self) -> bool:
        return self.answers("/readyz")

    def answers(self, page: str) -> bool:
        assert self.process.poll() is None, (self._scratch / "log").read_text()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{page}", timeout=5) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.HTTPError):
            return False

    def node_directory(self) -> Path:
        (found,) = self._scratch.glob(f"rrl-*/{UP_FILE}")
        return found.parent

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(DEADLINE)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


@pytest.fixture
def place(stack: ExitStack, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Path]:
    """Makes directories with short names: Ray's sockets lie below them."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0123456789abcdef0123456789abcdef")
    return lambda: Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rp-", ignore_cleanup_errors=True)))


def test_a_pod_outlives_its_head_and_ends_when_engines_do_not_last_on_it(
    tiny_job: dict[str, Any], place: Callable[[], Path], stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, scratch = free_port(), place()

    def head() -> RayNode:
        settings = NodeSettings(
            role="trainer", index=0, address="127.0.0.1", head=None, port=port, gpus=0, scratch=place(), store_bytes=STORE
        )
        node = RayNode(settings)
        stack.callback(node.stop)
        node.wait_ready(DEADLINE)
        return node

    first = head()
    pod = Pod(tiny_job, scratch, ray_port=port)
    stack.callback(pod.end)
    eventually(pod.ready, "the pod is joined to its head")
    before = pod.node_directory()
    first.stop()
    eventually(lambda: not pod.ready(), "the pod has lost its head")
    head()
    eventually(pod.ready, "the pod is joined to the next head")
    assert pod.node_directory() != before
    # As the run does by a task on the pod's node.
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(pod.node_directory()))
    write_complaint("5 engines in a row ended here, the last: CUDA error 719")
    assert pod.process.wait(DEADLINE) == ExitCode.RETRYABLE
    last = json.loads(pod.message.read_text())
    assert (last["reason"], last["message"]) == ("EnginesDie", "5 engines in a row ended here, the last: CUDA error 719")
    assert not list(scratch.glob("rrl-*")), "its node is gone with all it had"


def test_a_pod_that_waits_for_a_head_obeys_a_signal(tiny_job: dict[str, Any], place: Callable[[], Path], stack: ExitStack) -> None:
    pod = Pod(tiny_job, place(), ray_port=free_port())
    stack.callback(pod.end)
    eventually(lambda: pod.answers("/healthz"), "it is healthy while it waits")
    assert not pod.ready()
    pod.process.send_signal(signal.SIGTERM)
    assert pod.process.wait(DEADLINE) == ExitCode.PREEMPTED
    assert json.loads(pod.message.read_text())["reason"] == "Preempted"
