"""One Ray node as a child process of a pod's own process, kept on a leash.

No dashboard, no usage statistics, an object store of a known size, and no spilling to disk beyond it; the heartbeats are short, so that a
dead node is missed within seconds. Whatever way our process ends, the node ends with it, and all that the node started.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from reasonrl.api.names import Role
from reasonrl.run.cluster.errors import RayNodeError
from reasonrl.run.cluster.process_session import kill_session
from reasonrl.run.cluster.ray_node_process import COMPLAINT_FILE, DIRECTORY_VARIABLE, FAILED_FILE, SYSTEM_CONFIG, UP_FILE
from reasonrl.run.stop_request import StopRequestedError

SHARE_OF_SHARED_MEMORY = 0.6
"""Of /dev/shm, which weights on their way also need for the copy that an engine makes."""
LEAST_STORE_BYTES = 80 * 2**20
"""Ray takes no smaller one."""
MOST_STORE_BYTES = 64 * 2**30
LONGEST_SCRATCH = 40
"""Characters. A socket's name may have 107, and Ray's own directories and names take the rest."""
_CPUS = 1
"""Offered to Ray, which starts so many processes ahead. Ranks and engines ask for none: a pod holds as many as it was made for."""
_LOOK_SECONDS = 0.05
_KILL_SECONDS = 10.0
_SHOWN_LINES = 8
_LOG = "node.log"
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    # A node whose head is gone ends itself after so long, and its pod looks for the next head.
    "RAY_gcs_rpc_server_reconnect_timeout_s": "10",
    # Logs on a pod's disk: 16 MiB each, and the one before.
    "RAY_ROTATION_MAX_BYTES": str(16 * 2**20),
    "RAY_ROTATION_BACKUP_COUNT": "1",
    **{f"RAY_{name}": str(value).lower() for name, value in SYSTEM_CONFIG.items()},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """`head` is None for the head itself; `port` is the head's. `scratch` must be short: sockets lie below it, whose names have a limit.
    Each actor may use the container's CPUs, divided by its GPUs, where OMP_NUM_THREADS does not say otherwise."""

    role: Role
    index: int
    address: str
    head: str | None
    port: int
    gpus: int
    scratch: Path
    store_bytes: int | None = None


def store_size(shared_memory: Path = Path("/dev/shm"), *, pods: int = 1) -> int:
    """Bytes for the object store of one of `pods` that share this memory."""
    free = shutil.disk_usage(shared_memory).free
    return int(min(MOST_STORE_BYTES, max(LEAST_STORE_BYTES, free * SHARE_OF_SHARED_MEMORY / pods)))


class RayNode:
    """Starts at once; `wait_ready` before use. The token of the cluster is in the environment.

    Raises RayNodeError when Ray is not installed, the token is missing, or `scratch` cannot be used.
    """

    def __init__(self, settings: NodeSettings) -> None:
        _check(settings)
        self._settings = settings
        self._directory = Path(tempfile.mkdtemp(prefix="rrl-", dir=settings.scratch))
        self._log = self._directory / _LOG
        self._started = time.monotonic()
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "reasonrl.run.cluster.ray_node_process", json.dumps(self._order())],
                # The leash: the kernel lets go of it when this process ends, whatever ends it.
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **_ENVIRONMENT, DIRECTORY_VARIABLE: str(self._directory)},
                start_new_session=True,
            )

    @property
    def directory(self) -> Path:
        """Where Ray keeps its sockets and logs."""
        return self._directory

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def is_ready(self) -> bool:
        return self.alive and (self._directory / UP_FILE).exists()

    def wait_ready(self, seconds: float, *, give_up: Callable[[], bool] = lambda: False) -> None:
        """Raises RayNodeError when the node ends or is not up in time, StopRequestedError when `give_up` says so before."""
        due = self._started + seconds
        while not self.is_ready():
            if give_up():
                raise StopRequestedError("SIGTERM")
            if not self.alive:
                raise RayNodeError(f"{self._what()} did not start: {self.why_it_ended()}")
            if time.monotonic() > due:
                raise RayNodeError(f"{self._what()} was not up within {seconds:.0f} s: {self._last_lines()}")
            time.sleep(_LOOK_SECONDS)

    def complaint(self) -> str | None:
        """Why the run wants this pod to be made anew, None while it does not."""
        try:
            return (self._directory / COMPLAINT_FILE).read_text()
        except FileNotFoundError:
            return None

    def why_it_ended(self) -> str:
        """Once it is not alive any more."""
        try:
            return (self._directory / FAILED_FILE).read_text()
        except OSError:
            return f"its process ended with code {self._process.poll()}: {self._last_lines()}"

    def stop(self, seconds: float = 20.0) -> None:
        """Ends the node and all that it started, and removes its files. In bounded time."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        # Where the process was killed, it could not do this itself.
        kill_session(self._process.pid, seconds=_KILL_SECONDS)
        shutil.rmtree(self._directory, ignore_errors=True)

    def _order(self) -> dict[str, object]:
        settings = self._settings
        return {
            "head": None if settings.head is None else f"{settings.head}:{settings.port}",
            "port": settings.port,
            "address": settings.address,
            "directory": str(self._directory),
            "role": settings.role,
            "index": settings.index,
            "cpus": _CPUS,
            "gpus": settings.gpus,
            "store_bytes": settings.store_bytes or store_size(),
            "parent": os.getpid(),
        }

    def _what(self) -> str:
        settings = self._settings
        if settings.head is None:
            return f"the Ray head at {settings.address}:{settings.port}"
        return f"the Ray node of {settings.role}-{settings.index}, whose head is {settings.head}:{settings.port},"

    def _last_lines(self) -> str:
        try:
            text = self._log.read_text(errors="replace")
        except OSError:
            return "its log is gone"
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return " | ".join(lines[-_SHOWN_LINES:]) or "its log is empty"


def _check(settings: NodeSettings) -> None:
    if importlib.util.find_spec("ray") is None:
        raise RayNodeError("Ray is not installed for this Python; install reasonrl[cluster]")
    if os.environ.get("RAY_AUTH_MODE") != "token" or not os.environ.get("RAY_AUTH_TOKEN"):
        raise RayNodeError(
            "RAY_AUTH_MODE=token and RAY_AUTH_TOKEN must be set: without a token, whoever reaches the port could run code in the run's pods"
        )
    if len(str(settings.scratch)) > LONGEST_SCRATCH:
        raise RayNodeError(
            f"REASONRL_SCRATCH={settings.scratch} is longer than {LONGEST_SCRATCH} characters, too long for the names of Ray's sockets"
        )
    if not os.access(settings.scratch, os.W_OK):
        raise RayNodeError(f"REASONRL_SCRATCH={settings.scratch} is no directory that can be written to")
