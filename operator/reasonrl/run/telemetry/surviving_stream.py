"""A terminal that may go away while the run stays.

A closed window or a broken pipe must cost the view and nothing else; `rich` answers a broken pipe by ending the process. So the
view writes through this stream, which remembers the first failure and is silent from then on.
"""

from __future__ import annotations

import errno
import os
import threading
from typing import IO


class SurvivingStream:
    """The part of a text stream that `rich` and plain lines write to. `failure` is why it fell silent, or None."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._lock = threading.Lock()
        self.failure: str | None = None

    @property
    def encoding(self) -> str:
        return getattr(self._stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        with self._lock:
            if self.failure is None:
                try:
                    self._stream.write(text.encode(self.encoding, "replace").decode(self.encoding))
                except (OSError, ValueError) as error:
                    self._fall_silent(error)
        return len(text)

    def flush(self) -> None:
        with self._lock:
            if self.failure is None:
                try:
                    self._stream.flush()
                except (OSError, ValueError) as error:
                    self._fall_silent(error)

    def isatty(self) -> bool:
        return self.failure is None and not self._stream.closed and self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    def _fall_silent(self, error: OSError | ValueError) -> None:
        self.failure = str(error) or type(error).__name__
        if isinstance(error, OSError) and error.errno in (errno.EPIPE, errno.EIO):
            # What the stream still holds would fail again when Python flushes it at exit, and turn the exit code into 120.
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
