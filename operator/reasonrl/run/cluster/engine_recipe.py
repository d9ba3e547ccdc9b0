"""What a rollout pod makes its engine of: the job, the model's configuration and the tokenizer, as a few small files that travel along.

A rollout pod need not see the trainers' volumes, so no weights are read there: the engine starts with random ones and takes the run's own,
as after every step, before it samples.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoConfig, GenerationConfig, PreTrainedTokenizerBase

from reasonrl.api.job import JobSpec
from reasonrl.rollout.end_tokens import end_tokens_of
from reasonrl.rollout.stepping import SteppingEngine
from reasonrl.run.rollout_engine import make_empty_engine

SCRATCH_VARIABLE = "REASONRL_SCRATCH"


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRecipe:
    """`files` are the model's configuration, by name. The tokenizer travels as an object: beside a configuration, transformers may take
    another class for it than the one that was saved."""

    spec: JobSpec
    files: Mapping[str, bytes]
    tokenizer: PreTrainedTokenizerBase
    stop_token_ids: tuple[int, ...]

    def __call__(self) -> SteppingEngine:
        """Makes the engine in this process. Raises RolloutError for what the job asks and the engine cannot do."""
        with tempfile.TemporaryDirectory(prefix="engine-", dir=os.environ.get(SCRATCH_VARIABLE)) as name:
            directory = Path(name)
            for file, content in self.files.items():
                (directory / file).write_bytes(content)
            return make_empty_engine(self.spec, directory, self.tokenizer, stop_token_ids=self.stop_token_ids)


def engine_recipe(spec: JobSpec, model: str, tokenizer: PreTrainedTokenizerBase, *, revision: str) -> EngineRecipe:
    """`model` is a directory or a name on the hub, and only its configuration is read."""
    config = AutoConfig.from_pretrained(model, revision=revision)
    generation = _generation_settings(model, config, revision=revision)
    with tempfile.TemporaryDirectory(prefix="recipe-", dir=os.environ.get(SCRATCH_VARIABLE)) as name:
        directory = Path(name)
        config.save_pretrained(directory)
        generation.save_pretrained(directory)
        files = {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}
    ends = end_tokens_of(_Named(generation), tokenizer)
    return EngineRecipe(spec=spec, files=files, tokenizer=tokenizer, stop_token_ids=ends)


@dataclass(frozen=True, slots=True)
class _Named:
    generation_config: Any


def _generation_settings(model: str, config: Any, *, revision: str) -> GenerationConfig:
    try:
        return GenerationConfig.from_pretrained(model, revision=revision)
    except OSError:
        # Most directories have none, and then a loaded model's are those of its configuration.
        return GenerationConfig.from_model_config(config)
