"""The last word of a container: its result, in the file that Kubernetes reads when the container has ended.

Kubernetes keeps 4096 bytes and cuts the rest off, which would leave half a JSON object; so the message is shortened until the whole fits.
The file is a mount of its own, so it is written in place, in one go, and never renamed over.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from reasonrl.api.run_status import LARGEST_TERMINATION_MESSAGE, RunResult

LONGEST_MESSAGE = 3072
"""Characters of a result's message."""
ELLIPSIS = " …"
logger = logging.getLogger(__name__)


def run_result(*, exit_code: int, reason: str, message: str, step: int | None = None, checkpoint_step: int | None = None) -> RunResult:
    """A result of any message: what is too long is shortened, and what is no text, such as bytes of a file's name, becomes `?`."""
    text = message.encode(errors="replace").decode()
    return RunResult(
        exit_code=exit_code, reason=reason, message=_shortened(text, LONGEST_MESSAGE), step=step, checkpoint_step=checkpoint_step
    )


def termination_message(result: RunResult) -> bytes:
    """JSON of at most 4096 bytes."""
    whole = result.to_json()
    if len(whole) <= LARGEST_TERMINATION_MESSAGE:
        return whole
    fits, too_long = 0, len(result.message)
    while too_long - fits > 1:
        middle = (fits + too_long) // 2
        if len(_with_message(result, middle)) <= LARGEST_TERMINATION_MESSAGE:
            fits = middle
        else:
            too_long = middle
    return _with_message(result, fits)


def write_result(path: Path, result: RunResult) -> None:
    """Never raises: a run that has ended well must not fail because nobody listens. What went wrong is logged."""
    body = termination_message(result)
    try:
        # Non-blocking: a path that turns out to be a pipe without a reader is refused, and does not hang the end of the run.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NONBLOCK, 0o644)
        try:
            written = os.write(descriptor, body)
        finally:
            os.close(descriptor)
    except OSError as error:
        logger.error("the result cannot be written to %s: %s; it is: %s", path, error.strerror, body.decode())
        return
    if written != len(body):
        logger.error("only %d of %d bytes of the result could be written to %s; it is: %s", written, len(body), path, body.decode())


def _with_message(result: RunResult, length: int) -> bytes:
    return result.model_copy(update={"message": _shortened(result.message, length)}).to_json()


def _shortened(text: str, length: int) -> str:
    return text if len(text) <= length else text[: max(length - len(ELLIPSIS), 0)] + ELLIPSIS[: min(length, len(ELLIPSIS))]
