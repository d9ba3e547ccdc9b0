"""One run of a sweep in a process of its own: `python -m reasonrl.run.sweep_worker PARENT DIRECTORY BASE_DIRECTORY`, the job on stdin.

It runs what `reasonrl run` runs. A process of its own, because one arm that runs out of memory or crashes must not take the others along,
and because a run leaves torch's global state behind. It dies with the sweep: a run that nobody waits for would hold its directory and the
machine; what it has saved is gone on from.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
from pathlib import Path

from reasonrl.api.exit_codes import ExitCode
from reasonrl.api.parse import parse_job
from reasonrl.sandbox.linux import die_with_parent


def main(parent: int, directory: Path, base_directory: Path) -> ExitCode:
    # Elsewhere than on Linux there is no such call, and an orphaned run goes on to its end.
    with contextlib.suppress(OSError, AttributeError):
        die_with_parent(signal.SIGKILL)
    if os.getppid() != parent:
        return ExitCode.PREEMPTED
    job = parse_job(json.load(sys.stdin))

    from reasonrl.run.local import run_on_one_machine
    from reasonrl.run.status.outcome import known_outcome

    try:
        result = run_on_one_machine(job, directory=directory, base_directory=base_directory, console=None)
    except Exception as error:
        outcome = known_outcome(error)
        if outcome is None:
            raise
        print(f"error: {outcome.message}", file=sys.stderr)
        return outcome.exit_code
    print(result.message, file=sys.stderr)
    return result.exit_code


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])))
