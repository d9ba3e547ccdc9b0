"""How a side of the step benchmark takes turns: it waits for `go`, makes one step, and says how long that took.

Both sides live at the same time but only one runs, so a busy machine slows both alike.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time


class Turns:
    """Speaks JSON lines on the process's standard output; whatever else is printed goes to standard error from now on."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        self._started = 0.0
        self._cpu = 0.0

    def wait(self) -> bool:
        """Waits for the next turn. False when the benchmark is over."""
        go = sys.stdin.readline().strip() == "go"
        self._started = time.perf_counter()
        self._cpu = time.process_time()
        return go

    def done(self, **facts: float) -> None:
        self._say({"seconds": time.perf_counter() - self._started, "cpu_seconds": time.process_time() - self._cpu, **facts})

    def finish(self, **facts: float) -> None:
        self._say({"peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, **facts})

    def _say(self, facts: dict[str, float]) -> None:
        self._out.write(json.dumps(facts) + "\n")
        self._out.flush()
