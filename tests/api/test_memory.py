"""Memory, against numbers worked out by hand and against what torch saves for a backward pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from reasonrl.api.memory import MemoryItem, activation_bytes, checkpoint_bytes, offloaded_items, trainer_items
from reasonrl.api.model_shape import ModelShape, shape_of_config
from reasonrl.api.parse import parse_job
from reasonrl.api.rollout_memory import rollout_estimate, token_cache

JobWith = Callable[[Mapping[str, object]], dict[str, Any]]

QWEN_7B = ModelShape(
    hidden_size=3584,
    layers=28,
    heads=28,
    key_value_heads=4,
    head_size=128,
    feed_forward_size=18944,
    vocabulary=152064,
    tied_embeddings=False,
    query_key_value_bias=True,
)
N = 7_615_616_512
"""Parameters of Qwen2.5-7B, as published."""
DEEPSPEED = {"engine": "deepspeed", "replicas": 2, "gpusPerReplica": 8, "zeroStage": 3, "tokensPerMicroBatch": 16384}
KL = {"schedule": {"type": "constant", "value": 0.001}}


def sizes(items: tuple[MemoryItem, ...]) -> dict[str, int]:
    return {item.name: item.bytes for item in items}


def test_torch_engine_7b(job_with: JobWith) -> None:
    job = parse_job(job_with({"spec.algorithm.kl": KL, "spec.trainer": {"tokensPerMicroBatch": 8192, "logitsChunkTokens": 1024}}))
    found = sizes(trainer_items(job.spec, QWEN_7B))
    assert found["weights"] == found["gradients"] == found["reference model"] == 4 * N == 30_462_466_048
    assert found["optimizer"] == 8 * N
    assert found["bfloat16 copies"] == 2 * (N - 2 * 152064 * 3584 - 3584)
    # Of a token and layer: 26 hidden + 4 (queries + keys) + 8 feed-forward + 4 heads + 8, products in bfloat16.
    assert found["activations"] == 8192 * 28 * (26 * 3584 + 4 * (3584 + 512) + 8 * 18944 + 4 * 28 + 8) == 59_922_186_240
    assert found["logits chunk"] == 1024 * 152064 * 8
    assert found["output layer's gradient"] == 152064 * 3584 * 4


def test_gradient_checkpointing_keeps_one_layer_and_the_inputs_of_all(job_with: JobWith) -> None:
    job = parse_job(job_with({"spec.trainer": {"tokensPerMicroBatch": 8192, "gradientCheckpointing": True}}))
    a_layer = 26 * 3584 + 4 * (3584 + 512) + 8 * 18944 + 4 * 28 + 8
    assert sizes(trainer_items(job.spec, QWEN_7B))["activations"] == 8192 * (28 * 3584 * 4 + a_layer)


def test_float32_needs_no_copies(job_with: JobWith) -> None:
    job = parse_job(job_with({"spec.model.dtype": "float32"}))
    assert "bfloat16 copies" not in sizes(trainer_items(job.spec, QWEN_7B))


@pytest.mark.parametrize(
    ("stage", "weights", "gradients", "states"),
    [(0, 1, 1, 1), (1, 1, 1, 16), (2, 1, 16, 16), (3, 16, 16, 16)],
)
def test_zero_stages_divide_among_ranks(stage: int, weights: int, gradients: int, states: int, job_with: JobWith) -> None:
    """ZeRO (arXiv 1910.02054): mixed-precision Adam is 2 + 2 + 12 bytes a parameter, divided from stage 1, 2 and 3 on."""
    found = sizes(trainer_items(parse_job(job_with({"spec.trainer": {**DEEPSPEED, "zeroStage": stage}})).spec, QWEN_7B))
    assert found["weights"] == 2 * N // weights
    assert found["gradients"] == 2 * N // gradients
    assert found["master weights"] + found["optimizer"] == 12 * N // states


def test_offload_moves_to_the_host(job_with: JobWith) -> None:
    for offload, moved in (
        ("none", set()),
        ("optimizer", {"gradients", "master weights", "optimizer"}),
        ("parameters", {"weights", "gradients", "master weights", "optimizer"}),
    ):
        spec = parse_job(job_with({"spec.trainer": {**DEEPSPEED, "offload": offload}})).spec
        assert set(sizes(offloaded_items(spec, QWEN_7B))) == moved
        assert not moved & set(sizes(trainer_items(spec, QWEN_7B)))


def test_key_value_cache_of_a_token(job_with: JobWith) -> None:
    spec = parse_job(job_with({"spec.rollout": {"engine": "vllm", "gpusPerReplica": 2}})).spec
    assert token_cache(spec, QWEN_7B, gpus=0).bytes == 2 * 28 * 4 * 128 * 2 == 57_344
    assert token_cache(spec, QWEN_7B, gpus=2).bytes == 57_344 // 2
    assert token_cache(spec, QWEN_7B, gpus=8).bytes == 57_344 // 4, "a key-value head is not divided"


def test_room_in_a_vllm_engine(job_with: JobWith) -> None:
    spec = parse_job(
        job_with({"spec.rollout": {"engine": "vllm", "gpusPerReplica": 2, "memoryUtilization": 0.8}, "spec.trainer.gpuMemory": "40Gi"})
    ).spec
    estimate = rollout_estimate(spec, QWEN_7B, gpus=2, responses=2048)
    room = int(0.8 * 40 * 2**30) - N
    assert sizes(estimate.items) == {"weights": N, "key-value cache": room}
    assert f"room for {room // (3072 * 28672):,} sequences of 3,072 tokens" in estimate.items[1].arithmetic
    assert estimate.fits


def test_checkpoint_size(job_with: JobWith) -> None:
    """As `train.trainer_files` writes it: policy in its dtype, float32 master weights beside a bfloat16 one, two moments, the reference."""
    for edits, bytes_each in (
        ({}, 2 + 4 + 8),
        ({"spec.model.dtype": "float32"}, 4 + 8),
        ({"spec.algorithm.kl": KL}, 2 + 4 + 8 + 4),
        ({"spec.model.dtype": "float32", "spec.algorithm.kl": KL}, 4 + 8 + 4),
    ):
        assert checkpoint_bytes(parse_job(job_with(edits)).spec, QWEN_7B)[0] == N * bytes_each


def saved_bytes(model: Any, *, tokens: int, mixed: bool) -> int:
    """Bytes that a forward pass keeps for its backward pass, parameters and their casts left out."""
    torch = pytest.importorskip("torch")
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, Any] = {}

    def keep(tensor: Any) -> Any:
        place = tensor.untyped_storage().data_ptr()
        # A cast weight has no dimension as long as the sequence.
        if place not in weights and tokens in tensor.shape:
            kept[place] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), torch.autocast("cpu", dtype=torch.bfloat16, enabled=mixed):
        model.base_model(input_ids=torch.zeros(1, tokens, dtype=torch.long), use_cache=False)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize("kind", ["qwen2", "qwen3", "llama"])
@pytest.mark.parametrize("precision", ["float32", "mixed", "native"])
def test_activations_are_what_torch_saves(kind: str, precision: str) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    tokens = 136
    found = []
    for layers in (1, 2):
        config = transformers.AutoConfig.for_model(
            kind,
            vocab_size=32,
            hidden_size=48,
            intermediate_size=160,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=12,
        )
        model = transformers.AutoModelForCausalLM.from_config(
            config, dtype=torch.bfloat16 if precision == "native" else torch.float32
        ).train()
        found.append(saved_bytes(model, tokens=tokens, mixed=precision == "mixed"))
    shape = shape_of_config(config.to_dict())
    assert isinstance(shape, ModelShape)
    predicted = activation_bytes(shape, mixed=precision == "mixed", native=precision == "native")
    assert (found[1] - found[0]) / tokens == pytest.approx(predicted, rel=0.01)
