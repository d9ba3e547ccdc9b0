"""A vLLM engine in a process of its own, driven through a socket: `python engine_process.py ADDRESS`.

vLLM changes the process it runs in (process groups, memory policy, thread settings), so the tests keep it out of theirs. The parent
sends `(name, positional, keyword)` and gets `("result", value)` or `("error", exception)`.
"""

from __future__ import annotations

import pickle
import random
import sys
from multiprocessing.connection import Client
from typing import Any

import numpy
import torch

from reasonrl.rollout import vllm_engine


class Host:
    engine: vllm_engine.VllmEngine

    def start(self, *arguments: Any, **options: Any) -> bool:
        """Starts an engine; True if no random generator of this process noticed."""
        before = (torch.get_rng_state().tolist(), random.getstate(), numpy.random.get_state()[1].tolist())
        self.engine = vllm_engine.VllmEngine(*arguments, **options)
        return before == (torch.get_rng_state().tolist(), random.getstate(), numpy.random.get_state()[1].tolist())

    def sample(self, *arguments: Any, **options: Any) -> Any:
        return self.engine.sample(*arguments, **options)

    def load(self, *arguments: Any, **options: Any) -> None:
        self.engine.load(*arguments, **options)

    def load_and_forget_the_head(self, *arguments: Any, **options: Any) -> None:
        """A load as vLLM alone would do it."""
        repack = vllm_engine._repack_head
        vllm_engine._repack_head = lambda model: None
        try:
            self.engine.load(*arguments, **options)
        finally:
            vllm_engine._repack_head = repack

    def weight_version(self) -> int:
        return self.engine.weight_version

    def close(self) -> None:
        self.engine.close()


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
