"""One run of a sweep in a process of its own. It runs what `reasonrl run` runs.

A process of its own, because one arm that runs out of memory or crashes must not take the others along, and because a run leaves torch's
global state behind. It is forked from a server that has imported torch and transformers once, which takes longer than many a small run. It
dies with the sweep: a run that nobody waits for would hold its directory and the machine; what it has saved is gone on from.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NoReturn

from reasonrl.api.exit_codes import ExitCode
from reasonrl.api.parse import parse_job

_PRELOADED = ["reasonrl.run.local", "reasonrl.run.status.outcome"]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkOrder:
    """What a process needs to know. `threads` None leaves torch's own choice; `log` takes all that it prints."""

    job: Mapping[str, object]
    directory: Path
    base_directory: Path
    log: Path
    threads: int | None


def start_worker(order: WorkOrder) -> BaseProcess:
    """The process, started. Its exit code is that of the run, or minus the signal that killed it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    process = context.Process(target=_work, args=(order,), name=str(order.directory))
    process.start()
    return process


def _work(order: WorkOrder) -> None:
    # Ctrl-C reaches everything in the terminal's group; a run would take it and the sweep's word for two, and not save itself.
    os.setsid()
    _print_into(order.log)
    threading.Thread(target=_die_with_parent, daemon=True).start()

    import torch

    from reasonrl.run.local import run_on_one_machine
    from reasonrl.run.status.outcome import known_outcome

    if order.threads is not None:
        # For what the run itself starts, too.
        os.environ["OMP_NUM_THREADS"] = str(order.threads)
        torch.set_num_threads(order.threads)
    try:
        result = run_on_one_machine(parse_job(order.job), directory=order.directory, base_directory=order.base_directory, console=None)
    except Exception as error:
        outcome = known_outcome(error)
        if outcome is None:
            raise
        _end(f"error: {outcome.message}", outcome.exit_code)
    _end(result.message, result.exit_code)


def _end(message: str, code: ExitCode) -> NoReturn:
    print(message, file=sys.stderr, flush=True)
    sys.exit(int(code))


def _print_into(log: Path) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(descriptor, sys.stdout.fileno())
    os.dup2(descriptor, sys.stderr.fileno())
    os.close(descriptor)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)
