"""The worker process: `python -I -m reasonrl.sandbox.worker SETTINGS`, started by the pool and by nobody else.

It puts up its walls, forks, and the child answers calls from standard input on standard output; what the called code prints goes
elsewhere. It is a process of its own, not a fork of the caller, so that it starts small and holds nothing of the caller's memory.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress

from reasonrl.sandbox import linux
from reasonrl.sandbox.frames import FrameError, FrameReader, encode_frame
from reasonrl.sandbox.functions import call_function, load_function
from reasonrl.sandbox.isolation import limit_resources, part_processes, wall_off
from reasonrl.sandbox.supervisor import reap_descendants, supervise

_KEPT_OUTPUT_BYTES = 64 * 1024
_MAX_DETAIL = 2000

Functions = dict[tuple[str, str | None, str | None], Callable[..., object]]


def main() -> None:
    settings = json.loads(sys.argv[1])
    parent = os.getppid()
    isolation = part_processes()
    if not isolation["processes"]:
        linux.adopt_orphans()
    worker = os.fork()
    if worker == 0:
        os.setpgid(0, 0)
        linux.die_with_parent(signal.SIGKILL)
        _work(settings, isolation)
        os._exit(0)
    # Both sides set the group: whichever comes first, it exists before anybody signals it.
    with suppress(OSError):
        os.setpgid(worker, worker)
    sys.exit(supervise(worker, lifeline=0, parent=parent, directory=settings["root"]))


def _work(settings: dict[str, object], isolation: dict[str, bool | str]) -> None:
    requests, replies = _private_pipes()
    limits = settings["limits"]
    assert isinstance(limits, dict)
    _build_walls(str(settings["directory"]), limits, isolation)
    functions: Functions = {}
    preload = settings["preload"]
    assert isinstance(preload, list)
    for each in preload:
        try:
            _function(functions, each)
        except BaseException as error:  # noqa: BLE001 (sys.exit in it too: whatever it raises is told to the pool)
            _send(replies, {"ready": False, "detail": f"{each['file'] or each['module']}: {last_line(error)}"})
            return
    _send(replies, {"ready": True, "isolation": isolation})
    _answer_calls(requests, replies, functions)


def _private_pipes() -> tuple[int, int]:
    """Moves the protocol out of the called code's way: its standard input is empty, its standard output goes with its errors."""
    requests, replies = os.dup(0), os.dup(1)
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)
    os.dup2(2, 1)

    def close_in_forks() -> None:
        for each in (requests, replies):
            with suppress(OSError):
                os.close(each)

    os.register_at_fork(after_in_child=close_in_forks)
    return requests, replies


def _build_walls(directory: str, limits: dict[str, int], isolation: dict[str, bool | str]) -> None:
    directory_bytes = limits.pop("directory_bytes")
    found = wall_off(directory, directory_bytes=directory_bytes, own_processes=bool(isolation["processes"]))
    details = [str(each) for each in (isolation["detail"], found["detail"]) if each]
    isolation.update({**found, "detail": "; ".join(details)})
    limit_resources(**limits)


def _answer_calls(requests: int, replies: int, functions: Functions) -> None:
    own = os.getpid()
    reader = FrameReader()
    while data := os.read(requests, 65536):
        for request in reader.feed(data):
            assert isinstance(request, dict)
            reply = _reply(functions, request)
            if os.getpid() != own:
                # The called code forked and both came back; only one of them is the worker.
                os._exit(0)
            reap_descendants()
            _forget_old_output()
            _send(replies, {"id": request["id"], **reply})
            if reply.get("spent"):
                return


def _reply(functions: Functions, request: dict[str, object]) -> dict[str, object]:
    reference, arguments, optional = request["function"], request["arguments"], request["optional"]
    assert isinstance(reference, dict)
    assert isinstance(arguments, dict)
    assert isinstance(optional, dict)
    try:
        value = call_function(_function(functions, reference), arguments, optional)
        json.dumps(value)
    except MemoryError as error:
        # What is left of its memory cannot be relied on.
        return {"outcome": "error", "detail": last_line(error), "spent": True}
    except BaseException as error:  # noqa: BLE001 (sys.exit in the called code must not end the worker in silence)
        return {"outcome": "error", "detail": last_line(error)}
    return {"outcome": "value", "value": value}


def _function(functions: Functions, reference: dict[str, str | None]) -> Callable[..., object]:
    key = (str(reference["name"]), reference["module"], reference["file"])
    if key not in functions:
        functions[key] = load_function(name=key[0], module=key[1], file=key[2])
    return functions[key]


def last_line(error: BaseException) -> str:
    """The last line of the traceback, and where in the called code it came from."""
    lines = "".join(traceback.format_exception_only(error)).strip().splitlines()
    text = lines[-1] if lines else type(error).__name__
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_machinery(frame.filename)]
    place = f" ({os.path.basename(frames[-1].filename)}, line {frames[-1].lineno})" if frames else ""
    return text[:_MAX_DETAIL] + place


def _is_machinery(filename: str) -> bool:
    return "reasonrl/sandbox/" in filename or "importlib" in filename


def _send(replies: int, message: dict[str, object]) -> None:
    try:
        data = encode_frame(message)
    except FrameError as error:
        data = encode_frame({"id": message.get("id"), "outcome": "error", "detail": f"the result is too large: {error}"})
    while data:
        data = data[os.write(replies, data) :]


def _forget_old_output() -> None:
    """Printed text is kept for the message of a crash; without an end it would reach the limit of a file."""
    with suppress(OSError):
        if os.fstat(2).st_size > _KEPT_OUTPUT_BYTES:
            os.ftruncate(2, 0)


if __name__ == "__main__":
    main()
