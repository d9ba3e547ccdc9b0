"""What a run raises, as a message on stderr and an exit code, instead of a traceback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from reasonrl.api.exit_codes import ExitCode
from reasonrl.data.errors import DataError
from reasonrl.rollout.errors import RolloutError
from reasonrl.run.checkpoint_store import CheckpointError
from reasonrl.run.errors import RunInputError
from reasonrl.run.reward_failure import RewardFailureError
from reasonrl.run.run_directory import RunDirectoryError
from reasonrl.run.telemetry.telemetry_error import TelemetryAddressError, TelemetryError
from reasonrl.sandbox.errors import SandboxError
from reasonrl.train.protocol import TrainerError

_CODES: tuple[tuple[type[Exception], ExitCode], ...] = (
    (RunInputError, ExitCode.BAD_INPUT),
    (DataError, ExitCode.BAD_INPUT),
    (RunDirectoryError, ExitCode.BAD_INPUT),
    (SandboxError, ExitCode.BAD_INPUT),
    (TrainerError, ExitCode.FATAL),
    (RolloutError, ExitCode.FATAL),
    (RewardFailureError, ExitCode.FATAL),
    (CheckpointError, ExitCode.RETRYABLE),
    (TelemetryAddressError, ExitCode.BAD_INPUT),
    (TelemetryError, ExitCode.RETRYABLE),
)


@contextmanager
def explained() -> Iterator[None]:
    """Turns the errors that a run is known to raise into a message and the exit code that belongs to them."""
    try:
        yield
    except tuple(kind for kind, _ in _CODES) as error:
        code = next(code for kind, code in _CODES if isinstance(error, kind))
        sys.stderr.write(f"error: {error}\n")
        sys.exit(code)
