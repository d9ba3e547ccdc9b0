"""A Ray node as a child process: it starts, lets in who has the token, and leaves nothing behind however its parent ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

pytest.importorskip("ray")

from reasonrl.run.cluster.errors import RayNodeError
from reasonrl.run.cluster.ray_node import NodeSettings, RayNode, store_size

DEADLINE = 90.0
STORE = 100 * 2**20
TOKEN = "0123456789abcdef0123456789abcdef"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def eventually(holds: Callable[[], object], what: str) -> None:
    due = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < due, f"{what}: not within {DEADLINE:.0f} s"
        time.sleep(0.1)


def processes_of(directory: Path) -> list[str]:
    """Command lines that name the directory: every process of a Ray session does."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(directory) in command:
                found.append(command)
    return found


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    # Ray's sockets lie below it, and a socket's name may have 107 characters: pytest's own directories are too deep.
    import tempfile

    with tempfile.TemporaryDirectory(prefix="rn-") as name:
        yield Path(name)


def settings(port: int, scratch: Path, *, head: bool) -> NodeSettings:
    return NodeSettings(
        role="trainer" if head else "rollout",
        index=0,
        address="127.0.0.1",
        head=None if head else "127.0.0.1",
        port=port,
        gpus=0,
        scratch=scratch,
        store_bytes=STORE,
    )


@pytest.fixture
def with_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)


@pytest.mark.slow
def test_a_head_and_a_node_form_a_cluster_that_only_the_token_opens(
    scratch: Path, with_token: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    with ExitStack() as stack:
        head = RayNode(settings(port, scratch, head=True))
        stack.callback(head.stop)
        head.wait_ready(DEADLINE)
        rollout = RayNode(settings(port, scratch, head=False))
        stack.callback(rollout.stop)
        rollout.wait_ready(DEADLINE)
        seen = nodes_seen(port, TOKEN)
        assert sorted(seen) == ["reasonrl_rollout_0", "reasonrl_trainer_0"]

        monkeypatch.setenv("RAY_AUTH_TOKEN", "f" * 32)
        stranger = RayNode(settings(port, scratch, head=False))
        stack.callback(stranger.stop)
        with pytest.raises(RayNodeError, match=rf"rollout-0.*127\.0\.0\.1:{port}"):
            stranger.wait_ready(DEADLINE)
        directories = [head.directory, rollout.directory]
    for directory in directories:
        eventually(lambda directory=directory: not processes_of(directory), "a stopped node leaves no process")
        assert not directory.exists()


def nodes_seen(port: int, token: str) -> list[str]:
    """The role resources that a driver of its own process sees."""
    driver = textwrap.dedent(f"""
        import ray
        ray.init(address="127.0.0.1:{port}", log_to_driver=False, _node_ip_address="127.0.0.1")
        names = [name for node in ray.nodes() if node["Alive"] for name in node["Resources"]]
        print("SEEN", *[name for name in names if name.endswith("_0") and name.startswith("reasonrl")])
    """)
    done = subprocess.run(
        [sys.executable, "-c", driver],
        env={**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return next(line for line in done.stdout.splitlines() if line.startswith("SEEN")).split()[1:]


@pytest.mark.slow
def test_a_node_ends_with_its_parent_however_that_ends(scratch: Path, with_token: None) -> None:
    port = free_port()
    parent = textwrap.dedent(f"""
        import time
        from pathlib import Path
        from reasonrl.run.cluster.ray_node import NodeSettings, RayNode
        node = RayNode(NodeSettings(role="trainer", index=0, address="127.0.0.1", head=None, port={port}, gpus=0,
                                    scratch=Path({str(scratch)!r}), store_bytes={STORE}))
        node.wait_ready({DEADLINE})
        print(node.directory, flush=True)
        time.sleep(600)
    """)
    with subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            directory = Path(process.stdout.readline().strip())
            assert processes_of(directory)
        finally:
            process.send_signal(signal.SIGKILL)
    eventually(lambda: not processes_of(directory), "nothing of the node outlives its parent")


def test_a_node_whose_head_is_not_there_says_where_it_looked(scratch: Path, with_token: None) -> None:
    node = RayNode(settings(free_port(), scratch, head=False))
    try:
        with pytest.raises(RayNodeError, match=r"was not up within 2 s|ended with code"):
            node.wait_ready(2.0)
    finally:
        node.stop()
    assert not node.directory.exists()


def test_the_object_store_takes_a_share_of_shared_memory_and_never_nothing() -> None:
    assert store_size() >= 128 * 2**20
