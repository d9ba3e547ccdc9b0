"""The three settings of the step benchmark, and the files that both sides start from.

Each setting is a small Llama with random weights, a tokenizer of whole words and a list of prompts, written to one directory once; both
sides load that directory and nothing else, so they have the same weights, words and questions.
"""

from __future__ import annotations

import json
import math
import random
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM

from reasonrl.data.chained_digits import WORDS, chains, shape_of
from reasonrl.data.word_tokenizer import word_tokenizer

PROMPTS_PER_STEP = 8
ROLLOUTS_PER_PROMPT = 8
MAX_RESPONSE_TOKENS = 128
LEARNING_RATE = 1e-6
PROMPTS_FILE = "prompts.json"
_CONTEXT_TOKENS = 512
_PROMPTS = 256
_FIT_STEPS = 60
_FIT_ROWS = 32


@dataclass(frozen=True, slots=True)
class Setting:
    """`mean_length` None means that every response has `MAX_RESPONSE_TOKENS` tokens; otherwise lengths are close to geometric with this
    mean, cut at that limit."""

    name: str
    hidden: int
    layers: int
    feed_forward: int
    vocabulary: int
    mean_length: int | None


SETTINGS = (
    Setting("small", hidden=128, layers=3, feed_forward=384, vocabulary=135, mean_length=None),
    Setting("ragged", hidden=128, layers=3, feed_forward=384, vocabulary=135, mean_length=40),
    Setting("vocabulary", hidden=256, layers=4, feed_forward=768, vocabulary=8192, mean_length=None),
)


def setting_named(name: str) -> Setting:
    return next(setting for setting in SETTINGS if setting.name == name)


def reward(text: str) -> float:
    """Share of words that end in an even digit: cheap, and different for almost any two responses, so every group has a gradient."""
    words = text.split()
    return sum(word[-1] in "02468" for word in words) / max(len(words), 1)


def write_model(setting: Setting, directory: Path) -> None:
    """Model, tokenizer and prompts of `setting`; the same files each time."""
    torch.manual_seed(0)
    words = [*WORDS, *(f"w{number}" for number in range(setting.vocabulary - len(WORDS) - 2))][: setting.vocabulary - 2]
    tokenizer = word_tokenizer(words, context_tokens=_CONTEXT_TOKENS)
    tokenizer.padding_side = "left"
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=setting.vocabulary,
            hidden_size=setting.hidden,
            intermediate_size=setting.feed_forward,
            num_hidden_layers=setting.layers,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=_CONTEXT_TOKENS,
            initializer_range=0.02,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            dtype="float32",
        )
    )
    if setting.mean_length is not None:
        _fit_lengths(model, end=tokenizer.eos_token_id, mean_length=setting.mean_length)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    prompts = [chain.text for chain in chains(size=_PROMPTS, seed=1, shape=shape_of({}))]
    (directory / PROMPTS_FILE).write_text(json.dumps(prompts))


def _fit_lengths(model: LlamaForCausalLM, *, end: int, mean_length: int) -> None:
    """Teaches the model to end a response after each token with the same probability."""
    draw = random.Random(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    vocabulary = model.config.vocab_size
    # A limit of 128 tokens cuts the long tail off: the hazard that still gives the mean is found by bisection.
    low, high = 1e-4, 0.5
    for _ in range(50):
        hazard = math.sqrt(low * high)
        mean = (1 - (1 - hazard) ** MAX_RESPONSE_TOKENS) / hazard
        low, high = (hazard, high) if mean > mean_length else (low, hazard)
    target = torch.full((vocabulary,), (1 - hazard) / (vocabulary - 1))
    target[end] = hazard
    for step in range(_FIT_STEPS):
        tokens = torch.tensor([[draw.randrange(2, vocabulary) for _ in range(64)] for _ in range(_FIT_ROWS)])
        logits = model(input_ids=tokens).logits
        loss = functional.cross_entropy(logits.flatten(0, 1), target.expand(tokens.numel(), -1))
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 * (1 - step / _FIT_STEPS)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
