"""The temporary files of a run on one machine: removed with it, or by the next supervisor after one that was killed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from reasonrl.run.cluster.scratch import Scratch

KILLED = """
import os, signal, sys
from pathlib import Path
from reasonrl.run.cluster.scratch import Scratch
scratch = Scratch(Path(sys.argv[1]))
(scratch.path / "socket").touch()
print(scratch.path, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_it_is_gone_when_the_run_is_over(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path / "home" / "scratch")
    (scratch.path / "file").touch()
    scratch.close()
    assert not scratch.path.exists()
    assert not (tmp_path / "home" / "scratch").exists()


def test_what_a_killed_supervisor_left_is_removed_by_the_next(tmp_path: Path) -> None:
    note = tmp_path / "scratch"
    left = subprocess.run([sys.executable, "-c", KILLED, str(note)], capture_output=True, text=True, check=False, timeout=60)
    abandoned = Path(left.stdout.strip())
    assert (abandoned / "socket").exists()
    scratch = Scratch(note)
    assert not abandoned.exists()
    scratch.close()


def test_that_of_a_living_supervisor_is_left_alone(tmp_path: Path) -> None:
    first = Scratch(tmp_path / "scratch")
    second = Scratch(tmp_path / "scratch")
    assert first.path.exists()
    second.close()
    first.close()


def test_a_note_that_names_something_else_removes_nothing(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (tmp_path / "scratch").write_text(str(precious))
    Scratch(tmp_path / "scratch").close()
    assert precious.exists()
