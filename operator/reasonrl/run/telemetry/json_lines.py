"""A file of JSON lines that a killed process leaves readable.

Each line goes to the kernel in one write to a file opened for appending, so a line is there or it is the torn last one. A torn
last line is cut off before the next is written, or two records would share a line. Lines are taken back only by writing the whole
file aside and renaming it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from reasonrl.run.telemetry.telemetry_error import TelemetryError


class JsonLinesFile:
    """Raises `TelemetryError`, with the file's name, when the file system refuses."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = _open_for_appending(path)
            _cut_torn_line(self._descriptor)
        except OSError as error:
            raise TelemetryError(f"cannot write {path}: {error.strerror}") from error

    def append(self, line: str) -> None:
        """Writes one JSON object; `line` must not hold a line break."""
        data = line.encode() + b"\n"
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except OSError as error:
            raise TelemetryError(f"cannot write {self.path}: {error.strerror}") from error

    def lines(self) -> list[dict[str, object]]:
        """Every line that is a JSON object; the others are left out."""
        return [parsed for _, parsed in self._parsed_lines()]

    def keep(self, wanted: Callable[[Mapping[str, object]], bool]) -> int:
        """Takes back, at once or not at all, every line that is not wanted or not a JSON object. Returns how many went."""
        parsed = list(self._parsed_lines())
        kept = [line for line, fields in parsed if wanted(fields)]
        everything = self.path.read_bytes().count(b"\n")
        if len(kept) == everything:
            return 0
        try:
            replace_file(self.path, b"".join(line + b"\n" for line in kept))
            os.close(self._descriptor)
            self._descriptor = _open_for_appending(self.path)
        except OSError as error:
            raise TelemetryError(f"cannot rewrite {self.path}: {error.strerror}") from error
        return everything - len(kept)

    def close(self) -> None:
        os.close(self._descriptor)

    def _parsed_lines(self) -> list[tuple[bytes, dict[str, object]]]:
        found = []
        for line in self.path.read_bytes().splitlines():
            try:
                fields = json.loads(line)
            except ValueError:
                continue
            if isinstance(fields, dict):
                found.append((line, fields))
        return found


def replace_file(path: Path, content: bytes) -> None:
    """Writes aside, syncs and renames, so that a reader sees the old file or the new one, whole."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)


def _open_for_appending(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)


def _cut_torn_line(descriptor: int) -> None:
    end = position = os.fstat(descriptor).st_size
    tail = b""
    while position and b"\n" not in tail:
        start = max(0, position - 65536)
        tail = os.pread(descriptor, position - start, start) + tail
        position = start
    whole = position + tail.rfind(b"\n") + 1
    if whole != end:
        os.ftruncate(descriptor, whole)
