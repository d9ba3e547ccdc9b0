"""Finds the Kubernetes programs, and has scripts/kube-binaries build those that are not there yet.

The first use on a machine takes minutes and needs a Go module proxy; every later one is a look into a directory.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "kube-binaries"
BUILD_DEADLINE = float(os.environ.get("REASONRL_KUBE_BUILD_SECONDS", "3600"))


class BinariesMissing(Exception):
    """The programs are not there and could not be built; the text says why and what to do."""


@functools.cache
def binaries(*names: str) -> dict[str, Path]:
    """Paths of the programs `names` (etcd, kube-apiserver, kube-controller-manager, kubectl, helm), built if need be."""
    command = [sys.executable, str(SCRIPT), "--deadline", str(BUILD_DEADLINE), *names]
    try:
        # What is being built goes to the terminal, so that minutes of building don't look like a hang.
        result = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=BUILD_DEADLINE + 30, check=True)
    except subprocess.TimeoutExpired as error:
        raise BinariesMissing(f"{' '.join(names)}: not built within {BUILD_DEADLINE:.0f} s; run {SCRIPT} once by hand") from error
    except subprocess.CalledProcessError as error:
        raise BinariesMissing(f"{' '.join(names)}: {SCRIPT} ended with {error.returncode}; it said why above") from error
    directory = Path(result.stdout.splitlines()[-1])
    return {name: directory / name for name in names}
