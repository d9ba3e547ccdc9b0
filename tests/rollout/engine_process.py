"""A vLLM engine in a process of its own, driven through a socket: `python engine_process.py ADDRESS`.

vLLM changes the process it runs in (process groups, memory policy, thread settings), so the tests keep it out of theirs. The parent
sends `(name, positional, keyword)` and gets `("result", value)` or `("error", exception)`.
"""

from __future__ import annotations

import os
import pickle
import random
import sys
from multiprocessing.connection import Client
from typing import Any

import numpy
import torch

from reasonrl.rollout import vllm_engine
from reasonrl.rollout.weight_offer import shared_offer


class Host:
    def __init__(self) -> None:
        self.engine: Any = None

    def start(self, *arguments: Any, **options: Any) -> bool:
        """Starts an engine; True if no random generator of this process noticed."""
        before = (torch.get_rng_state().tolist(), random.getstate(), numpy.random.get_state()[1].tolist())
        self.engine = vllm_engine.VllmEngine(*arguments, **options)
        return before == (torch.get_rng_state().tolist(), random.getstate(), numpy.random.get_state()[1].tolist())

    def __getattr__(self, name: str) -> Any:
        """Any method of the engine."""
        return getattr(self.engine, name)

    def weight_version(self) -> int:
        return self.engine.weight_version

    def do(self, tasks: Any, *, at_once: bool) -> Any:
        """The outcomes of tasks by number: handed in together, or one after the other."""
        found = {}
        for batch in [tasks] if at_once else [[task] for task in tasks]:
            for task in batch:
                self.engine.submit(task)
            while self.engine.unfinished():
                found |= {outcome.number: outcome for outcome in self.engine.step()}
        return found

    def submit_and_step(self, tasks: Any, *, steps: int) -> int:
        """Tasks that are in hand afterwards."""
        for task in tasks:
            self.engine.submit(task)
        for _ in range(steps):
            self.engine.step()
        return self.engine.unfinished()

    def load_and_forget_the_head(self, *arguments: Any, **options: Any) -> None:
        """A load as vLLM alone would do it."""
        from reasonrl.rollout import vllm_weight_transfer

        repack = vllm_weight_transfer.repack_head
        vllm_weight_transfer.repack_head = lambda model: None
        try:
            self.engine.load(*arguments, **options)
        finally:
            vllm_weight_transfer.repack_head = repack

    def load_damaged(self, weights: Any, *, version: int, announced: Any, flip: bool) -> None:
        """A push of `weights`, of which the trainer said that they are `announced`, with a byte flipped on the way."""
        with shared_offer(dict(weights), version=version, dtype=torch.float32) as offer:
            if flip:
                (byte,) = os.pread(offer.descriptor, 1, 0)
                os.pwrite(offer.descriptor, bytes([byte ^ 1]), 0)
            self.engine._take(offer, {name: list(tensor.shape) for name, tensor in announced}, version=version)

    def push(self, parts: Any, *, version: int) -> None:
        """As vLLM's trainer-side engines do it: start, parts, finish."""
        engine = self.engine
        engine.start_weight_update()
        for part in parts:
            with shared_offer(dict(part), version=version, dtype=torch.float32) as offer:
                names, shapes = [name for name, _ in part], [list(tensor.shape) for _, tensor in part]
                engine.update_weights({"offer": offer, "version": version, "names": names, "shapes": shapes})
        engine.finish_weight_update()

    def is_a_client(self) -> bool:
        """Of vLLM's trainer-side engines."""
        from vllm.distributed.weight_transfer.base import VLLMWeightSyncClient

        return isinstance(self.engine, VLLMWeightSyncClient)

    def requests_in_vllm(self) -> int:
        return int(self.engine._engine.get_num_unfinished_requests())

    def used_blocks(self) -> int:
        """Blocks of the cache that belong to a request."""
        scheduler = self.engine._engine.engine_core.engine_core.scheduler
        return scheduler.kv_cache_manager.block_pool.num_gpu_blocks - 1 - scheduler.kv_cache_manager.block_pool.get_num_free_blocks()

    def cache_bytes(self) -> int:
        from reasonrl.rollout import vllm_worker

        (size,) = self.engine._engine.collective_rpc(_cache_bytes, args=(vllm_worker,))
        return int(size)


def _cache_bytes(worker: Any, module: Any) -> int:
    return sum(storage.nbytes() for storage in module._storages(worker))


def main() -> None:
    host = Host()
    with Client(sys.argv[1], family="AF_UNIX") as parent:
        while True:
            try:
                name, arguments, options = pickle.loads(parent.recv_bytes())
            except EOFError:
                return
            try:
                answer = ("result", getattr(host, name)(*arguments, **options))
            except Exception as error:  # noqa: BLE001 - handed to the parent, which raises it
                answer = ("error", error)
            # Pickled by hand: the connection's own pickler would share tensors through file descriptors.
            parent.send_bytes(pickle.dumps(answer))


if __name__ == "__main__":
    main()
