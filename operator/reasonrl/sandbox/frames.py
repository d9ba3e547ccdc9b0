"""Messages on a pipe: four bytes of length, then JSON.

JSON and not pickle, because the parent must not execute what a worker sends.
"""

from __future__ import annotations

import json
import struct

_LENGTH = struct.Struct(">I")
MAX_FRAME_BYTES = 64 * 1024**2


class FrameError(Exception):
    """Bytes that are no message: too long, or not JSON."""


def encode_frame(message: object) -> bytes:
    """Values that JSON cannot hold become their text. Raises FrameError for a message over the limit."""
    body = json.dumps(message, default=str).encode()
    if len(body) > MAX_FRAME_BYTES:
        raise FrameError(f"a message of {len(body)} bytes; the limit is {MAX_FRAME_BYTES}")
    return _LENGTH.pack(len(body)) + body


class FrameReader:
    """Collects bytes as they come and gives back whole messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[object]:
        """The messages completed by `data`. Raises FrameError when the stream cannot be understood."""
        self._buffer += data
        messages: list[object] = []
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length > MAX_FRAME_BYTES:
                raise FrameError(f"a message of {length} bytes; the limit is {MAX_FRAME_BYTES}")
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                break
            try:
                messages.append(json.loads(self._buffer[_LENGTH.size : end]))
            except (ValueError, RecursionError) as error:
                raise FrameError(f"a message that is not JSON: {error}") from error
            del self._buffer[:end]
        return messages
