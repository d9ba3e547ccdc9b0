"""What sandboxed code can reach: no secrets, no network, no files of others."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from reasonrl.sandbox.calls import MIB, Call, CallOutcome, Limits
from reasonrl.sandbox.pool import WorkerPool

MakeCall = Callable[..., Call]
SECRET = "s3cret-token-of-the-run"


@pytest.fixture
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)


@pytest.mark.usefixtures("_secret")
def test_the_environment_of_the_parent_is_not_inherited(call: MakeCall) -> None:
    with WorkerPool(workers=1) as pool:
        environment = pool.run([call("environment")])[0].value
    assert isinstance(environment, dict)
    assert SECRET not in environment.values()
    assert set(environment) <= {
        *("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH", "HOME", "TMPDIR", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    }


@pytest.mark.usefixtures("_secret")
def test_the_environment_of_other_processes_cannot_be_read(pool: WorkerPool, call: MakeCall) -> None:
    if not pool.isolation.files:
        pytest.skip("this machine does not permit mount namespaces")
    assert SECRET not in str(pool.run([call("environments_of_others")])[0].value)


def test_the_network_is_out_of_reach(pool: WorkerPool, call: MakeCall) -> None:
    if not pool.isolation.network:
        pytest.skip("this machine does not permit network namespaces")
    with socket.create_server(("127.0.0.1", 0)) as server:
        result = pool.run([call("connects", port=server.getsockname()[1])])[0]
    assert result.outcome is CallOutcome.ERROR
    assert "OSError" in result.detail or "Network is unreachable" in result.detail or "refused" in result.detail


def test_files_outside_cannot_be_written(pool: WorkerPool, call: MakeCall, tmp_path: Path) -> None:
    if not pool.isolation.files:
        pytest.skip("this machine does not permit mount namespaces")
    target = tmp_path / "checkpoint"
    outside, inside = pool.run([call("writes", path=str(target)), call("writes", path="own.txt")])
    assert outside.outcome is CallOutcome.ERROR
    assert not target.exists()
    assert inside.value is True


def test_a_file_cannot_grow_beyond_its_limit(call: MakeCall) -> None:
    with WorkerPool(workers=1, limits=Limits(file_bytes=2 * MIB)) as pool:
        small, large = pool.run([call("writes_much", megabytes=1), call("writes_much", megabytes=3)])
    assert small.value is True
    assert large.outcome is CallOutcome.ERROR


def test_open_files_are_limited(call: MakeCall) -> None:
    with WorkerPool(workers=1, limits=Limits(open_files=32)) as pool:
        few, many = pool.run([call("opens_many", count=4), call("opens_many", count=64)])
    assert few.value == 4
    assert many.outcome is CallOutcome.ERROR


def test_nothing_stays_on_disk(call: MakeCall, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    with WorkerPool(workers=2) as pool:
        pool.run([call("writes", path="own.txt")] * 4)
        assert list(temporary.iterdir())
    assert list(temporary.iterdir()) == []


REFUSING = """
for each in user net pid mnt ipc; do echo 0 > /proc/sys/user/max_${each}_namespaces || exit 77; done
exec "$@"
"""

POOL_WITHOUT_WALLS = """
import sys, warnings
from pathlib import Path
from reasonrl.sandbox.calls import Call, FunctionReference
from reasonrl.sandbox.pool import WorkerPool
def call(name, timeout=20, **arguments):
    return Call(function=FunctionReference(name=name, file=Path(sys.argv[1])), arguments=arguments, timeout_seconds=timeout)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("default")
    for _ in range(2):
        with WorkerPool(workers=1) as pool:
            results = pool.run([call("double", number=2), call("hangs", timeout=0.5), call("leaves_a_child", marker=sys.argv[2])])
            assert not (pool.isolation.network or pool.isolation.files or pool.isolation.processes), pool.isolation
print([result.outcome.value for result in results], [str(each.message) for each in caught])
"""


def test_where_the_kernel_refuses_walls_work_goes_on_and_is_said_once(code: Path) -> None:
    """A user namespace in which no further namespace may be made stands in for a container that forbids them."""
    marker = f"without-walls-{os.getpid()}"
    if shutil.which("unshare") is None:
        pytest.skip("no unshare command")
    ran = subprocess.run(
        ["unshare", "-Ur", "sh", "-c", REFUSING, "sh", sys.executable, "-c", POOL_WITHOUT_WALLS, str(code), marker],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if ran.returncode in (1, 77) and "unshare" in ran.stderr:
        pytest.skip("this machine does not permit user namespaces")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("['value', 'timeout', 'value']")
    assert ran.stdout.count("does not permit every wall") == 1
    assert "can reach the network" in ran.stdout
    left = [each for each in Path("/proc").iterdir() if each.name.isdigit() and marker in _command(each)]
    assert left == []


def _command(process: Path) -> str:
    try:
        return (process / "cmdline").read_text()
    except OSError:
        return ""
