"""A checkpoint is complete or not there."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from reasonrl.run import checkpoint_store
from reasonrl.run.checkpoint_store import MANIFEST, CheckpointError, CheckpointStore


def write_sample(content: bytes):
    def write(directory: Path) -> None:
        (directory / "policy").mkdir()
        (directory / "policy" / "model.bin").write_bytes(content)
        (directory / "progress.json").write_text("{}")

    return write


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path: Path, warnings: list[str]) -> CheckpointStore:
    return CheckpointStore(tmp_path, warn=warnings.append)


def save(store: CheckpointStore, *steps: int) -> None:
    for step in steps:
        store.save(step, write_sample(bytes([step]) * 1000), metadata={"reason": "test"})


def test_a_saved_checkpoint_verifies_and_carries_its_metadata(store: CheckpointStore) -> None:
    save(store, 3)
    path, manifest = store.latest_complete() or pytest.fail("no checkpoint")
    assert path.name == "step-000003"
    assert manifest.step == 3
    assert manifest.metadata == {"reason": "test"}
    assert set(manifest.files) == {"policy/model.bin", "progress.json"}
    assert manifest.size == 1002


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: (path / "policy/model.bin").write_bytes(b"x" * 999), "999 bytes"),
        (lambda path: (path / "policy/model.bin").write_bytes(b"x" * 1000), "SHA-256"),
        (lambda path: (path / "policy/model.bin").unlink(), "missing"),
        (lambda path: (path / "extra").write_bytes(b""), "not in the manifest"),
        (lambda path: (path / MANIFEST).unlink(), "cannot be read"),
        (lambda path: (path / MANIFEST).write_text('{"step": 2'), "cannot be read"),
        (lambda path: (path / MANIFEST).write_text('{"schema_version": 99}'), "schema version 99"),
    ],
)
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(store: CheckpointStore, warnings: list[str], damage, message: str) -> None:
    save(store, 1, 2)
    damage(store.path(2))
    path, _ = store.latest_complete() or pytest.fail("no checkpoint")
    assert path.name == "step-000001"
    assert len(warnings) == 1
    assert "step-000002 is passed over" in warnings[0]
    assert message in warnings[0]


def test_nothing_is_found_when_every_checkpoint_is_damaged(store: CheckpointStore, warnings: list[str]) -> None:
    save(store, 1)
    (store.path(1) / MANIFEST).unlink()
    assert store.latest_complete() is None
    assert len(warnings) == 1


def test_a_full_disk_is_an_error_and_leaves_nothing(store: CheckpointStore, tmp_path: Path) -> None:
    def write(directory: Path) -> None:
        (directory / "part").write_bytes(b"some")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    save(store, 1)
    with pytest.raises(CheckpointError, match=r"step 2 could not be written .*No space left"):
        store.save(2, write, metadata={})
    assert [path.name for path in tmp_path.iterdir()] == ["step-000001"]


def test_a_really_full_file_system_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(tmp_path)], capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.strip()}")
    try:
        store = CheckpointStore(tmp_path, warn=pytest.fail)
        save(store, 1)
        with pytest.raises(CheckpointError, match="No space left"):
            store.save(2, write_sample(b"x" * 2_000_000), metadata={})
        assert store.steps() == [1]
        assert store.verify(1).step == 1
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_sound_checkpoint_of_the_same_step_is_left_alone(store: CheckpointStore) -> None:
    save(store, 1)
    store.save(1, lambda directory: pytest.fail("written again"), metadata={})
    assert store.verify(1).step == 1


def test_a_damaged_checkpoint_of_the_same_step_is_replaced(store: CheckpointStore, warnings: list[str]) -> None:
    save(store, 1)
    (store.path(1) / "progress.json").write_text("altered")
    save(store, 1)
    assert store.verify(1).step == 1
    assert "is replaced" in warnings[0]


def test_what_an_interrupted_save_left_is_never_seen_and_is_cleared(store: CheckpointStore, tmp_path: Path) -> None:
    (tmp_path / ".writing-step-000007").mkdir()
    (tmp_path / ".writing-step-000007" / "policy").write_bytes(b"half")
    assert store.steps() == []
    save(store, 8)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000008"]


CRASHING = textwrap.dedent(
    """
    import os, signal, sys
    from pathlib import Path
    from reasonrl.run import checkpoint_store
    from reasonrl.run.checkpoint_store import CheckpointStore

    fatal = int(sys.argv[2])
    calls = 0
    def counted(real):
        def call(*arguments, **named):
            global calls
            calls += 1
            if calls == fatal:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **named)
        return call

    store = CheckpointStore(Path(sys.argv[1]), warn=print)
    def write(directory):
        (directory / "a").write_bytes(b"new" * 100)
        (directory / "b").write_bytes(b"new" * 100)
    for name in ("fsync", "rename"):
        setattr(os, name, counted(getattr(os, name)))
    store.save(2, write, metadata={})
    print(calls)
    """
)


def test_killed_at_any_system_call_of_a_save_the_newest_complete_one_is_found(tmp_path: Path) -> None:
    """kill -9 before each fsync and rename of a save, then look: step 1 or a complete step 2, and never a half."""
    killed = 0
    for fatal in range(1, 50):
        directory = tmp_path / str(fatal)
        directory.mkdir()
        store = CheckpointStore(directory, warn=pytest.fail)
        save(store, 1)
        done = subprocess.run([sys.executable, "-c", CRASHING, str(directory), str(fatal)], capture_output=True, text=True, check=False)
        found, _ = store.latest_complete() or pytest.fail("no checkpoint")
        if done.returncode == 0:
            assert found.name == "step-000002"
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        killed += 1
        assert found.name in {"step-000001", "step-000002"}
        store.remove_unfinished()
        save(store, 3)
        assert not [path for path in directory.iterdir() if not path.name.startswith("step-")]
    assert killed >= 6


def test_a_deleted_checkpoint_is_gone(store: CheckpointStore, tmp_path: Path) -> None:
    save(store, 1, 2)
    store.delete(1)
    assert store.steps() == [2]
    assert [path.name for path in tmp_path.iterdir()] == ["step-000002"]


def test_the_module_flushes_through_os_so_that_the_crash_test_sees_it() -> None:
    assert checkpoint_store.os.fsync is os.fsync
