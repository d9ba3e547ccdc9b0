"""One Ray node as a child process of a pod's own process, kept on a leash.

No dashboard, no usage statistics, an object store of a known size, and no spilling to disk beyond it; the heartbeats are short, so that a
dead node is missed within seconds. Whatever way our process ends, the kernel ends the node with it, and all that the node started.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from reasonrl.api.names import Role
from reasonrl.run.cluster.errors import RayNodeError
from reasonrl.run.cluster.nodes import index_resource, role_resource
from reasonrl.sandbox.linux import die_with_parent

SHARE_OF_SHARED_MEMORY = 0.6
"""Of /dev/shm, which weights on their way also need for the copy that an engine makes."""
LEAST_STORE_BYTES = 128 * 2**20
MOST_STORE_BYTES = 64 * 2**30
_LOOK_SECONDS = 0.1
_STARTED = "Ray runtime started"
_SHOWN_LINES = 12
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # A node is missed after three seconds of silence instead of a minute.
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
    # A node whose head is gone ends itself after so long, and its pod looks for the next head.
    "RAY_gcs_rpc_server_reconnect_timeout_s": "10",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    # What does not fit is an error that names the object store, and not a disk that fills up unseen.
    "RAY_automatic_object_spilling_enabled": "0",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """`head` is None for the head itself; `port` is the head's. `scratch` must be short: sockets lie below it, whose names have a limit."""

    role: Role
    index: int
    address: str
    head: str | None
    port: int
    gpus: int
    scratch: Path
    store_bytes: int | None = None


def store_size(shared_memory: Path = Path("/dev/shm")) -> int:
    """Bytes for the object store of this pod."""
    free = shutil.disk_usage(shared_memory).free
    return int(min(MOST_STORE_BYTES, max(LEAST_STORE_BYTES, free * SHARE_OF_SHARED_MEMORY)))


class RayNode:
    """Starts at once; `wait_ready` before use. Raises RayNodeError when Ray is not installed."""

    def __init__(self, settings: NodeSettings) -> None:
        ray = Path(sys.executable).with_name("ray")
        if not ray.exists():
            raise RayNodeError("Ray is not installed beside this Python; install reasonrl[cluster]")
        self._settings = settings
        self._directory = Path(tempfile.mkdtemp(prefix="rrl-", dir=settings.scratch))
        self._log = self._directory / "node.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [str(ray), *_arguments(settings, self._directory)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **_ENVIRONMENT},
                start_new_session=True,
                # Between fork and exec it makes one system call and takes no lock.
                preexec_fn=_die_with_parent,  # noqa: PLW1509
            )

    @property
    def directory(self) -> Path:
        """Where Ray keeps its sockets and logs."""
        return self._directory

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def is_ready(self) -> bool:
        return self.alive and _STARTED in self._log.read_text(errors="replace")

    def wait_ready(self, seconds: float) -> None:
        """Raises RayNodeError when the node ends or is not up in time."""
        due = time.monotonic() + seconds
        while not self.is_ready():
            if not self.alive:
                raise RayNodeError(f"{self._what()} ended with code {self._process.returncode}: {self._last_lines()}")
            if time.monotonic() > due:
                raise RayNodeError(f"{self._what()} was not up within {seconds:.0f} s: {self._last_lines()}")
            time.sleep(_LOOK_SECONDS)

    def stop(self, seconds: float = 20.0) -> None:
        """Ends the node and all that it started, and removes its files. In bounded time."""
        if self.alive:
            self._process.terminate()
            try:
                self._process.wait(seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(seconds)
        # Whatever of its session is left: Ray leaves nothing behind by itself, except when it was killed.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        shutil.rmtree(self._directory, ignore_errors=True)

    def _what(self) -> str:
        settings = self._settings
        if settings.head is None:
            return f"the Ray head at {settings.address}:{settings.port}"
        return f"the Ray node of {settings.role}-{settings.index}, whose head is {settings.head}:{settings.port},"

    def _last_lines(self) -> str:
        lines = [line.strip() for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        return " | ".join(lines[-_SHOWN_LINES:]) or "its log is empty"


def _arguments(settings: NodeSettings, directory: Path) -> Iterable[str]:
    resources = {role_resource(settings.role): 1, index_resource(settings.role, settings.index): 1}
    yield "start"
    if settings.head is None:
        # Ray starts a server for remote drivers that nobody here uses, and cannot be told not to; at least not two at one port.
        yield from ("--head", f"--port={settings.port}", "--include-dashboard=false", f"--ray-client-server-port={_free_port()}")
    else:
        yield f"--address={settings.head}:{settings.port}"
    yield from (
        f"--temp-dir={directory}",
        f"--node-ip-address={settings.address}",
        f"--num-cpus={max(1, os.cpu_count() or 1)}",
        f"--num-gpus={settings.gpus}",
        f"--resources={json.dumps(resources)}",
        f"--object-store-memory={settings.store_bytes or store_size()}",
        "--disable-usage-stats",
        "--include-log-monitor=false",
        "--log-style=record",
        "--log-color=false",
        "--block",
    )


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("", 0))
        return int(listener.getsockname()[1])


def _die_with_parent() -> None:
    die_with_parent(signal.SIGKILL)
