"""What runs inside the processes that hold vLLM's model: this one, or one for each GPU that shares the model.

vLLM imports this module into each of them before it builds the model, which is how our weight-transfer backend becomes known there. The
functions are sent by the engine and called with vLLM's worker.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from vllm.distributed.weight_transfer.factory import WeightTransferEngineFactory

from reasonrl.rollout.protocol import WeightLoadError
from reasonrl.rollout.vllm_weight_transfer import BACKEND, OfferTransferEngine
from reasonrl.rollout.weight_offer import WeightOffer

if BACKEND not in WeightTransferEngineFactory._registry:
    WeightTransferEngineFactory.register_engine(BACKEND, OfferTransferEngine)


class WorkerExtension:
    """Named to vLLM so that it imports this module. Adds nothing to the worker itself."""


def take_weights(worker: Any, offer: WeightOffer, version: int, names: list[str], shapes: list[list[int]]) -> str | None:
    """One push through vLLM's interface. Returns why it failed, None when it did not."""
    worker.start_weight_update()
    try:
        worker.update_weights({"offer": offer, "version": version, "names": names, "shapes": shapes})
    except WeightLoadError as error:
        return str(error)
    worker.finish_weight_update()
    return None


def clear_cache(worker: Any) -> None:
    """Bad weights can leave NaN in the cache, and vLLM multiplies it by zero wherever a later request leaves a block half full."""
    for stored in worker.model_runner.kv_caches:
        stored.zero_()


def release_cache(worker: Any) -> list[int]:
    """Gives the memory of a cache on a CPU back, and keeps the tensors without it. Returns the bytes of each of its storages."""
    sizes = []
    for storage in _storages(worker):
        sizes.append(storage.nbytes())
        storage.resize_(0)
    return sizes


def take_cache(worker: Any, sizes: list[list[int]]) -> None:
    """The reverse of `release_cache`. `sizes` is what that returned in each process, by rank."""
    for storage, size in zip(_storages(worker), sizes[worker.rank], strict=True):
        storage.resize_(size)
    clear_cache(worker)


def _storages(worker: Any) -> Iterator[torch.UntypedStorage]:
    seen = set()
    for stored in worker.model_runner.kv_caches:
        storage = stored.untyped_storage()
        if storage._cdata not in seen:
            seen.add(storage._cdata)
            yield storage


def forget_shared_files(worker: Any) -> None:
    """On a CPU the processes that share a model exchange tensors through files in /dev/shm, which vLLM leaves behind when they end. All
    have them open by now, so their names can go."""
    if worker.rank == 0 and worker.device.type == "cpu":
        for file in Path("/dev/shm").glob(f"*{os.environ['VLLM_DIST_IDENT']}*cpushm*"):
            file.unlink(missing_ok=True)


def end_with(worker: Any, process: int) -> None:
    """Kills this process as soon as process `process`, which holds the engine, is gone, however it went.

    vLLM's own watch asks its workers to leave their loops, which one that waits for another in a collective never does.
    """
    if process == os.getpid():
        return
    descriptor = os.pidfd_open(process)

    def watch() -> None:
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        poller.poll()
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, name="end with the engine", daemon=True).start()
