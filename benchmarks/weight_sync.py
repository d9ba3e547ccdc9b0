"""New weights from a trainer to the rollout engines of other processes, against the raw copy of those bytes.

Two Ray nodes as in two pods, each with an object store of its own on this machine: one engine shares the trainer's node (*colocated*), one
is across (*apart*: the bytes go from store to store through a socket on loopback). Parts are timed one by one, then whole. What it takes:

- *raw copy*: each tensor copied into storage of its shape, in one process: less than any transport between processes can take;
- *carry*: the same tensors through the object store and into storage of their shapes, unchecked: the transport alone;
- *publish*: to_arrays with a checksum of each tensor, and one copy into the object store;
- *engine*: verify every tensor, hand it to the model, first colocated, then apart;
- *sync*: all of it, as the run does between two steps.

    python benchmarks/weight_sync.py [--megabytes 400] [--rounds 5] [--dtype float32] [--output PATH]
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import socket
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Ray looks for its token once, when it is imported.
os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(16), OMP_NUM_THREADS="1")

import ray
import torch
from transformers import AutoModelForCausalLM, LlamaConfig

from reasonrl.api.names import Role
from reasonrl.rl.weight_arrays import from_arrays, to_arrays
from reasonrl.rollout.stepping import BlockingEngineSteps, SteppingEngine
from reasonrl.rollout.torch_engine import TorchEngine
from reasonrl.run.cluster.nodes import live_nodes
from reasonrl.run.cluster.published_weights import PublishedWeights, publish
from reasonrl.run.cluster.ray_node import NodeSettings, RayNode
from reasonrl.run.cluster.ray_session import RaySession, launch_engine

ADDRESS = "127.0.0.1"
HIDDEN = 1024
SECONDS = 300.0


@dataclass(frozen=True)
class Recipe:
    layers: int

    def __call__(self) -> SteppingEngine:
        return BlockingEngineSteps(TorchEngine(model_of(self.layers), None, stop_token_ids=[1], max_sequences=8))


def model_of(layers: int) -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=1024,
        hidden_size=HIDDEN,
        intermediate_size=4 * HIDDEN,
        num_hidden_layers=layers,
        num_attention_heads=16,
        max_position_embeddings=256,
    )
    return AutoModelForCausalLM.from_config(config).float().eval()


class Storage:
    """A Ray actor with storage of the model's shapes: what a transport must at least fill."""

    def __init__(self, layers: int) -> None:
        self._tensors = {name: parameter.detach() for name, parameter in model_of(layers).named_parameters()}

    def carry(self, manifest: Any, arrays: Any) -> None:
        for entry, array in zip(manifest.entries, arrays, strict=True):
            flat = self._tensors[entry.name].view(-1).view(torch.uint8)
            flat.copy_(torch.from_numpy(array))


def start_node(role: Role, *, port: int, scratch: Path, head: str | None) -> RayNode:
    settings = NodeSettings(role=role, index=0, address=ADDRESS, head=head, port=port, gpus=0, scratch=scratch, store_bytes=3 * 2**30)
    node = RayNode(settings)
    node.wait_ready(SECONDS)
    return node


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind((ADDRESS, 0))
        return int(listener.getsockname()[1])


def median_seconds(action: Callable[[], object], rounds: int) -> float:
    taken = []
    for number in range(rounds + 1):
        started = time.perf_counter()
        kept = action()
        taken.append(time.perf_counter() - started)
        del kept
        if number == 0:
            taken.clear()
    return statistics.median(taken)


def measure(layers: int, *, rounds: int, dtype: torch.dtype, nodes: dict[Role, str]) -> tuple[int, dict[str, float]]:
    weights = [(name, parameter.detach()) for name, parameter in model_of(layers).named_parameters()]
    storage = {name: torch.zeros_like(tensor, dtype=dtype) for name, tensor in weights}
    sessions: dict[Role, RaySession] = {
        role: launch_engine(Recipe(layers), node_id=node, answer_seconds=SECONDS) for role, node in nodes.items()
    }
    for session in sessions.values():
        session.wait_until_ready(SECONDS)
    carrier: Any = ray.remote(num_cpus=0)(Storage).options(resources={"reasonrl_rollout": 0.001}).remote(layers)
    versions = iter(range(1, 10_000))

    def raw_copy() -> None:
        for name, tensor in weights:
            storage[name].copy_(tensor)

    def published() -> PublishedWeights:
        return publish(weights, version=next(versions), dtype=dtype)

    def load(role: Role, known: PublishedWeights) -> None:
        sessions[role].load(known, version=known.version, seconds=SECONDS)

    def load_fresh(role: Role) -> float:
        known = published()
        started = time.perf_counter()
        load(role, known)
        return time.perf_counter() - started

    def carry() -> None:
        manifest, arrays = to_arrays(weights, version=0, dtype=torch.float32)
        ray.get(carrier.carry.remote(manifest, ray.put(arrays)))

    def check() -> None:
        from_arrays(*to_arrays(weights, version=0, dtype=dtype))

    found = {"raw copy": median_seconds(raw_copy, rounds)}
    if dtype is torch.float32:
        found["carry apart, unchecked"] = median_seconds(carry, rounds)
    found["checksums, both ends"] = median_seconds(check, rounds)
    found["publish"] = median_seconds(published, rounds)
    for role, name in (("trainer", "engine colocated"), ("rollout", "engine apart")):
        found[name] = statistics.median([load_fresh(role) for _ in range(rounds + 1)][1:])  # type: ignore[arg-type]
        found[f"sync, {name}"] = median_seconds(lambda role=role: load(role, published()), rounds)  # type: ignore[misc]
    for session in sessions.values():
        session.close()
    return sum(tensor.numel() * dtype.itemsize for _, tensor in weights), found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=400, help="of float32 weights, about")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32", help="what the engines get")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    layers = max(1, round((options.megabytes * 1e6 / 4 - 2 * 1024 * HIDDEN) / (16 * HIDDEN * HIDDEN)))
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="rrl-", dir="/tmp") as scratch:
        head = start_node("trainer", port=port, scratch=Path(scratch), head=None)
        other = start_node("rollout", port=port, scratch=Path(scratch), head=ADDRESS)
        try:
            ray.init(address=f"{ADDRESS}:{port}", log_to_driver=False, _node_ip_address=ADDRESS)
            nodes: dict[Role, str] = {"trainer": live_nodes("trainer")[0].node_id, "rollout": live_nodes("rollout")[0].node_id}
            total, found = measure(layers, rounds=options.rounds, dtype=getattr(torch, options.dtype), nodes=nodes)
            ray.shutdown()
        finally:
            other.stop()
            head.stop()
    raw = found["raw copy"]
    print(f"{total / 1e6:,.0f} MB of {options.dtype}, {layers} layers, {torch.get_num_threads()} threads")
    print("| | seconds | GB/s | against the raw copy |\n|---|---|---|---|")
    for name, seconds in found.items():
        print(f"| {name} | {seconds:.3f} | {total / seconds / 1e9:.2f} | {seconds / raw:.1f}x |")
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps({"bytes": total, "seconds": found}, indent=1))


if __name__ == "__main__":
    main()
