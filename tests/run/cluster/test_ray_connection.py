"""A run that is connected to Ray hears the signals that ask it to stop."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
import textwrap

import pytest

pytest.importorskip("ray")

SECONDS = 120.0
DRIVER = """
    import os, signal, socket, sys, threading
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path
    import ray
    from reasonrl.run.cluster.ray_connection import ray_connection
    from reasonrl.run.cluster.ray_node import NodeSettings, RayNode
    from reasonrl.run.stop_request import StopRequest, StopRequestedError

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    node = RayNode(NodeSettings(role="trainer", index=0, address="127.0.0.1", head=None, port=port, gpus=0,
                                scratch=Path(sys.argv[1]), store_bytes=100 * 2**20))
    try:
        node.wait_ready(100.0)
        with StopRequest() as stop, ray_connection("127.0.0.1", port=port):
            waiting = ThreadPoolExecutor(1)
            answer = waiting.submit(lambda: ray.get(ray.remote(num_cpus=0)(lambda: threading.Event().wait(5)).remote()))
            threading.Timer(0.5, os.kill, (os.getpid(), getattr(signal, sys.argv[2]))).start()
            try:
                with stop.droppable():
                    answer.result()
            except StopRequestedError as error:
                print("STOPPED", error)
            answer.result()
    finally:
        node.stop()
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_ends_a_wait_for_ray_and_nothing_else(name: str) -> None:
    with tempfile.TemporaryDirectory(prefix="rc-", dir="/tmp") as scratch:
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(DRIVER), scratch, name],
            env={**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16)},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    assert (done.returncode, done.stdout) == (0, f"STOPPED {name}\n"), done.stderr
    assert "SIGTERM received" not in done.stderr
