"""The supervised warm start, as the first chapter of a run: on screen, stoppable, and not lost when the process dies.

It keeps checkpoints of its own, every few minutes and on SIGTERM, which go once training has a checkpoint that includes its result.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import torch

from reasonrl.api.job import JobSpec
from reasonrl.api.run_files import WarmStartMetrics
from reasonrl.api.sft_spec import SftSpec
from reasonrl.data.sources import load_pairs
from reasonrl.data.supervised_sets import SupervisedBatches, SupervisedSet, supervised_set
from reasonrl.data.templates import make_template
from reasonrl.run.checkpoint_store import CheckpointStore
from reasonrl.run.policy_source import Policy
from reasonrl.run.question_set import Note
from reasonrl.run.seeds import derive_seed
from reasonrl.run.stop_request import StopRequest
from reasonrl.run.telemetry.telemetry import Telemetry
from reasonrl.run.transitions import record_event
from reasonrl.train.supervised import SupervisedSetting, SupervisedStep, SupervisedTrainer

SECONDS_BETWEEN_SAVES = 300.0
"""At most this much of a warm start is lost to a crash."""
RECORDS = 200
"""About so many points of the loss are recorded."""


def warm_start(
    spec: JobSpec, policy: Policy, *, directory: Path, base_directory: Path, telemetry: Telemetry, stop: StopRequest, note: Note
) -> None:
    """Trains `policy.model` in place. Raises StopRequestedError, after a save, when a signal asks to stop; DataError for bad data."""
    sft = spec.sft
    if sft is None:
        return
    telemetry.stage("warm start")
    store = CheckpointStore(directory, warn=note)
    examples = _examples(spec, sft, policy, base_directory=base_directory, note=note)
    steps = sft.steps if sft.steps is not None else examples.steps(epochs=sft.epochs or 1, batch_size=sft.batch_size)
    trainer = SupervisedTrainer(policy.model, _setting(spec, sft, examples, steps=steps))
    batches = SupervisedBatches(examples.examples, batch_size=sft.batch_size, seed=derive_seed(spec.seed, "warm start", 0))
    found = store.latest_complete()
    if found is not None:
        trainer.load(found[0])
        note(f"the warm start goes on at its step {trainer.step}")
    saved = time.monotonic()
    for step in trainer.steps(batches.at):
        if step.step % max(steps // RECORDS, 1) == 0 or step.step == steps:
            telemetry.warm_start(_record(step))
        due = time.monotonic() - saved > SECONDS_BETWEEN_SAVES
        if step.step < steps and (due or stop.requested):
            store.save(step.step, trainer.save, metadata={"reason": "stop" if stop.requested else "warm start"})
            for old in store.steps()[:-1]:
                store.delete(old)
            saved = time.monotonic()
        if step.step < steps:
            stop.check()
    record_event(telemetry, 0, "WarmStartFinished", f"{steps} supervised steps of {sft.batch_size} examples")


def forget_warm_start(directory: Path) -> None:
    """Removes the warm start's own checkpoints, once one of the run includes its result."""
    if directory.exists():
        shutil.rmtree(directory)


def _examples(spec: JobSpec, sft: SftSpec, policy: Policy, *, base_directory: Path, note: Note) -> SupervisedSet:
    pairs = [pair for source in sft.train for pair in load_pairs(source, base_directory=base_directory)]
    prompt = spec.prompt
    template = make_template(prompt.template, policy.tokenizer, example=pairs[0][0].text, text=prompt.text, system=prompt.system)
    examples = supervised_set(pairs, template, policy.tokenizer, max_tokens=sft.max_tokens)
    if examples.too_long:
        note(f"{examples.too_long} of {len(pairs)} warm-start examples are longer than {sft.max_tokens} tokens and were left out")
    return examples


def _setting(spec: JobSpec, sft: SftSpec, examples: SupervisedSet, *, steps: int) -> SupervisedSetting:
    return SupervisedSetting(
        steps=steps,
        denominator=sft.batch_size * examples.mean_response_tokens,
        learning_rate=sft.learning_rate,
        warmup_steps=sft.warmup_steps,
        schedule=sft.schedule,
        weight_decay=sft.weight_decay,
        max_gradient_norm=sft.max_gradient_norm,
        tokens_per_micro_batch=spec.trainer.tokens_per_micro_batch,
        packed_row_tokens=sft.max_tokens if sft.packing else None,
        logits_chunk_tokens=spec.trainer.logits_chunk_tokens,
        dtype=getattr(torch, spec.model.dtype),
    )


def _record(step: SupervisedStep) -> WarmStartMetrics:
    return WarmStartMetrics(
        step=step.step, time=time.time(), loss=step.loss, learning_rate=step.learning_rate, tokens_per_second=step.tokens_per_second
    )
