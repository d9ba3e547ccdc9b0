"""How much memory a trainer and a rollout engine need, item by item, each with its arithmetic.

Activations are counted from the tensors that a forward pass of a Llama-like block saves for its backward pass; a test compares the formula
with what torch saves. What cannot be computed (the CUDA context, fragmentation) is one item that says that it is assumed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from reasonrl.api.job import JobSpec
from reasonrl.api.model_shape import ModelShape
from reasonrl.api.model_spec import DType

FLOAT32 = 4
BYTES: dict[DType, int] = {"float32": 4, "bfloat16": 2}
RESERVE = "reserve"
RESERVE_SHARE = 0.08
"""Share of a GPU taken to be lost to the CUDA context, communication buffers and fragmentation. An assumption, not a measurement."""


@dataclass(frozen=True, slots=True)
class MemoryItem:
    name: str
    bytes: int
    arithmetic: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryEstimate:
    """`limit` is the memory that there is, in bytes; None on a CPU, where the job says nothing about it."""

    where: str
    items: tuple[MemoryItem, ...]
    limit: int | None

    @property
    def total(self) -> int:
        return sum(item.bytes for item in self.items)

    @property
    def fits(self) -> bool:
        return self.limit is None or self.total <= self.limit


def reserve(limit: int | None) -> tuple[MemoryItem, ...]:
    """What is assumed to be lost of a GPU; nothing on a CPU."""
    if limit is None:
        return ()
    share = f"{RESERVE_SHARE:.0%} of the GPU, assumed for its context and fragmentation"
    return (MemoryItem(RESERVE, int(limit * RESERVE_SHARE), share),)


def ranks(spec: JobSpec) -> int:
    """Trainer processes: one for each GPU, or one for each pod on CPUs."""
    return spec.trainer.replicas * max(spec.trainer.gpus_per_replica, 1)


def longest_sequence(spec: JobSpec) -> int:
    """Prompt and response of the longest phase, in tokens."""
    return spec.prompt.max_tokens + max(phase.max_response_tokens for phase in spec.phases)


def holds_reference(spec: JobSpec) -> bool:
    return spec.algorithm.kl is not None and spec.model.reference.enabled


def trainer_estimates(spec: JobSpec, shape: ModelShape) -> Iterator[MemoryEstimate]:
    """One trainer process on its GPU or CPU, and what its pod keeps in the host's memory."""
    on_gpu = spec.trainer.gpus_per_replica > 0
    limit = spec.trainer.gpu_memory if on_gpu else None
    where = "each trainer GPU" if on_gpu else "each trainer rank, on a CPU"
    if ranks(spec) == 1:
        where = "the trainer's GPU" if on_gpu else "the trainer, on a CPU"
    yield MemoryEstimate(where=where, items=(*trainer_items(spec, shape), *reserve(limit)), limit=limit)
    offloaded = offloaded_items(spec, shape)
    if not offloaded:
        return
    in_pod = max(spec.trainer.gpus_per_replica, 1)
    times = f" × {in_pod} ranks" if in_pod > 1 else ""
    items = tuple(MemoryItem(each.name, each.bytes * in_pod, each.arithmetic + times) for each in offloaded)
    yield MemoryEstimate(where="host memory of each trainer pod, for what is offloaded", items=items, limit=None)


def trainer_items(spec: JobSpec, shape: ModelShape) -> tuple[MemoryItem, ...]:
    """What one trainer process holds at its peak. With offload, the rest is in `offloaded_items`."""
    state = _torch_state(spec, shape) if spec.trainer.engine == "torch" else _deepspeed_state(spec, shape, offloaded=False)
    return (*state, *_work(spec, shape))


def offloaded_items(spec: JobSpec, shape: ModelShape) -> tuple[MemoryItem, ...]:
    """What one trainer process keeps in the host's memory."""
    return tuple(_deepspeed_state(spec, shape, offloaded=True)) if spec.trainer.engine == "deepspeed" else ()


def activation_bytes(shape: ModelShape, *, mixed: bool, native: bool) -> int:
    """Saved bytes of one token in one layer. `native`: bfloat16 weights; `mixed`: float32 weights with bfloat16 products; else float32."""
    hidden, queries, keys = shape.hidden_size, shape.heads * shape.head_size, shape.key_value_heads * shape.head_size
    forward = shape.feed_forward_size
    if native or mixed:
        # Norms keep a float32 input. Mixed, each product also keeps a bfloat16 copy of its float32 input.
        layer = (16 if native else 26) * hidden + 4 * queries + 4 * keys + 8 * forward
    else:
        layer = 24 * hidden + 8 * queries + 8 * keys + 16 * forward
    norms = 0
    if shape.head_norms:
        norms = (6 if native or mixed else 8) * (queries + keys) + 4 * (shape.heads + shape.key_value_heads)
    return layer + norms + 4 * shape.heads + 8


def checkpoint_bytes(spec: JobSpec, shape: ModelShape) -> tuple[int, str]:
    """Size of one checkpoint, with the arithmetic."""
    parts = checkpoint_parts(spec.model.dtype, reference=holds_reference(spec))
    total = sum(each for each, _ in parts)
    words = " + ".join(f"{each} ({name})" for each, name in parts)
    return shape.parameters * total, f"{counted(shape.parameters)} × ({words}) bytes"


def checkpoint_parts(dtype: DType, *, reference: bool) -> list[tuple[int, str]]:
    """Bytes of each parameter in a checkpoint: policy, float32 master weights unless the policy is float32, moments, reference."""
    width = BYTES[dtype]
    parts = [(width, "policy")]
    if width != FLOAT32:
        parts.append((FLOAT32, "master weights"))
    parts.append((2 * FLOAT32, "moments"))
    if reference:
        parts.append((FLOAT32, "reference"))
    return parts


def _torch_state(spec: JobSpec, shape: ModelShape) -> Iterator[MemoryItem]:
    count = shape.parameters
    yield MemoryItem("weights", count * FLOAT32, f"{counted(count)} × 4 bytes (float32)")
    yield MemoryItem("gradients", count * FLOAT32, f"{counted(count)} × 4 bytes (float32)")
    yield MemoryItem("optimizer", count * 2 * FLOAT32, f"{counted(count)} × 8 bytes (two float32 moments)")
    if spec.model.dtype == "bfloat16":
        matrices = shape.layers * shape.layer_parameters
        yield MemoryItem(
            "bfloat16 copies", matrices * 2, f"{counted(matrices)} in the layers × 2 bytes, during a forward and backward pass"
        )
    if holds_reference(spec):
        yield MemoryItem("reference model", count * FLOAT32, f"{counted(count)} × 4 bytes (float32)")


def _deepspeed_state(spec: JobSpec, shape: ModelShape, *, offloaded: bool) -> Iterator[MemoryItem]:
    trainer, count, size = spec.trainer, shape.parameters, ranks(spec)
    width = BYTES[spec.model.dtype]
    off_optimizer = trainer.offload != "none"
    off_weights = trainer.offload == "parameters"

    def item(name: str, width: int, why: str, *, divided_from: int, off: bool) -> Iterator[MemoryItem]:
        if off == offloaded:
            parts = size if trainer.zero_stage >= divided_from else 1
            yield MemoryItem(name, -(-count * width // parts), f"{counted(count)} × {width} bytes ({why})" + over(parts, "ranks"))

    yield from item("weights", width, spec.model.dtype, divided_from=3, off=off_weights)
    yield from item("gradients", width, spec.model.dtype, divided_from=2, off=off_optimizer)
    if width != FLOAT32:
        yield from item("master weights", FLOAT32, "float32", divided_from=1, off=off_optimizer)
    yield from item("optimizer", 2 * FLOAT32, "two float32 moments", divided_from=1, off=off_optimizer)
    if holds_reference(spec):
        yield from item("reference model", width, spec.model.dtype, divided_from=3, off=off_weights)
    if trainer.zero_stage == 3 and not offloaded:
        largest = max(shape.layer_parameters, shape.embedding_parameters)
        yield MemoryItem("gathered weights", 2 * largest * width, f"2 × the largest part, {counted(largest)} × {width} bytes")


def _micro_batch_tokens(spec: JobSpec) -> int:
    """The most tokens of one forward pass: the budget, but not more than an update has, and not less than one longest sequence."""
    algorithm, longest = spec.algorithm, longest_sequence(spec)
    prompts = max([algorithm.prompts_per_step, *(phase.prompts_per_step or 0 for phase in spec.phases)])
    update = prompts * algorithm.rollouts_per_prompt // algorithm.updates_per_step * longest
    return max(min(spec.trainer.tokens_per_micro_batch, update), longest)


def _work(spec: JobSpec, shape: ModelShape) -> Iterator[MemoryItem]:
    """Activations, and the output layer."""
    trainer = spec.trainer
    native = trainer.engine == "deepspeed" and spec.model.dtype == "bfloat16"
    mixed = trainer.engine == "torch" and spec.model.dtype == "bfloat16"
    tokens = _micro_batch_tokens(spec)
    what = f"{tokens:,} tokens"
    a_layer = activation_bytes(shape, mixed=mixed, native=native)
    if trainer.gradient_checkpointing:
        kept = shape.hidden_size * (2 if native else FLOAT32)
        yield MemoryItem(
            "activations",
            tokens * (shape.layers * kept + a_layer),
            f"{what} × ({shape.layers} layers × {kept:,} bytes + one layer again, {a_layer:,} bytes)",
        )
    else:
        yield MemoryItem("activations", tokens * shape.layers * a_layer, f"{what} × {shape.layers} layers × {a_layer:,} bytes")
    width = 2 if native else FLOAT32
    hidden = tokens * shape.hidden_size * (2 * FLOAT32 + 2 * width)
    yield MemoryItem("last hidden states", hidden, f"{what} × {shape.hidden_size:,} × {2 * FLOAT32 + 2 * width} bytes, with their gradient")
    chunk = min(trainer.logits_chunk_tokens, tokens)
    a_logit = 2 * FLOAT32 + (2 if native else 0)
    yield MemoryItem("logits chunk", chunk * shape.vocabulary * a_logit, f"{chunk:,} tokens × {shape.vocabulary:,} words × {a_logit} bytes")
    head = shape.embedding_parameters
    yield MemoryItem(
        "output layer's gradient", head * FLOAT32, f"{shape.vocabulary:,} × {shape.hidden_size:,} × 4 bytes, while it is summed up"
    )


def over(parts: int, what: str) -> str:
    return f" / {parts} {what}" if parts > 1 else ""


def counted(parameters: int) -> str:
    return f"{parameters:,} parameters"
