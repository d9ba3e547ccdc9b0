"""A decoder for any transformers causal language model whose cache is keys and values, through the library's own forward pass.

The model sees what it would see from `generate` with left padding: tokens, positions, a two-dimensional attention mask and a cache. The
cache hands it the live part of our preallocated slots, so nothing is concatenated token by token and finished rows cost nothing.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers.cache_utils import Cache, CacheLayerMixin, DynamicCache

from reasonrl.rollout.decoder import KeptPrompts, Window
from reasonrl.rollout.errors import RolloutError

_KEY_VALUE_LAYERS = frozenset({"full_attention", "sliding_attention", "chunked_attention"})


class TransformersDecoder:
    """Decodes with a copy of `model`. Raises RolloutError for a model that keeps another state than keys and values."""

    def __init__(self, model: nn.Module, *, dtype: torch.dtype, device: torch.device) -> None:
        config: Any = model.config
        others = set(getattr(config, "layer_types", None) or ()) - _KEY_VALUE_LAYERS
        if others:
            raise RolloutError(
                f"spec.rollout.engine: the torch engine caches keys and values only, and this model ({config.model_type}) has layers of "
                f"type {', '.join(sorted(others))}; use engine: vllm"
            )
        self.device = device
        self._model: Any = copy.deepcopy(model).to(device=device, dtype=dtype).eval().requires_grad_(False)
        self._accepted = frozenset(inspect.signature(self._model.forward).parameters)
        self._parameters: dict[str, Tensor] = dict(self._model.named_parameters())
        names = {id(parameter): name for name, parameter in self._parameters.items()}
        every = self._model.named_parameters(remove_duplicate=False)
        self._aliases = {name: names[id(parameter)] for name, parameter in every if name not in self._parameters}

    @property
    def vocabulary(self) -> int:
        return int(self._model.get_output_embeddings().weight.shape[0])

    @property
    def expected_weights(self) -> Mapping[str, Sequence[int]]:
        return {name: tuple(parameter.shape) for name, parameter in self._parameters.items()}

    @property
    def weight_aliases(self) -> Mapping[str, str]:
        return self._aliases

    @torch.no_grad()
    def load(self, weights: Mapping[str, Tensor]) -> None:
        for name, tensor in weights.items():
            self._parameters[name].copy_(tensor.detach())

    def prepare(self, *, positions: int) -> None:
        """Nothing to do: the model computes its positions itself."""

    def prefill(self, tokens: Tensor, lengths: Sequence[int]) -> tuple[Tensor, KeptPrompts]:
        time = tokens.shape[1]
        padding = torch.tensor([time - length for length in lengths], device=self.device)
        places = torch.arange(time, device=self.device)
        real = places >= padding[:, None]
        positions = (places - padding[:, None]).clamp_(min=0)
        cache = DynamicCache()
        logits = self._forward(tokens, real, positions, cache)
        # A padding place attends to nothing, and what comes of that is not always finite.
        return logits, [part.masked_fill(~real[:, None, :, None], 0.0)[None, None] for part in _cached(cache)]

    def step(self, tokens: Tensor, positions: Tensor, window: Window) -> Tensor:
        places = torch.arange(window.first, window.slot + 1, device=self.device)
        seen = places >= window.starts[:, None]
        storage = window.slots.storage
        layers = [_SlotLayer(keys[0, 0], values[0, 0], window) for keys, values in zip(storage[::2], storage[1::2], strict=True)]
        return self._forward(tokens[:, None], seen, positions[:, None], Cache(layers=layers))

    def _forward(self, tokens: Tensor, mask: Tensor, positions: Tensor, cache: Any) -> Tensor:
        """Logits `[rows, vocabulary]` of the last place."""
        offered = {"attention_mask": mask.long(), "position_ids": positions, "logits_to_keep": 1}
        taken = {name: value for name, value in offered.items() if name in self._accepted}
        logits: Tensor = self._model(input_ids=tokens, past_key_values=cache, use_cache=True, **taken).logits
        return logits[:, -1]


def _cached(cache: Any) -> list[Tensor]:
    """Keys and values, alternating, each `[prompts, heads, time, size]`."""
    layers = list(cache.layers)
    if not layers or any(getattr(layer, "keys", None) is None for layer in layers):
        raise RolloutError(
            "spec.rollout.engine: the model did not fill the cache of keys and values that the torch engine gave it; use engine: vllm"
        )
    return [part for layer in layers for part in (layer.keys, layer.values)]


class _SlotLayer(CacheLayerMixin):  # type: ignore[misc]
    """One layer's cache as the library wants it: takes a step's keys and values, and returns the live window of the slots."""

    def __init__(self, keys: Tensor, values: Tensor, window: Window) -> None:
        super().__init__()
        self._storage = (keys, values)
        self._window = window
        self.is_initialized = True

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        """Nothing to do: the slots exist."""

    def update(self, key_states: Tensor, value_states: Tensor, *_: object, **__: object) -> tuple[Tensor, Tensor]:
        window = self._window
        live = []
        for stored, newest in zip(self._storage, (key_states, value_states), strict=True):
            stored[: window.rows, :, window.slot] = newest[:, :, 0]
            live.append(stored[: window.rows, :, window.first : window.slot + 1])
        return live[0], live[1]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_seq_length(self) -> int:
        return self._window.slot - self._window.first

    def get_max_length(self) -> int:
        return -1
