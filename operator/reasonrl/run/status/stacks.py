"""Where every thread of this process stands, as text. A rank or an engine answers it when it is asked why the run does not get on."""

from __future__ import annotations

import faulthandler
import os
import tempfile
import threading


def thread_stacks() -> str:
    """The Python stacks of all threads, and which thread is whose. Threads that are in native code stand at the call that led there."""
    names = "".join(f"Thread {thread.ident or 0:#018x} is {thread.name}\n" for thread in threading.enumerate())
    with tempfile.TemporaryFile() as file:
        faulthandler.dump_traceback(file=file, all_threads=True)
        file.seek(0)
        stacks = file.read().decode(errors="replace")
    return f"Process {os.getpid()}\n{names}{stacks}"
