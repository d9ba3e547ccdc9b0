"""A pod that is deleted while it still starts: it must not sit out its grace period."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reasonrl.api.exit_codes import ExitCode

DEADLINE = 60.0
POD = {
    "REASONRL_JOB": "small",
    "REASONRL_NAMESPACE": "default",
    "REASONRL_INDEX": "0",
    "REASONRL_ATTEMPT": "0",
    "REASONRL_TRAINERS": "1",
    "REASONRL_GPUS": "0",
    "REASONRL_HEAD": "127.0.0.1",
    "REASONRL_HOST": "127.0.0.1",
    "REASONRL_STATUS_PORT": "0",
}


def catches_sigterm(pid: int) -> bool:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    caught = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt:"))
    return bool(caught & 1 << (signal.SIGTERM - 1))


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel which signals are caught")
@pytest.mark.parametrize("role", ["trainer", "rollout"])
def test_a_pod_that_is_deleted_while_it_starts_ends_at_once(role: str, tmp_path: Path) -> None:
    config = tmp_path / "job.yaml"
    os.mkfifo(config)  # Nobody writes to it: the pod stays where it reads its job.
    environment = {**os.environ, **POD, "REASONRL_ROLE": role, "REASONRL_CHECKPOINTS": str(tmp_path)}
    environment["REASONRL_TERMINATION_MESSAGE"] = str(tmp_path / "message")
    command = [sys.executable, "-m", "reasonrl.cli", role, "--config", str(config)]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + DEADLINE
        while not catches_sigterm(process.pid):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.terminate()
        assert process.wait(DEADLINE) == ExitCode.PREEMPTED
    finally:
        process.kill()
        process.wait()
