"""How much memory a rollout engine needs, and how many sequences its key-value cache has room for."""

from __future__ import annotations

from dataclasses import dataclass

from reasonrl.api.job import JobSpec
from reasonrl.api.memory import BYTES, MemoryEstimate, MemoryItem, counted, over, reserve
from reasonrl.api.model_shape import ModelShape
from reasonrl.api.problems import Problem
from reasonrl.api.quantity import readable_bytes


@dataclass(frozen=True, slots=True)
class TokenCache:
    """Key-value cache of one token on each GPU of an engine: its size in bytes, and where that comes from."""

    bytes: int
    arithmetic: str


def longest_sampled(spec: JobSpec) -> int:
    """The longest sequence that an engine samples, benchmarks included, in tokens."""
    benchmarks = spec.evaluation.benchmarks
    prompts = [spec.prompt.max_tokens, *(each.prompt.max_tokens for each in benchmarks if each.prompt is not None)]
    responses = [*(phase.max_response_tokens for phase in spec.phases), *(each.max_response_tokens or 0 for each in benchmarks)]
    return max(prompts) + max(responses)


def token_cache(spec: JobSpec, shape: ModelShape, *, gpus: int) -> TokenCache:
    """`gpus` is how many an engine has; 0 is a CPU. Key-value heads are divided among them, but no head is."""
    width = BYTES[spec.rollout.dtype or spec.model.dtype]
    heads = max(shape.key_value_heads // max(gpus, 1), 1)
    size = 2 * shape.layers * heads * shape.head_size * width
    return TokenCache(
        size, f"2 × {shape.layers} layers × {heads} key-value heads × {shape.head_size} × {width} bytes = {size:,} bytes a token"
    )


def rollout_estimate(spec: JobSpec, shape: ModelShape, *, gpus: int, responses: int) -> MemoryEstimate:
    """One engine on `gpus` GPUs (0 is a CPU), when a step samples `responses`."""
    limit = spec.trainer.gpu_memory if gpus else None
    items = (_weights(spec, shape, gpus=gpus), _cache(spec, shape, gpus=gpus, responses=responses))
    # What vLLM takes is a share of the GPU, so the rest of it is reserve enough.
    spare = reserve(limit) if spec.rollout.engine == "torch" else ()
    where = f"each rollout GPU ({gpus} an engine)" if gpus else "each rollout engine, on a CPU"
    return MemoryEstimate(where=where, items=(*items, *spare), limit=limit)


def cache_problem(spec: JobSpec, shape: ModelShape, *, gpus: int) -> Problem | None:
    """vLLM must have room for one sequence of full length; what to change when it has not."""
    room = _room(spec, shape, gpus=gpus)
    longest, token = longest_sampled(spec), token_cache(spec, shape, gpus=gpus)
    if room is None or room >= longest * token.bytes:
        return None
    needs = f"one needs {readable_bytes(longest * token.bytes)} ({token.arithmetic})"
    begin = f"not one sequence of {longest:,} tokens fits into the key-value cache"
    if not gpus:
        return Problem(
            "spec.rollout.keyValueCache", spec.rollout.key_value_cache, f"{begin}: it has {readable_bytes(room)}, and {needs}; raise it"
        )
    weights = _weights(spec, shape, gpus=gpus)
    return Problem(
        "spec.rollout.gpusPerReplica",
        gpus,
        f"{begin}: of {readable_bytes(spec.trainer.gpu_memory)} (trainer.gpuMemory) × memoryUtilization "
        f"{spec.rollout.memory_utilization:g}, weights take {readable_bytes(weights.bytes)} ({weights.arithmetic}), which leaves "
        f"{readable_bytes(room)}, and {needs}; use more gpusPerReplica, "
        "or a higher memoryUtilization",
    )


def _weights(spec: JobSpec, shape: ModelShape, *, gpus: int) -> MemoryItem:
    width, parts = BYTES[spec.rollout.dtype or spec.model.dtype], max(gpus, 1)
    return MemoryItem("weights", -(-shape.parameters * width // parts), f"{counted(shape.parameters)} × {width} bytes{over(parts, 'GPUs')}")


def _room(spec: JobSpec, shape: ModelShape, *, gpus: int) -> int | None:
    """Bytes of vLLM's key-value cache on each GPU; None when the job does not say."""
    if spec.rollout.engine != "vllm":
        return None
    if not gpus:
        return spec.rollout.key_value_cache
    return max(int(spec.trainer.gpu_memory * spec.rollout.memory_utilization) - _weights(spec, shape, gpus=gpus).bytes, 0)


def _cache(spec: JobSpec, shape: ModelShape, *, gpus: int, responses: int) -> MemoryItem:
    longest, token = longest_sampled(spec), token_cache(spec, shape, gpus=gpus)
    sequences = min(spec.rollout.max_sequences, responses)
    full = f"{sequences:,} sequences × {longest:,} tokens × {token.bytes:,} bytes"
    room = _room(spec, shape, gpus=gpus)
    if room is None:
        unknown = ", if all are that long; vLLM's own default is another" if spec.rollout.engine == "vllm" else ", if all are that long"
        return MemoryItem("key-value cache", sequences * longest * token.bytes, full + unknown)
    fit = room // (longest * token.bytes)
    given = (
        f"{spec.rollout.memory_utilization:g} × {readable_bytes(spec.trainer.gpu_memory)} − weights" if gpus else "rollout.keyValueCache"
    )
    return MemoryItem(
        "key-value cache",
        room,
        f"{given}; room for {fit:,} sequences of {longest:,} tokens, {sequences:,} at once are wanted ({token.arithmetic})",
    )
