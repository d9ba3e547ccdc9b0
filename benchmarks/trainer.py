"""The trainer against a bare forward and backward pass on the same tokens: what bookkeeping costs, and what the lean pass gains.

*bare* is the least that anyone could write: transformers' model on micro-batches padded to their longest, log-softmax, gather, mean,
backward; no clipping ratio, no importance correction, no entropy, no optimizer. *ours* is `TorchTrainer.update`, all of that included. Both
see the same weights, the same sequences and the same token budget, in one process, alternating; the table has medians.

    python benchmarks/trainer.py [--rounds 7] [--threads 2] [--dtype float32] [--settings small ragged vocabulary] [--output trainer.json]
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from reasonrl.train.batching import micro_batches
from reasonrl.train.protocol import TrainingSequence, UpdateSetting
from step_settings import MAX_RESPONSE_TOKENS, PROMPTS_PER_STEP, ROLLOUTS_PER_PROMPT, SETTINGS, Setting, setting_named
from step_trainer import trainer_for

TOKEN_BUDGET = 16_384
PROMPT_TOKENS = 32
SETTING = UpdateSetting(
    learning_rate=1e-6,
    temperature=1.0,
    kl_coefficient=0.0,
    entropy_coefficient=0.0,
    clip_low=0.2,
    clip_high=0.28,
    constant_length=MAX_RESPONSE_TOKENS,
)


def model_of(setting: Setting) -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=setting.vocabulary,
            hidden_size=setting.hidden,
            intermediate_size=setting.feed_forward,
            num_hidden_layers=setting.layers,
            num_attention_heads=4,
            num_key_value_heads=4,
            tie_word_embeddings=True,
        )
    )


def sequences_of(setting: Setting) -> list[TrainingSequence]:
    generator = torch.Generator().manual_seed(1)
    mean = setting.mean_length
    sequences = []
    for _ in range(PROMPTS_PER_STEP):
        prompt = torch.randint(setting.vocabulary, (PROMPT_TOKENS,), generator=generator)
        for _ in range(ROLLOUTS_PER_PROMPT):
            length = MAX_RESPONSE_TOKENS
            if mean is not None:
                drawn = torch.empty(1).exponential_(1 / mean, generator=generator)
                length = min(max(int(drawn.item()), 1), MAX_RESPONSE_TOKENS)
            response = torch.randint(setting.vocabulary, (length,), generator=generator)
            sequences.append(
                TrainingSequence(
                    tokens=torch.cat([prompt, response]),
                    prompt_length=PROMPT_TOKENS,
                    advantages=torch.randn(1, generator=generator).expand(length).clone(),
                    mask=torch.ones(length),
                    sampler_logprobs=torch.full((length,), -4.9),
                )
            )
    return sequences


def bare_pass(model: LlamaForCausalLM, sequences: list[TrainingSequence], *, dtype: torch.dtype) -> Callable[[], None]:
    """Inputs are padded once, beforehand: that time is not the pass's."""
    lengths = [each.tokens.numel() for each in sequences]
    total = sum(each.response_length for each in sequences)
    batches = []
    for indices in micro_batches(lengths, token_budget=TOKEN_BUDGET):
        width = max(lengths[index] for index in indices)
        tokens = torch.zeros(len(indices), width, dtype=torch.long)
        weights = torch.zeros(len(indices), width)
        mask = torch.zeros(len(indices), width, dtype=torch.long)
        for row, index in enumerate(indices):
            sequence = sequences[index]
            tokens[row, : lengths[index]] = sequence.tokens
            mask[row, : lengths[index]] = 1
            weights[row, sequence.prompt_length : lengths[index]] = sequence.advantages
        batches.append((tokens, mask, weights))

    def run() -> None:
        model.zero_grad()
        for tokens, mask, weights in batches:
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
                logits = model(input_ids=tokens, attention_mask=mask, use_cache=False).logits[:, :-1]
            logprobs = logits.float().log_softmax(-1).gather(-1, tokens[:, 1:, None])[..., 0]
            (-(weights[:, 1:] * logprobs).sum() / total).backward()

    return run


def our_update(model: LlamaForCausalLM, sequences: list[TrainingSequence], setting: Setting, *, dtype: torch.dtype) -> Callable[[], None]:
    trainer = trainer_for(model, vocabulary=setting.vocabulary, dtype=dtype, tokens_per_micro_batch=TOKEN_BUDGET)

    def run() -> None:
        trainer.update([sequences], setting=SETTING)

    return run


def compare(setting: Setting, *, dtype: torch.dtype, rounds: int) -> dict[str, Any]:
    model, sequences = model_of(setting), sequences_of(setting)
    passes = {
        "bare": bare_pass(copy.deepcopy(model), sequences, dtype=dtype),
        "ours": our_update(model, sequences, setting, dtype=dtype),
    }
    seconds: dict[str, list[float]] = {name: [] for name in passes}
    for number in range(rounds + 1):
        for name, run in passes.items():
            start = time.perf_counter()
            run()
            if number:
                seconds[name].append(time.perf_counter() - start)
    tokens = sum(each.tokens.numel() for each in sequences)
    return {"setting": setting.name, "dtype": str(dtype).removeprefix("torch."), "tokens": tokens, "seconds": seconds}


def show(result: dict[str, Any]) -> None:
    medians = {name: statistics.median(values) for name, values in result["seconds"].items()}
    print(f"{result['setting']:10} {result['dtype']:9}", end="")
    for name, value in medians.items():
        print(f" | {name} {value:6.3f} s {result['tokens'] / value:8,.0f} tokens/s", end="")
    print(f" | ours at {medians['bare'] / medians['ours']:.0%} of bare", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--settings", nargs="+", default=[setting.name for setting in SETTINGS])
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    results = []
    for name in options.settings:
        results.append(compare(setting_named(name), dtype=getattr(torch, options.dtype), rounds=options.rounds))
        show(results[-1])
    if options.output:
        options.output.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
