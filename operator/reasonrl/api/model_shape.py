"""The shape of a dense decoder-only transformer, and how many parameters it has: what all memory arithmetic starts from.

A shape comes from `spec.model.scratch` or from the model's config.json. For architectures whose parameters are not counted here the
answer is that the shape is unknown, and why: an estimate that is silently wrong by a factor is worse than none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from reasonrl.api.model_spec import ScratchSpec

TASK_TOKENS: Mapping[str, int] = {"chainedDigits": 138}
"""Vocabulary of the tasks that ship a tokenizer: their words, an end and a padding token."""

COUNTED = ("qwen2", "qwen3", "llama", "mistral")
"""Values of `model_type` whose parameters are counted here."""

_QWEN3_HEAD_SIZE = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """`head_size` is the width of one attention head. `head_norms` says that queries and keys are normalised (Qwen3)."""

    hidden_size: int
    layers: int
    heads: int
    key_value_heads: int
    head_size: int
    feed_forward_size: int
    vocabulary: int
    tied_embeddings: bool
    query_key_value_bias: bool
    output_bias: bool = False
    head_norms: bool = False

    @property
    def layer_parameters(self) -> int:
        queries, keys = self.heads * self.head_size, self.key_value_heads * self.head_size
        attention = self.hidden_size * (queries + 2 * keys) + queries * self.hidden_size
        biases = (queries + 2 * keys if self.query_key_value_bias else 0) + (self.hidden_size if self.output_bias else 0)
        norms = 2 * self.hidden_size + (2 * self.head_size if self.head_norms else 0)
        return attention + biases + 3 * self.hidden_size * self.feed_forward_size + norms

    @property
    def embedding_parameters(self) -> int:
        """Of one embedding: the output layer has as many again unless they are tied."""
        return self.vocabulary * self.hidden_size

    @property
    def parameters(self) -> int:
        embeddings = self.embedding_parameters * (1 if self.tied_embeddings else 2)
        return embeddings + self.layers * self.layer_parameters + self.hidden_size

    @property
    def key_value_values(self) -> int:
        """Numbers in the key-value cache for one token."""
        return 2 * self.layers * self.key_value_heads * self.head_size


@dataclass(frozen=True, slots=True)
class UnknownShape:
    """`reason` is a sentence for people."""

    reason: str


def scratch_shape(scratch: ScratchSpec, *, vocabulary: int) -> ModelShape:
    """The shape of a model made from nothing: a Llama, without biases."""
    return ModelShape(
        hidden_size=scratch.hidden_size,
        layers=scratch.layers,
        heads=scratch.heads,
        key_value_heads=scratch.key_value_heads,
        head_size=scratch.hidden_size // scratch.heads,
        feed_forward_size=scratch.feed_forward_size,
        vocabulary=vocabulary,
        tied_embeddings=scratch.tie_embeddings,
        query_key_value_bias=False,
    )


def shape_of_config(config: Mapping[str, object]) -> ModelShape | UnknownShape:
    """The shape that a Hugging Face config.json describes."""
    kind = str(config.get("model_type", "(none)"))
    if kind not in COUNTED:
        return UnknownShape(f"the parameters of model_type {kind} are not counted; those of {', '.join(COUNTED)} are")
    if config.get("mlp_bias"):
        return UnknownShape("its feed-forward layers have biases (mlp_bias), which are not counted")
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size")
    numbers = [config.get(name) for name in names]
    wrong = [name for name, number in zip(names, numbers, strict=True) if not _is_count(number)]
    if wrong:
        return UnknownShape(f"its config.json has no usable {', '.join(wrong)}")
    hidden, layers, heads, feed_forward, vocabulary = (int(str(number)) for number in numbers)
    key_value_heads, head_size = config.get("num_key_value_heads"), config.get("head_dim")
    # Qwen2 has these biases always, and an output bias never; elsewhere one setting switches all four.
    bias = kind == "qwen2" or bool(config.get("attention_bias", False))
    return ModelShape(
        hidden_size=hidden,
        layers=layers,
        heads=heads,
        key_value_heads=int(str(key_value_heads)) if _is_count(key_value_heads) else heads,
        head_size=int(str(head_size)) if _is_count(head_size) else _QWEN3_HEAD_SIZE if kind == "qwen3" else hidden // heads,
        feed_forward_size=feed_forward,
        vocabulary=vocabulary,
        tied_embeddings=bool(config.get("tie_word_embeddings", False)),
        query_key_value_bias=bias,
        output_bias=bias and kind != "qwen2",
        head_norms=kind == "qwen3",
    )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
