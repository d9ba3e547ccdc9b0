"""The first process of a machine of the local cluster: mounts its own directories over the host's, then reaps orphans until it is killed.

It runs in namespaces that were made for it (mounts, processes, network), with Python's standard library alone. When it is killed the kernel
ends every process of the machine, and the machine's mounts, links and rules go with the namespaces.

    machine_init.py READY_FILE SOURCE:TARGET...
"""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path


def main() -> int:
    ready, *binds = sys.argv[1:]
    subprocess.run(["mount", "-t", "proc", "proc", "/proc"], check=True)
    for bind in binds:
        source, _, target = bind.partition(":")
        Path(source).mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "--bind", source, target], check=True)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    Path(ready).touch()
    while True:
        signal.pause()


if __name__ == "__main__":
    sys.exit(main())
