"""Parameter counts, against transformers' own models and the published numbers."""

from __future__ import annotations

from typing import Any

import pytest

from reasonrl.api.model_shape import TASK_TOKENS, ModelShape, UnknownShape, scratch_shape, shape_of_config
from reasonrl.api.model_spec import ScratchSpec

QWEN_2_5_7B = {
    "model_type": "qwen2",
    "hidden_size": 3584,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "intermediate_size": 18944,
    "vocab_size": 152064,
    "tie_word_embeddings": False,
}
QWEN_2_5_1_5B = {
    "model_type": "qwen2",
    "hidden_size": 1536,
    "num_hidden_layers": 28,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "intermediate_size": 8960,
    "vocab_size": 151936,
    "tie_word_embeddings": True,
}
LLAMA_3_1_8B = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "tie_word_embeddings": False,
}


@pytest.mark.parametrize(
    ("config", "parameters"), [(QWEN_2_5_7B, 7_615_616_512), (QWEN_2_5_1_5B, 1_543_714_304), (LLAMA_3_1_8B, 8_030_261_248)]
)
def test_published_parameter_counts(config: dict[str, Any], parameters: int) -> None:
    shape = shape_of_config(config)
    assert isinstance(shape, ModelShape)
    assert shape.parameters == parameters


@pytest.mark.parametrize("kind", ["qwen2", "qwen3", "llama", "mistral"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_counts_are_those_of_the_library(kind: str, tied: bool, bias: bool) -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.AutoConfig.for_model(
        kind,
        vocab_size=97,
        hidden_size=48,
        intermediate_size=80,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=tied,
        **({"attention_bias": bias} if kind in ("qwen3", "llama") else {}),
        **({"head_dim": 16} if kind != "qwen2" else {}),
    )
    model = transformers.AutoModelForCausalLM.from_config(config)
    shape = shape_of_config(config.to_dict())
    assert isinstance(shape, ModelShape)
    assert shape.parameters == sum(parameter.numel() for parameter in model.parameters())
    layer = model.base_model.layers[0]
    assert shape.layer_parameters == sum(parameter.numel() for parameter in layer.parameters())


def test_a_model_made_from_nothing_has_the_shape_that_training_makes() -> None:
    scratch_model = pytest.importorskip("reasonrl.train.scratch_model")
    tasks = pytest.importorskip("reasonrl.data.tasks")
    scratch = ScratchSpec(hidden_size=32, heads=2, key_value_heads=1, feed_forward_size=48, layers=2, tie_embeddings=False)
    tokenizer = tasks.task_tokenizer("chainedDigits", context_tokens=64)
    assert TASK_TOKENS["chainedDigits"] == len(tokenizer)
    model = scratch_model.make_scratch_model(scratch, tokenizer, seed=1)
    shape = scratch_shape(scratch, vocabulary=TASK_TOKENS["chainedDigits"])
    assert shape.parameters == sum(parameter.numel() for parameter in model.parameters())


def test_every_task_has_a_known_vocabulary() -> None:
    tasks = pytest.importorskip("reasonrl.data.tasks")
    assert set(TASK_TOKENS) == set(tasks.TASKS)


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"model_type": "mixtral"}, "model_type mixtral"),
        ({}, "model_type (none)"),
        ({**QWEN_2_5_7B, "hidden_size": None}, "hidden_size"),
        ({**LLAMA_3_1_8B, "mlp_bias": True}, "mlp_bias"),
    ],
)
def test_what_is_not_counted_is_said_to_be_unknown(config: dict[str, Any], why: str) -> None:
    shape = shape_of_config(config)
    assert isinstance(shape, UnknownShape)
    assert why in shape.reason
