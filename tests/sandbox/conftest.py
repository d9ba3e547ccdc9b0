"""Code that a sandbox must survive, and a pool to run it in."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reasonrl.sandbox.calls import MIB, Call, FunctionReference, Limits
from reasonrl.sandbox.pool import WorkerPool

CODE = """
import os, signal, socket, subprocess, sys, time

def double(number):
    return 2 * number

def raises(message):
    raise ValueError(message)

def exits():
    sys.exit(0)

def hangs():
    while True:
        pass

def ignores_signals():
    for number in range(1, 32):
        try:
            signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError):
            pass
    time.sleep(600)

def hangs_in_c():
    return len(str(9 ** (9 ** 8)))

def leaks():
    kept = []
    while True:
        kept.append(bytearray(16 * 1024 * 1024))

def segfaults():
    import ctypes
    ctypes.string_at(0)

def prints(text):
    print(text, flush=True)
    os.write(1, text.encode())
    sys.stderr.write(text)
    return len(sys.stdin.read())

def environment():
    return dict(os.environ)

def environments_of_others():
    found = []
    for each in os.listdir("/proc") if os.path.isdir("/proc") else []:
        if each.isdigit() and int(each) != os.getpid():
            try:
                found.append(open(f"/proc/{each}/environ", "rb").read().decode(errors="replace"))
            except OSError:
                pass
    return "\\n".join(found)

def connects(port):
    with socket.create_connection(("127.0.0.1", port), timeout=2):
        return True

def writes(path):
    with open(path, "w") as file:
        file.write("here")
    return True

def writes_much(megabytes):
    with open("big", "wb") as file:
        for _ in range(megabytes):
            file.write(bytes(1024 * 1024))
            file.flush()
    return True

def opens_many(count):
    return len([open(os.devnull) for _ in range(count)])

def forks_and_both_return(value):
    os.fork()
    return value

def leaves_a_child(marker):
    subprocess.Popen([sys.executable, "-c", f"import time; time.sleep(600)  # {marker}"], start_new_session=True)
    return True

def hangs_with_a_child(marker):
    leaves_a_child(marker)
    time.sleep(600)

def fills_the_pipe():
    return "x" * (80 * 1024 * 1024)

def not_json():
    return {1, 2}

def length(text):
    return len(text)

def takes_some(response, answer):
    return response + answer

def takes_all(response, **fields):
    return sorted(fields)
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    path = tmp_path / "untrusted.py"
    path.write_text(CODE)
    return path


@pytest.fixture
def call(code: Path) -> Callable[..., Call]:
    """Makes a call of a function in CODE."""

    def make(name: str, *, timeout: float = 30.0, optional: dict[str, object] | None = None, **arguments: object) -> Call:
        reference = FunctionReference(name=name, file=code)
        return Call(function=reference, arguments=arguments, optional=optional or {}, timeout_seconds=timeout)

    return make


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    with WorkerPool(workers=1, limits=Limits(memory_bytes=512 * MIB)) as made:
        yield made


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], bool]:
    """Whether a condition comes true within twenty seconds."""

    def wait(condition: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + 20
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    return wait
