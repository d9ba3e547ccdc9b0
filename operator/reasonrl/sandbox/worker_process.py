"""One worker as its pool sees it: started, given a call, listened to, ended.

Nothing here blocks but `end`, which is bounded: the pool waits for all of its workers at once.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reasonrl.sandbox.calls import Call, FunctionReference, Limits
from reasonrl.sandbox.frames import FrameReader, encode_frame

END_SECONDS = 2.0
_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH")
"""All that a worker inherits: what Python needs to start and to read text. Everything else may be a secret."""
_DIRECTORY_PREFIX = "reasonrl-sandbox-"


class WorkerGoneError(Exception):
    """The worker's end of the pipe is closed."""


@dataclass(slots=True)
class WorkerProcess:
    """`requests` and `replies` are non-blocking ends of its pipes. `unsent` is what the pipe had no room for yet."""

    process: subprocess.Popen[bytes]
    directory: Path
    requests: int
    replies: int
    reader: FrameReader
    unsent: bytes = b""

    def send(self, call: Call, *, call_id: int) -> None:
        """Raises FrameError when the call is too large, WorkerGoneError when nobody is there to read it."""
        message = {
            "id": call_id,
            "function": call.function.to_wire(),
            "arguments": dict(call.arguments),
            "optional": dict(call.optional),
        }
        self.unsent = encode_frame(message)
        self.send_more()

    def send_more(self) -> None:
        try:
            while self.unsent:
                self.unsent = self.unsent[os.write(self.requests, self.unsent) :]
        except BlockingIOError:
            return
        except BrokenPipeError as error:
            raise WorkerGoneError from error

    def receive(self) -> list[object]:
        """The messages that are there. Raises WorkerGoneError at the end of the pipe, FrameError for bytes that are no message."""
        try:
            data = os.read(self.replies, 1 << 20)
        except BlockingIOError:
            return []
        if not data:
            raise WorkerGoneError
        return self.reader.feed(data)

    def last_words(self) -> str:
        """The last line that it, or code in it, wrote to standard error."""
        path = _output_file(self.directory)
        lines = path.read_text(errors="replace").strip().splitlines() if path.exists() else []
        return lines[-1][:500] if lines else ""

    def ask_to_end(self) -> None:
        """Its supervisor ends it at once; `end` waits for that."""
        self.process.terminate()

    def end(self) -> int:
        """Waits, and uses force when the supervisor does not answer. Returns the exit status as a shell gives it."""
        for descriptor in (self.requests, self.replies):
            os.close(descriptor)
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(END_SECONDS)
        shutil.rmtree(self.directory, ignore_errors=True)
        return self.process.returncode


def start_worker(*, limits: Limits, preload: Sequence[FunctionReference]) -> WorkerProcess:
    """A worker on its way up: its first message says whether it is ready. Raises OSError when no process can be started."""
    directory = Path(tempfile.mkdtemp(prefix=_DIRECTORY_PREFIX))
    private = directory / "files"
    private.mkdir()
    settings = {
        "root": str(directory),
        "directory": str(private),
        "limits": limits.to_wire(),
        "preload": [each.to_wire() for each in preload],
    }
    environment = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    # Sums in numpy or torch would otherwise start a thread for each core, in each worker.
    environment |= {"HOME": str(private), "TMPDIR": str(private), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with _output_file(directory).open("ab") as output:
        process = subprocess.Popen(
            # -I: no variables, no user packages, no current directory. -B: no byte code written next to a user's file.
            [sys.executable, "-I", "-B", "-m", "reasonrl.sandbox.worker", json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            cwd=private,
            env=environment,
            bufsize=0,
            # Ctrl-C at the terminal is for the run, which then ends its workers itself.
            start_new_session=True,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    requests, replies = os.dup(process.stdin.fileno()), os.dup(process.stdout.fileno())
    process.stdin.close()
    process.stdout.close()
    os.set_blocking(requests, False)
    os.set_blocking(replies, False)
    return WorkerProcess(process, directory, requests, replies, FrameReader())


def _output_file(directory: Path) -> Path:
    return directory / "output.txt"
