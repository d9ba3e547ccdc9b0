"""The process that holds one Ray node: starts GCS and raylet, watches over them, and takes everything with it when its parent ends.

It starts the node as `ray start` does inside, without what a run never uses (the dashboard's server, the autoscaler's monitor, the server
of remote drivers), which halves the time. Its standard input is a leash: when the other end closes, by whatever death of the parent, it
ends every process of its session and removes the node's directory.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from reasonrl.api.names import Role
from reasonrl.run.cluster.process_session import kill_session

UP_FILE = "up"
FAILED_FILE = "failed"
"""In the node's directory: either appears once, and the second says why."""
COMPLAINT_FILE = "complaint"
"""In the node's directory: why the run wants this node's pod to be made anew."""
DIRECTORY_VARIABLE = "REASONRL_NODE_DIRECTORY"
"""The node's directory, for everything that runs on it."""
SYSTEM_CONFIG: Mapping[str, int | bool | float] = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 1000,
    "health_check_failure_threshold": 3,
    # What does not fit into the object store is an error that says so at once, and not a disk that fills up unseen. Besides spilling
    # there is an allocation of last resort on the disk, which a threshold of nothing forbids.
    "automatic_object_spilling_enabled": False,
    "local_fs_capacity_threshold": 0.0,
}
_LOOK_SECONDS = 0.2
_APPEAR_SECONDS = 90.0
_GENTLE_SECONDS = 3.0
_KILL_SECONDS = 10.0
_SHOWN_LINES = 3
_LONGEST_LINE = 300


def main(settings: dict[str, Any]) -> None:
    """`settings`: `head` (host and port, or None for the head itself), `port`, `address`, `directory`, `role`, `index`,
    `cpus`, `gpus`, `store_bytes`, `parent` (process id)."""
    directory = Path(settings["directory"])
    ending = Ending(directory)
    signal.signal(signal.SIGTERM, ending.on_signal)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_hold_leash, args=(ending,), name="leash", daemon=True).start()
    if os.getppid() != settings["parent"]:
        ending.end()
    try:
        node = start_node(settings)
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent hears it
        # Ray's own words for it are in the log, in full.
        sys.excepthook(type(error), error, error.__traceback__)
        _say(directory / FAILED_FILE, what_failed(error, settings))
        kill_session(os.getsid(0), seconds=_KILL_SECONDS)
        return
    ending.node = node
    _say(directory / UP_FILE, node.address)
    while True:
        time.sleep(_LOOK_SECONDS)
        dead = [(str(kind), process.poll()) for kind, process in node.dead_processes()]
        if dead:
            kind, code = dead[0]
            _say(directory / FAILED_FILE, f"its {kind} {_how(code)}: {_last_lines(directory, kind)}")
            kill_session(os.getsid(0), seconds=_KILL_SECONDS)
            return


class Ending:
    """Of the node, asked for by the leash or by a signal, whichever comes first."""

    def __init__(self, directory: Path) -> None:
        self.node: Any = None
        self._directory = directory
        self._lock = threading.Lock()

    def on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.end()

    def end(self) -> None:
        """Does not return."""
        if not self._lock.acquire(blocking=False):
            # The other thread is at it, and ends the process.
            threading.Event().wait()
        raylet = None if self.node is None else _raylet(self.node)
        if raylet is not None and raylet.poll() is None:
            # A raylet that says good-bye is missed at once, one that is killed only after some heartbeats.
            raylet.terminate()
            due = time.monotonic() + _GENTLE_SECONDS
            while raylet.poll() is None and time.monotonic() < due:
                time.sleep(_LOOK_SECONDS / 4)
        kill_session(os.getsid(0), seconds=_KILL_SECONDS)
        shutil.rmtree(self._directory, ignore_errors=True)
        os._exit(0)


def start_node(settings: dict[str, Any]) -> Any:
    """A `ray._private.node.Node`, up and known to the head. Raises what Ray raises."""
    import ray._private.node
    import ray._private.parameter
    import ray._raylet
    from ray._private import services
    from ray._private.utils import get_num_cpus

    from reasonrl.run.cluster.nodes import index_resource, role_resource

    class LeanNode(ray._private.node.Node):
        def start_api_server(self, **_: object) -> None:
            """Without a dashboard it would only collect usage statistics, which are off."""
            self._webui_url = ""

        def start_ray_processes(self) -> None:
            super().start_ray_processes()  # type: ignore[no-untyped-call]
            # Ray waits half a minute for its node to appear, which a busy machine may not make: its agents start first.
            due = time.monotonic() + _APPEAR_SECONDS
            while time.monotonic() < due and not self.dead_processes():  # type: ignore[no-untyped-call]
                try:
                    services.get_node(self.gcs_address, self._node_id)  # type: ignore[no-untyped-call]
                    return
                except RuntimeError:
                    time.sleep(_LOOK_SECONDS)

    # Ray gives an actor that asks for no CPU one thread. What the container may use, it knows from its control group.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, int(get_num_cpus(override_docker_cpu_warning=True)) // max(1, settings["gpus"]))))
    role: Role = settings["role"]
    address = services.resolve_ip_for_localhost(settings["address"])
    parameters = ray._private.parameter.RayParams(
        node_ip_address=address,
        node_name=address,
        # 0: whatever port is free, so that nodes on one machine do not take each other's.
        min_worker_port=0,
        max_worker_port=0,
        dashboard_agent_listen_port=0,
        num_cpus=settings["cpus"],
        num_gpus=settings["gpus"],
        resources={role_resource(role): 1, index_resource(role, settings["index"]): 1},
        object_store_memory=settings["store_bytes"],
        temp_dir=settings["directory"],
        include_dashboard=False,
        include_log_monitor=False,  # type: ignore[arg-type]
        no_monitor=True,
    )
    head = settings["head"]
    if head is None:
        parameters.gcs_server_port = settings["port"]
        parameters._system_config = dict(SYSTEM_CONFIG)  # type: ignore[arg-type]
    else:
        # Asked once before: a node that is refused would try again for twenty seconds before it says so.
        ray._raylet.GcsClient(address=head)  # type: ignore[attr-defined]
        parameters.gcs_address = head
    return LeanNode(parameters, head=head is None, shutdown_at_exit=False, spawn_reaper=True)


def what_failed(error: BaseException, settings: dict[str, Any]) -> str:
    """In a sentence for who looks after the pods."""
    text = f"{type(error).__name__}: {error}"
    if "AuthenticationError" in text or "InvalidAuthToken" in text:
        return "the head refuses its token: RAY_AUTH_TOKEN must be the same in all pods of a run (a pod of another run at this address?)"
    if "does not match persisted value" in text or "Address already in use" in text:
        return f"another Ray head is at port {settings['port']} of {settings['address']} already"
    return text.strip().splitlines()[0]


def _hold_leash(ending: Ending) -> None:
    while os.read(0, 1):
        pass
    ending.end()


def _raylet(node: Any) -> Any:
    found = node.all_processes.get("raylet")
    return found[0].process if found else None


def _say(path: Path, text: str) -> None:
    """Whole or not at all, for a reader that looks at any time."""
    writing = path.with_name(f".{path.name}")
    writing.write_text(text)
    writing.rename(path)


def _how(code: int | None) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code is not None and code < 0 else f"ended with code {code}"


def _last_lines(directory: Path, kind: str) -> str:
    lines: list[str] = []
    for suffix in ("out", "err"):
        for path in sorted(directory.glob(f"session_*/logs/{kind}*.{suffix}")):
            lines += [line.strip()[:_LONGEST_LINE] for line in path.read_text(errors="replace").splitlines() if line.strip()]
    return " | ".join(lines[-_SHOWN_LINES:]) or "it left no word"


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
