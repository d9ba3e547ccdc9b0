"""A volume that refuses a checkpoint is told by name, whichever library met it."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from reasonrl.run.checkpoint_disk import disk_fault
from reasonrl.run.checkpoint_store import CheckpointDiskFullError, CheckpointError, CheckpointStore

CHILD = """
    import pathlib, subprocess, sys
    import torch
    from safetensors.torch import save_file
    from reasonrl.run.checkpoint_store import CheckpointError, CheckpointStore

    directory, options, writer = sys.argv[1:]
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", directory], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"cannot mount: {done.stderr}")
    store = CheckpointStore(pathlib.Path(directory) / "checkpoints", warn=print)
    store.save(1, lambda path: (path / "state").touch(), metadata={})
    if options:
        subprocess.run(["mount", "-o", f"remount,{options}", directory], check=True)
    tensors = {"weights": torch.zeros(2_000_000)}
    writers = {
        "safetensors": lambda path: save_file(tensors, path / "model.safetensors"),
        "torch": lambda path: torch.save(tensors, path / "state.pt"),
        "python": lambda path: (path / "state").write_bytes(bytes(8_000_000)),
    }
    try:
        store.save(2, writers[writer], metadata={})
    except CheckpointError as error:
        print(type(error).__name__, str(error))
    print(sorted(each.name for each in (pathlib.Path(directory) / "checkpoints").iterdir()))
"""


@pytest.mark.parametrize("writer", ["safetensors", "torch", "python"])
@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [("", "CheckpointDiskFullError", "is full: "), ("ro", "CheckpointDiskReadOnlyError", "is read-only; mount it for writing")],
    ids=["full", "read-only"],
)
def test_a_volume_that_refuses_is_named_whichever_library_met_it(tmp_path: Path, options: str, kind: str, says: str, writer: str) -> None:
    done = subprocess.run(
        ["unshare", "--mount", sys.executable, "-c", textwrap.dedent(CHILD), str(tmp_path), options, writer],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    if done.returncode != 0 and ("unshare" in done.stderr or "cannot mount" in done.stderr):
        pytest.skip(f"a small file system cannot be mounted here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    first, left = done.stdout.splitlines()[-2:]
    assert first.startswith(f"{kind} checkpoint of step 2 could not be written to {tmp_path}/checkpoints: ")
    assert f"the volume mounted at {tmp_path} {says}" in first
    assert left == "['step-000001']"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_number_in_the_text_of_an_error_is_enough(tmp_path: Path, number: int) -> None:
    fault = disk_fault(Exception(f"Error while serializing: I/O error: whatever (os error {number})"), tmp_path)
    assert fault is not None
    assert fault.kind == "full"
    assert "spec.checkpoint.keepLast" in fault.message


def test_the_error_of_another_process_is_looked_through(tmp_path: Path) -> None:
    class FromAnotherProcess(Exception):
        def __init__(self, cause: BaseException) -> None:
            super().__init__("a rank failed")
            self.cause = cause

    fault = disk_fault(FromAnotherProcess(OSError(errno.EROFS, os.strerror(errno.EROFS))), tmp_path)
    assert fault is not None
    assert fault.kind == "readOnly"


def test_an_error_that_is_not_the_disks_stays_what_it_is(tmp_path: Path) -> None:
    def write(directory: Path) -> None:
        (directory / "part").touch()
        raise ValueError("a rank holds other shapes")

    store = CheckpointStore(tmp_path, warn=pytest.fail)
    with pytest.raises(ValueError, match="other shapes"):
        store.save(1, write, metadata={})
    assert list(tmp_path.iterdir()) == []


def test_another_fault_of_the_disk_is_not_called_full(tmp_path: Path) -> None:
    def write(directory: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(CheckpointError, match="Input/output error") as raised:
        CheckpointStore(tmp_path, warn=pytest.fail).save(1, write, metadata={})
    assert not isinstance(raised.value, CheckpointDiskFullError)
