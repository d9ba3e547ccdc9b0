"""A process that has paid for the imports once and forks trainer ranks from itself; run as a script by the DeepSpeed tests.

Reads one job a line from stdin (JSON) and forks `world` ranks for it, each of which does the job and writes `rank-<n>.pt` to `out`: what it
found, or the error that ended it. Answers each job with one line (JSON) when all its ranks have ended: their exit codes.
"""

from __future__ import annotations

import ctypes
import dataclasses
import json
import logging
import os
import signal
import socket
import sys
import time
import traceback
from pathlib import Path
from typing import Any

# DeepSpeed imports this, and through it a compiler, at the first start of an engine: better once than in every rank.
import deepspeed.runtime.zero.muon.muon_optimizer  # noqa: F401
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from reasonrl.rl.importance import ImportanceCorrection
from reasonrl.rl.kl import KLTerm
from reasonrl.train.deepspeed_engine import DeepSpeedTrainer
from reasonrl.train.protocol import RanksLostError, TrainerError, TrainingSequence, UpdateSetting
from reasonrl.train.rank_group import RankPlace
from reasonrl.train.torch_engine import TorchTrainer
from reasonrl.train.update_rules import ComputeRules, LossRules, OptimizerRules
from reasonrl.train.zero_rules import ZeroRules

VOCABULARY = 37
RANKS_SECONDS = 150
KL = KLTerm(estimator="k3", placement="loss", clamp=10.0)


def model_of(job: dict[str, Any]) -> Any:
    torch.manual_seed(job.get("model_seed", 0))
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=job.get("hidden", 32),
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        tie_word_embeddings=job.get("tied", True),
        initializer_range=0.2,
    )
    return Qwen2ForCausalLM(config)


def trainer_of(job: dict[str, Any], rank: int) -> Any:
    rules = {
        "loss": LossRules(
            loss=job.get("loss", "clip"),
            aggregation=job.get("aggregation", "tokenMean"),
            dual_clip=None,
            correction=ImportanceCorrection(kind="truncate"),
            old_logprobs="trainer",
            kl=KL if job.get("kl") else None,
        ),
        "optimizer": OptimizerRules(betas=(0.9, 0.95), epsilon=1e-4, weight_decay=0.01, max_gradient_norm=job.get("clip", 0.5)),
        "compute": ComputeRules(
            tokens_per_micro_batch=job.get("budget", 60),
            logits_chunk_tokens=7,
            gradient_checkpointing=job.get("checkpointing", False),
            dtype=getattr(torch, job.get("dtype", "float32")),
        ),
        "keep_reference": bool(job.get("kl")),
    }
    if job["engine"] == "torch":
        return TorchTrainer(model_of(job), **rules)
    place = RankPlace(
        rank=rank,
        world_size=job.get("ranks", job["world"]),
        local_rank=rank,
        master_address="127.0.0.1",
        master_port=job["port"],
        timeout_seconds=job.get("timeout", 60.0),
    )
    # Nothing stays whole at stage 3: with the default, a model of this size would.
    zero = ZeroRules(stage=job["stage"], offload=job.get("offload", "none"), persistent_numbers=job.get("persistent", 0))
    return DeepSpeedTrainer(Path(job["model"]) if "model" in job else lambda: model_of(job), place=place, zero=zero, **rules)


def sequences_of(count: int, seed: int) -> list[TrainingSequence]:
    generator = torch.Generator().manual_seed(seed)
    sequences = []
    for _ in range(count):
        prompt, time_ = (int(torch.randint(1, high, (), generator=generator)) for high in (6, 30))
        sequences.append(
            TrainingSequence(
                tokens=torch.randint(0, VOCABULARY, (prompt + time_,), generator=generator),
                prompt_length=prompt,
                advantages=torch.randn((), generator=generator).expand(time_).clone(),
                mask=(torch.rand(time_, generator=generator) < 0.9).float(),
                sampler_logprobs=-3.6 + 0.3 * torch.randn(time_, generator=generator),
            )
        )
    return sequences


SETTING = UpdateSetting(
    learning_rate=1e-2, temperature=0.9, kl_coefficient=0.0, entropy_coefficient=0.01, clip_low=0.2, clip_high=0.28, constant_length=20
)


def learn(trainer: Any, job: dict[str, Any], seed: int) -> dict[str, Any]:
    """One step: reference log-probs where there is a reference, then `updates` optimizer updates."""
    sequences = sequences_of(job.get("sequences", 10), seed)
    if job.get("kl"):
        for sequence, logprobs in zip(sequences, trainer.reference_logprobs(sequences, temperature=0.9), strict=True):
            sequence.reference_logprobs = logprobs
    half = len(sequences) // 2
    updates = [sequences[:half], sequences[half:]] if job.get("updates", 1) == 2 else [sequences]
    if job.get("flat"):
        for sequence in sequences:
            sequence.advantages.zero_()
    if job.get("broken") == seed:
        sequences[-1].advantages[:] = float("inf")
    coefficients = {"kl_coefficient": 0.3} if job.get("kl") else {}
    if job.get("flat"):
        coefficients["entropy_coefficient"] = 0.0
    stats = trainer.update(updates, setting=dataclasses.replace(SETTING, **coefficients))
    return dataclasses.asdict(stats)


def weights_of(trainer: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in trainer.weights()}


def do_learn(job: dict[str, Any], rank: int) -> dict[str, Any]:
    started = time.perf_counter()
    trainer = trainer_of(job, rank)
    found: dict[str, Any] = {"up": time.perf_counter() - started, "stats": [], "seconds": [], "errors": []}
    if "load" in job:
        trainer.load(Path(job["load"]))
    for seed in job.get("seeds", [1, 2, 3]):
        started = time.perf_counter()
        try:
            found["stats"].append(learn(trainer, job, seed))
        except TrainerError as error:
            found["errors"].append(f"{type(error).__name__}: {error}")
        found["seconds"].append(time.perf_counter() - started)
        if seed == job.get("save_after"):
            trainer.save(Path(job["save"]))
        if seed in job.get("reset", []):
            trainer.reset_reference(reset_optimizer=True)
    if "save" in job and "save_after" not in job:
        trainer.save(Path(job["save"]))
    found["weights"] = weights_of(trainer)
    probe = sequences_of(3, 99)
    found["logprobs"] = trainer.policy_logprobs(probe, temperature=0.9)
    if job.get("kl"):
        found["reference"] = trainer.reference_logprobs(probe, temperature=0.9)
    return found


def do_refused(job: dict[str, Any], rank: int) -> dict[str, Any]:
    """Each of `checkpoints` is loaded in turn; what it was refused for, and whether the trainer still works."""
    trainer = trainer_of(job, rank)
    errors = []
    for checkpoint in job["checkpoints"]:
        try:
            trainer.load(Path(checkpoint))
            errors.append(None)
        except TrainerError as error:
            errors.append(str(error))
    return {"errors": errors, "stats": learn(trainer, job, 1)}


def do_fault(job: dict[str, Any], rank: int) -> dict[str, Any]:
    """The `victim` signals itself between two steps; the others find out in the second."""
    trainer = trainer_of(job, rank)
    learn(trainer, job, 1)
    if rank == job["victim"]:
        os.kill(os.getpid(), getattr(signal, job["signal"]))
    found: dict[str, Any] = {"errors": []}
    started = time.perf_counter()
    for _ in range(2):
        try:
            learn(trainer, job, 2)
        except RanksLostError as error:
            found["errors"].append(str(error))
        found.setdefault("seconds", time.perf_counter() - started)
    return found


def do_unwritable(job: dict[str, Any], rank: int) -> dict[str, Any]:
    trainer = trainer_of(job, rank)
    learn(trainer, job, 1)
    try:
        trainer.save(Path(job["save"]))
        text = "saved"
    except TrainerError as error:
        text = str(error)
    return {"error_text": text, "stats": learn(trainer, job, 2)}


def do_alone(job: dict[str, Any], rank: int) -> dict[str, Any]:
    try:
        trainer_of(job, rank)
        return {"error_text": "started"}
    except TrainerError as error:
        return {"error_text": str(error)}


DOINGS = {"learn": do_learn, "refused": do_refused, "fault": do_fault, "unwritable": do_unwritable, "alone": do_alone}


def run_rank(job: dict[str, Any], rank: int) -> None:
    # A rank must not outlive its parent, whatever ends that.
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    logging.basicConfig(level=logging.ERROR)
    try:
        found = DOINGS[job["do"]](job, rank)
    except BaseException as error:  # noqa: BLE001
        traceback.print_exc()
        found = {"error": f"{type(error).__name__}: {error}"}
    torch.save(found, Path(job["out"]) / f"rank-{rank}.pt")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(1 if "error" in found else 0)


def run_job(job: dict[str, Any]) -> list[int | None]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        job["port"] = free.getsockname()[1]
    ranks = {}
    for rank in range(job["world"]):
        process = os.fork()
        if process == 0:
            run_rank(job, rank)
        ranks[process] = rank
    codes: list[int | None] = [None] * job["world"]
    expected = job["world"] - (1 if job.get("signal") == "SIGSTOP" else 0)
    deadline = time.monotonic() + RANKS_SECONDS
    while ranks and expected > 0 and time.monotonic() < deadline:
        process, status = os.waitpid(-1, os.WNOHANG)
        if process:
            codes[ranks.pop(process)] = os.waitstatus_to_exitcode(status)
            expected -= 1
        else:
            time.sleep(0.01)
    for process in ranks:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
    return codes


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        answers.write(json.dumps(run_job(json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
