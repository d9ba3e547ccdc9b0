"""One rank's membership in the group of trainer processes, and what the ranks settle together.

torch's default waits are half an hour, and a group that DeepSpeed makes for itself keeps them; here every group obeys one timeout, so that
a frozen peer is an error within it. A lost peer leaves the groups unusable: what was raised says so, and all ranks must be started again.

gloo on a CPU, where all this is tested; NCCL on a GPU, which is not: there a wait that ran out may end the process (torch's watchdog)
instead of raising.
"""

from __future__ import annotations

import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor, distributed

from reasonrl.train.protocol import RanksLostError, TrainerError

_LOST_PEER = re.compile(
    r"gloo|nccl|process ?group|tcpstore|remote process|connection (closed|reset|refused)|timed out|broken pipe", re.IGNORECASE
)
"""What the messages of gloo and NCCL have in common: they raise plain RuntimeError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankPlace:
    """Where this process stands among the ranks. `local_rank` counts within its machine and chooses the GPU; rank 0 listens on
    `master_address`:`master_port`. No wait for another rank is longer than `timeout_seconds`."""

    rank: int
    world_size: int
    local_rank: int
    master_address: str
    master_port: int
    timeout_seconds: float

    @property
    def name(self) -> str:
        return f"trainer rank {self.rank} of {self.world_size}"


def join_ranks(place: RankPlace) -> torch.device:
    """Makes this process a rank, on the device returned; blocks until all are there. A second call of a rank at the same place is none.

    Sets the environment variables that DeepSpeed looks for. Raises TrainerError when ranks are missing after the timeout, or when this
    process is already a rank somewhere else.
    """
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", place.local_rank) if cuda else torch.device("cpu")
    if distributed.is_initialized():
        if (distributed.get_rank(), distributed.get_world_size()) != (place.rank, place.world_size):
            raise TrainerError(f"this process cannot become {place.name}: it already is rank {distributed.get_rank()} of another group")
        return device
    os.environ.update(
        RANK=str(place.rank),
        WORLD_SIZE=str(place.world_size),
        LOCAL_RANK=str(place.local_rank),
        MASTER_ADDR=place.master_address,
        MASTER_PORT=str(place.master_port),
    )
    if cuda:
        torch.cuda.set_device(device)
    else:
        os.environ["DS_ACCELERATOR"] = "cpu"
    backend = "nccl" if cuda else "gloo"
    timeout = timedelta(seconds=place.timeout_seconds)
    try:
        distributed.init_process_group(
            backend,
            init_method=f"tcp://{place.master_address}:{place.master_port}",
            rank=place.rank,
            world_size=place.world_size,
            timeout=timeout,
        )
        _join_deepspeed(backend)
    except (RuntimeError, ValueError, OSError) as error:
        leave_ranks()
        raise TrainerError(
            f"{place.name} did not find the others at {place.master_address}:{place.master_port} within {place.timeout_seconds:g} s "
            f"({_first_line(error)}): did all ranks start, with the same address, port and number of ranks?"
        ) from error
    limit_waits(place)
    return device


def _join_deepspeed(backend: str) -> None:
    import deepspeed
    from deepspeed.utils import groups

    # What it says at start-up is for its developers; what goes wrong is raised.
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    # torch says so at every single call of names that only DeepSpeed uses.
    warnings.filterwarnings("ignore", message=r"`torch\.distributed\.\w+` is deprecated", category=FutureWarning)
    # Its shared-memory collectives would be compiled at every first start, need a compiler, and wait for ever for a frozen peer.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(backend)
    # DeepSpeed trains in a group of its own, otherwise made at first use, with torch's own timeout.
    groups._clone_world_group()


def leave_ranks() -> None:
    """Gives up membership; harmless in a process that is no rank."""
    if distributed.is_initialized():
        distributed.destroy_process_group()


def limit_waits(place: RankPlace) -> None:
    """Every group there is, those that DeepSpeed made too, waits no longer than the timeout."""
    for group in list(distributed.distributed_c10d._world.pg_map):
        distributed.distributed_c10d._set_pg_timeout(timedelta(seconds=place.timeout_seconds), group)


@contextmanager
def lost_peers_are_errors(place: RankPlace) -> Iterator[None]:
    """Turns what the communication library raises when a rank died or froze into RanksLostError. Other errors pass."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError) or not (isinstance(error, distributed.DistError) or _LOST_PEER.search(str(error))):
            raise
        raise RanksLostError(
            f"{place.name} lost another rank, or waited longer than {place.timeout_seconds:g} s for it ({_first_line(error)}): "
            "the ranks must be started again, all of them, from the last checkpoint"
        ) from error


def summed(tensor: Tensor, device: torch.device) -> Tensor:
    """The sum over ranks, the same bits on each, on the CPU."""
    return _reduced(tensor, device, distributed.ReduceOp.SUM)


def largest(tensor: Tensor, device: torch.device) -> Tensor:
    """The maximum over ranks, on the CPU."""
    return _reduced(tensor, device, distributed.ReduceOp.MAX)


def _reduced(tensor: Tensor, device: torch.device, operation: Any) -> Tensor:
    shared = tensor.to(device, copy=True)
    distributed.all_reduce(shared, operation)
    return shared.cpu()


def settle(problem: str | None) -> None:
    """Every rank says what went wrong with its part of the work (None for nothing); raises the same TrainerError on all when any did.

    Without it, a rank that fails alone would leave the others waiting for it.
    """
    problems: list[str | None] = [None] * distributed.get_world_size()
    distributed.all_gather_object(problems, problem)
    found = [f"rank {rank}: {each}" for rank, each in enumerate(problems) if each is not None]
    if found:
        raise TrainerError("; ".join(found))


def _first_line(error: BaseException) -> str:
    """The library's own words, without its source line and advice."""
    line = str(error).strip().split("\n", 1)[0]
    return re.sub(r"^\[\S+:\d+\] ", "", line).split(". This is typically", 1)[0][:300]
