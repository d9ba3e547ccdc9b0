"""The pods of a run with addresses that can be cut off from each other: run as a command in the supervisor's place.

    python pods_by_hand.py JOB OUTPUT NAMESPACE HEAD_ADDRESS FAR_ADDRESS

All pods are on this machine at HEAD_ADDRESS, but the first rollout pod, which is in the network namespace at FAR_ADDRESS. No pod is
replaced: the trainer's end is the end of all, with its exit code.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from reasonrl.api.job import ReasoningRLJob
from reasonrl.sandbox.linux import die_with_parent


def main(job: Path, output: Path, namespace: str, head: str, far: str) -> int:
    home = output / ".cluster"
    (home / "logs").mkdir(parents=True)
    config = home / "job.yaml"
    config.write_text(json.dumps(ReasoningRLJob.model_validate(yaml.safe_load(job.read_text())).dumped()))
    shared = {
        "REASONRL_JOB": "faults",
        "REASONRL_TRAINERS": "1",
        "REASONRL_HEAD": head,
        "REASONRL_RAY_PORT": str(_free_port()),
        "REASONRL_OUTPUT": str(output),
        "REASONRL_BASE_DIRECTORY": str(job.parent),
        "REASONRL_SCRATCH": tempfile.gettempdir(),
        "REASONRL_PODS_HERE": "3",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(16),
    }
    pods = [
        _start(role, index, config=config, home=home, environment={**shared, "REASONRL_ADDRESS": address}, inside=inside)
        for role, index, address, inside in (
            ("trainer", 0, head, []),
            ("rollout", 0, far, ["ip", "netns", "exec", namespace]),
            ("rollout", 1, head, []),
        )
    ]
    code = pods[0].wait()
    for pod in pods[1:]:
        pod.terminate()
    for pod in pods[1:]:
        pod.wait(60)
    return code


def _start(role: str, index: int, *, config: Path, home: Path, environment: dict[str, str], inside: list[str]) -> subprocess.Popen[bytes]:
    own = {
        "REASONRL_ROLE": role,
        "REASONRL_INDEX": str(index),
        "REASONRL_HOST": environment["REASONRL_ADDRESS"],
        "REASONRL_STATUS_PORT": str(_free_port()),
        "REASONRL_TERMINATION_MESSAGE": str(home / f"{role}-{index}.termination"),
    }
    with (home / "logs" / f"{role}-{index}-0.log").open("wb") as log:
        return subprocess.Popen(
            [*inside, sys.executable, "-m", "reasonrl.cli", role, "--config", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, **environment, **own},
            start_new_session=True,
            preexec_fn=lambda: die_with_parent(signal.SIGKILL),  # noqa: PLW1509 - one system call, and no lock
        )


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("0.0.0.0", 0))
        return int(listener.getsockname()[1])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:]))
