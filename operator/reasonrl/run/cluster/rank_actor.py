"""One trainer rank as a Ray actor: builds its trainer from files, and does what the gang asks, one call at a time.

Control calls have a thread of their own, so that a rank which computes for an hour can be told from one that is frozen.
"""

from __future__ import annotations

import os
import socket
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import ray
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

from reasonrl.run.cluster.published_weights import PublishedWeights, publish
from reasonrl.run.errors import RunInputError
from reasonrl.run.seeds import seed_global_generators
from reasonrl.run.trainer_rules import TrainerRules
from reasonrl.train.protocol import Trainer, TrainingSequence, UpdateSetting, UpdateStats
from reasonrl.train.rank_group import RankPlace
from reasonrl.train.torch_engine import TorchTrainer
from reasonrl.train.zero_rules import ZeroRules


@dataclass(frozen=True, slots=True, kw_only=True)
class RankRecipe:
    """What every rank is made of. `model_directory` (or a name on the hub, at `revision`) is read by each."""

    model_directory: str
    revision: str
    rules: TrainerRules
    engine: Literal["torch", "deepspeed"]
    zero: ZeroRules


class Rank:
    """See `train.protocol.Trainer`. Each call is made to all ranks at once, with the same arguments."""

    def __init__(self) -> None:
        self._trainer: Trainer | None = None

    @ray.method(concurrency_group="control")
    def ping(self) -> int:
        """The process id."""
        return os.getpid()

    @ray.method(concurrency_group="control")
    def stacks(self) -> str:
        """The Python stacks of all threads, for a person who asks what it hangs in."""
        return "\n".join(f"thread {number}:\n{''.join(traceback.format_stack(frame))}" for number, frame in sys._current_frames().items())

    def free_port(self) -> int:
        """A port that was free a moment ago, for the ranks to meet at."""
        with socket.socket() as listener:
            listener.bind(("", 0))
            return int(listener.getsockname()[1])

    def start(self, recipe: RankRecipe, place: RankPlace) -> None:
        """Loads the model and joins the other ranks. Raises TrainerError when they do not come together in time."""
        # A fresh process draws its own generators' seeds: initialisation must not depend on them.
        seed_global_generators(0, place.rank)
        if recipe.engine == "torch":
            self._trainer = _torch_trainer(recipe)
        else:
            self._trainer = _deepspeed_trainer(recipe, place)

    def reference_logprobs(self, sequences: Sequence[TrainingSequence], temperature: float) -> list[Tensor]:
        return self._ready().reference_logprobs(sequences, temperature=temperature)

    def update(self, updates: Sequence[Sequence[TrainingSequence]], setting: UpdateSetting) -> UpdateStats:
        return self._ready().update(updates, setting=setting)

    def publish(self, version: int, dtype: torch.dtype, rank: int) -> PublishedWeights | None:
        """The current weights in the object store, from rank 0; gathering them takes every rank."""
        weights = self._ready().weights()
        if rank > 0:
            for _ in weights:
                pass
            return None
        return publish(weights, version=version, dtype=dtype)

    def reset_reference(self, reset_optimizer: bool) -> None:
        self._ready().reset_reference(reset_optimizer=reset_optimizer)

    def save(self, directory: str) -> None:
        self._ready().save(Path(directory))

    def load(self, directory: str) -> None:
        self._ready().load(Path(directory))

    def seed(self, seed: int, step: int) -> None:
        seed_global_generators(seed, step)

    def _ready(self) -> Trainer:
        if self._trainer is None:
            raise RuntimeError("the rank was asked to work before it was started")
        return self._trainer


_OPTIONS: dict[str, Any] = {"max_restarts": 0, "max_task_retries": 0, "concurrency_groups": {"control": 1}}
RankActor: Any = ray.remote(**_OPTIONS)(Rank)


def _load_float32(recipe: RankRecipe) -> PreTrainedModel:
    """Raises RunInputError, which says where the files should have been visible."""
    try:
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(recipe.model_directory, revision=recipe.revision, dtype=torch.float32)
    except (OSError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise RunInputError(
            f"no model can be loaded from {recipe.model_directory} in the pod of this rank: {reason}. Every trainer pod must see it: a "
            "model by path through spec.volumes, checkpoints through a spec.checkpoint.volume that several pods can mount (ReadWriteMany)"
        ) from error
    return model


def _deepspeed_trainer(recipe: RankRecipe, place: RankPlace) -> Trainer:
    from reasonrl.train.deepspeed_engine import DeepSpeedTrainer

    rules = recipe.rules
    return DeepSpeedTrainer(
        lambda: _load_float32(recipe),
        place=place,
        zero=recipe.zero,
        loss=rules.loss,
        optimizer=rules.optimizer,
        compute=rules.compute,
        keep_reference=rules.keep_reference,
    )


def _torch_trainer(recipe: RankRecipe) -> TorchTrainer:
    rules = recipe.rules
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return TorchTrainer(
        _load_float32(recipe).to(device),
        loss=rules.loss,
        optimizer=rules.optimizer,
        compute=rules.compute,
        keep_reference=rules.keep_reference,
    )
