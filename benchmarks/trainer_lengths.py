"""The torch trainer by sequence length on one device: tokens a second, model FLOP utilisation and peak memory, against plain transformers.

Random-weight models of 0.5B to 7B (Qwen2's shapes) learn from random responses of a given length. *ours* is `TorchTrainer.update` with
packing, logits in chunks and gradient checkpointing; *plain* is transformers' model under autocast with the same checkpointing, sequences
padded to the longest of a micro-batch, whole logits, and AdamW: what a training loop without this package would run. Each contender runs
in a process of its own, so that peak memory is its own; one that runs out of memory is shown as that.

FLOPs are 6 for each weight of a matrix and token, and 6 · layers · hidden · length for attention's two products over half a square; the
recomputation of checkpointing is not counted as useful work. `--peak-tflops` is the device's peak (989 for bfloat16 on an H100 or H200).

    python benchmarks/trainer_lengths.py [--models 0.5B 1.5B 7B] [--lengths 1024 8192 16384] [--sequences 8] [--peak-tflops 989]

On a machine without a GPU `--models tiny --lengths 128 512` shows that it works, and nothing about GPUs.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

import torch
from transformers import PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from reasonrl.train.protocol import TrainingSequence, UpdateSetting
from step_trainer import trainer_for

PROMPT_TOKENS = 64
LEARNING_RATE = 1e-6
TIMEOUT_SECONDS = 1500


@dataclass(frozen=True)
class Shape:
    """Qwen2's sizes; all have a head for the vocabulary, tied to the embedding up to 1.5B."""

    hidden: int
    feed_forward: int
    layers: int
    heads: int
    key_value_heads: int
    vocabulary: int = 151_936
    tied: bool = True


SHAPES = {
    "tiny": Shape(hidden=64, feed_forward=128, layers=2, heads=4, key_value_heads=2, vocabulary=512),
    "0.5B": Shape(hidden=896, feed_forward=4864, layers=24, heads=14, key_value_heads=2),
    "1.5B": Shape(hidden=1536, feed_forward=8960, layers=28, heads=12, key_value_heads=2),
    "7B": Shape(hidden=3584, feed_forward=18944, layers=28, heads=28, key_value_heads=4, vocabulary=152_064, tied=False),
}


@dataclass(frozen=True)
class Case:
    contender: str
    model: str
    length: int
    sequences: int
    tokens_per_micro_batch: int
    rounds: int


def model_of(shape: Shape, *, length: int, device: torch.device) -> PreTrainedModel:
    config = Qwen2Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.feed_forward,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads,
        max_position_embeddings=length + PROMPT_TOKENS,
        tie_word_embeddings=shape.tied,
    )
    torch.manual_seed(0)
    with device:
        return Qwen2ForCausalLM(config).float()


def sequences_of(case: Case) -> list[TrainingSequence]:
    """Responses of half to all of the length, as a batch of real ones is ragged."""
    generator = torch.Generator().manual_seed(1)
    vocabulary = SHAPES[case.model].vocabulary
    made = []
    for number in range(case.sequences):
        length = case.length - PROMPT_TOKENS if number == 0 else int(case.length * (0.5 + 0.5 * torch.rand(1, generator=generator)))
        tokens = torch.randint(vocabulary, (PROMPT_TOKENS + length,), generator=generator)
        advantages = torch.randn(1, generator=generator).expand(length).clone()
        made.append(
            TrainingSequence(
                tokens=tokens,
                prompt_length=PROMPT_TOKENS,
                advantages=advantages,
                mask=torch.ones(length),
                sampler_logprobs=torch.full((length,), -12.0),
            )
        )
    return made


def ours(model: PreTrainedModel, case: Case, sequences: list[TrainingSequence]) -> Callable[[], object]:
    trainer = trainer_for(
        model,
        vocabulary=SHAPES[case.model].vocabulary,
        dtype=torch.bfloat16,
        tokens_per_micro_batch=case.tokens_per_micro_batch,
        gradient_checkpointing=True,
    )
    update = UpdateSetting(
        learning_rate=LEARNING_RATE,
        temperature=1.0,
        kl_coefficient=0.0,
        entropy_coefficient=0.0,
        clip_low=0.2,
        clip_high=0.28,
        constant_length=case.length,
    )
    return lambda: trainer.update([sequences], setting=update)


def plain(model: PreTrainedModel, case: Case, sequences: list[TrainingSequence]) -> Callable[[], object]:
    model.train()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.0, fused=True)
    device = next(model.parameters()).device
    total = sum(each.response_length for each in sequences)
    bunches: list[list[TrainingSequence]] = [[]]
    for sequence in sorted(sequences, key=lambda each: each.tokens.numel(), reverse=True):
        widest = max(each.tokens.numel() for each in [*bunches[-1], sequence])
        if bunches[-1] and widest * (len(bunches[-1]) + 1) > case.tokens_per_micro_batch:
            bunches.append([])
        bunches[-1].append(sequence)

    def update() -> None:
        for bunch in bunches:
            width = max(each.tokens.numel() for each in bunch)
            tokens = torch.zeros(len(bunch), width, dtype=torch.long)
            attention = torch.zeros(len(bunch), width, dtype=torch.long)
            weights = torch.zeros(len(bunch), width)
            for row, each in enumerate(bunch):
                tokens[row, : each.tokens.numel()] = each.tokens
                attention[row, : each.tokens.numel()] = 1
                weights[row, each.prompt_length : each.tokens.numel()] = each.advantages
            tokens, attention, weights = tokens.to(device), attention.to(device), weights.to(device)
            with torch.autocast(device.type, dtype=torch.bfloat16):
                logits = model(input_ids=tokens, attention_mask=attention, use_cache=False).logits[:, :-1]
            logprobs = logits.float().log_softmax(-1).gather(-1, tokens[:, 1:, None])[..., 0]
            (-(weights[:, 1:] * logprobs).sum() / total).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return update


CONTENDERS = {"ours": ours, "plain": plain}


def flops(model: PreTrainedModel, sequences: list[TrainingSequence], shape: Shape) -> float:
    """Of one update, without what checkpointing computes again."""
    matrices = sum(parameter.numel() for name, parameter in model.named_parameters() if parameter.dim() == 2 and "embed_tokens" not in name)
    head = shape.vocabulary * shape.hidden if shape.tied else 0
    lengths = [each.tokens.numel() for each in sequences]
    responses = sum(each.response_length for each in sequences)
    body = 6.0 * (matrices - (0 if shape.tied else shape.vocabulary * shape.hidden)) * sum(lengths)
    heads = 6.0 * (head or shape.vocabulary * shape.hidden) * responses
    attention = sum(6.0 * shape.layers * shape.hidden * length * length for length in lengths)
    return body + heads + attention


def measure(case: Case) -> dict[str, Any]:
    """In this process, which does nothing else."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    sequences = sequences_of(case)
    model = model_of(SHAPES[case.model], length=case.length, device=device)
    work = flops(model, sequences, SHAPES[case.model])
    run = CONTENDERS[case.contender](model, case, sequences)
    seconds = []
    try:
        for number in range(case.rounds + 1):
            if device.type == "cuda":
                torch.cuda.synchronize()
            started = time.perf_counter()
            run()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if number:
                seconds.append(time.perf_counter() - started)
    except torch.cuda.OutOfMemoryError:
        return {"out_of_memory": True}
    gc.collect()
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    tokens = sum(each.tokens.numel() for each in sequences)
    median = statistics.median(seconds)
    return {"seconds": median, "tokens_per_second": tokens / median, "tflops": work / median / 1e12, "peak_bytes": peak}


def measured_apart(case: Case) -> dict[str, Any]:
    command = [sys.executable, __file__, "--case", json.dumps(asdict(case))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    if done.returncode:
        raise SystemExit(f"{case}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=list(SHAPES), default=["0.5B", "1.5B", "7B"])
    parser.add_argument("--lengths", nargs="+", type=int, default=[1024, 8192, 16384])
    parser.add_argument("--sequences", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens-per-micro-batch", type=int, default=32_768)
    parser.add_argument("--peak-tflops", type=float, default=989.0)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case:
        print(json.dumps(measure(Case(**json.loads(options.case)))))
        return
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    print(f"{device}, bfloat16 products, float32 weights and AdamW, {options.sequences} sequences")
    print("| model | length | | s an update | tokens/s | MFU | peak memory |\n|---|---|---|---|---|---|---|")
    rows = []
    for model in options.models:
        for length in options.lengths:
            for contender in CONTENDERS:
                case = Case(
                    contender, model, length, options.sequences, max(options.tokens_per_micro_batch, length + PROMPT_TOKENS), options.rounds
                )
                found = measured_apart(case)
                rows.append({**asdict(case), **found})
                if found.get("out_of_memory"):
                    print(f"| {model} | {length:,} | {contender} | out of memory | | | |", flush=True)
                    continue
                share = found["tflops"] / options.peak_tflops
                print(
                    f"| {model} | {length:,} | {contender} | {found['seconds']:.2f} | {found['tokens_per_second']:,.0f} | {share:.1%} | "
                    f"{found['peak_bytes'] / 1e9:.1f} GB |",
                    flush=True,
                )
    if options.output:
        options.output.parent.mkdir(parents=True, exist_ok=True)
        options.output.write_text(json.dumps({"device": device, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
