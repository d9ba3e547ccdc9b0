"""Exit codes of a run. The operator reads them from the pod, a shell script from `$?`; both decide by them whether to try again."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    SUCCESS = 0
    """The last phase ended, and the final policy is written."""
    FATAL = 1
    """Trying again would fail in the same way: a broken reward function, a loss that is not a number, a model that does not fit."""
    BAD_INPUT = 2
    """The job, a file that it names, or the command line is wrong. Nothing was started."""
    RETRYABLE = 3
    """Something outside the run failed, such as an engine, a network, a node, or a volume that is full; it may be mended meanwhile, and the
    run goes on from its last checkpoint."""
    PREEMPTED = 4
    """A signal asked the run to stop; it saved a checkpoint first. Starting it again goes on at the same step."""
