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
from reasonrl.run.cluster.ray_node import LEAST_STORE_BYTES, NodeSettings, RayNode, store_size
from reasonrl.run.stop_request import StopRequestedError

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


def started_in(directory: Path) -> list[int]:
    """Processes whose environment or command line names the directory, or whose session does: Ray's agents and workers rename themselves,
    and some outlive a killed raylet for minutes."""
    sessions = {session for process, session in every_process() if directory.name.encode() in words_of(process)}
    return [process for process, session in every_process() if session in sessions]


def every_process() -> list[tuple[int, int]]:
    """Process ids, with their sessions, of all that are not dead."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] not in "ZX" and int(fields[3]) != os.getsid(0):
                found.append((int(entry.name), int(fields[3])))
    return found


def words_of(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes() + Path(f"/proc/{process}/environ").read_bytes()
    except OSError:
        return b""


def of_session(session: int) -> list[int]:
    return [process for process, its in every_process() if its == session]


def part_of(session: int, name: str) -> int:
    return next(process for process in of_session(session) if words_of(process).split(b"\0")[0].endswith(f"/{name}".encode()))


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
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    port = free_port()
    with ExitStack() as stack:
        head = RayNode(settings(port, scratch, head=True))
        stack.callback(head.stop)
        head.wait_ready(DEADLINE)
        rollout = RayNode(settings(port, scratch, head=False))
        stack.callback(rollout.stop)
        rollout.wait_ready(DEADLINE)
        seen = nodes_seen(port, TOKEN)
        assert sorted(seen) == ["reasonrl_rollout_0", "reasonrl_trainer_0", f"threads_{os.cpu_count()}"]

        monkeypatch.setenv("RAY_AUTH_TOKEN", "f" * 32)
        stranger = RayNode(settings(port, scratch, head=False))
        stack.callback(stranger.stop)
        with pytest.raises(RayNodeError, match=rf"rollout-0.*127\.0\.0\.1:{port}.*refuses its token"):
            stranger.wait_ready(DEADLINE)
        directories = [head.directory, rollout.directory]
    for directory in directories:
        eventually(lambda directory=directory: not started_in(directory), "a stopped node leaves no process")
        assert not directory.exists()


def nodes_seen(port: int, token: str) -> list[str]:
    """The role resources that a driver of its own process sees, and how many threads work on the rollout node gets."""
    driver = textwrap.dedent(f"""
        import ray
        ray.init(address="127.0.0.1:{port}", log_to_driver=False, _node_ip_address="127.0.0.1")
        names = [name for node in ray.nodes() if node["Alive"] for name in node["Resources"]]
        actor = ray.remote(num_cpus=0, resources={{"reasonrl_rollout": 0.1}})(lambda: __import__("os").environ["OMP_NUM_THREADS"])
        threads = ray.get(actor.remote(), timeout={DEADLINE})
        print("SEEN", *[name for name in names if name.endswith("_0") and name.startswith("reasonrl")], f"threads_{{threads}}")
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
        from reasonrl.run.cluster.ray_node import LEAST_STORE_BYTES, NodeSettings, RayNode, store_size
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
            assert started_in(directory)
        finally:
            process.send_signal(signal.SIGKILL)
    eventually(lambda: not started_in(directory), "nothing of the node outlives its parent")


@pytest.mark.slow
@pytest.mark.parametrize("part", ["raylet", "gcs_server"])
def test_a_head_that_loses_a_part_ends_whole_and_says_which(scratch: Path, with_token: None, part: str) -> None:
    node = RayNode(settings(free_port(), scratch, head=True))
    try:
        node.wait_ready(DEADLINE)
        (session,) = {of for process, of in every_process() if node.directory.name.encode() in words_of(process)}
        os.kill(part_of(session, part), signal.SIGKILL)
        eventually(lambda: not node.alive, f"a node without its {part} ends")
        assert f"its {part} was ended by SIGKILL" in node.why_it_ended()
        eventually(lambda: not of_session(session), "nothing of it is left")
    finally:
        node.stop()
    assert not node.directory.exists()


@pytest.mark.slow
def test_a_head_whose_port_is_taken_says_so(scratch: Path, with_token: None) -> None:
    port = free_port()
    with ExitStack() as stack:
        first = RayNode(settings(port, scratch, head=True))
        stack.callback(first.stop)
        first.wait_ready(DEADLINE)
        second = RayNode(settings(port, scratch, head=True))
        stack.callback(second.stop)
        with pytest.raises(RayNodeError, match=rf"another Ray head is at port {port} of 127\.0\.0\.1"):
            second.wait_ready(DEADLINE)


def test_a_pod_that_is_to_stop_does_not_wait_for_its_node(scratch: Path, with_token: None) -> None:
    node = RayNode(settings(free_port(), scratch, head=True))
    try:
        with pytest.raises(StopRequestedError):
            node.wait_ready(DEADLINE, give_up=lambda: True)
    finally:
        node.stop()
    assert not node.directory.exists()


def test_a_node_without_a_token_is_refused(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_AUTH_TOKEN", raising=False)
    with pytest.raises(RayNodeError, match="RAY_AUTH_MODE=token and RAY_AUTH_TOKEN must be set"):
        RayNode(settings(free_port(), scratch, head=True))


def test_a_scratch_directory_that_sockets_cannot_lie_in_is_refused(tmp_path: Path, with_token: None) -> None:
    deep = tmp_path / ("d" * 60)
    deep.mkdir()
    with pytest.raises(RayNodeError, match=r"REASONRL_SCRATCH=.* is longer than 40 characters"):
        RayNode(settings(free_port(), deep, head=True))
    with pytest.raises(RayNodeError, match=r"REASONRL_SCRATCH=/nowhere is no directory that can be written to"):
        RayNode(settings(free_port(), Path("/nowhere"), head=True))


def test_a_node_whose_head_is_not_there_says_where_it_looked(scratch: Path, with_token: None) -> None:
    node = RayNode(settings(free_port(), scratch, head=False))
    try:
        with pytest.raises(RayNodeError, match=r"was not up within 2 s|ended with code"):
            node.wait_ready(2.0)
    finally:
        node.stop()
    assert not node.directory.exists()


def test_the_object_store_takes_a_share_of_shared_memory_and_never_nothing() -> None:
    assert store_size() >= LEAST_STORE_BYTES
    assert store_size(pods=10**6) == LEAST_STORE_BYTES
