"""Where a run's policy and tokenizer come from: a directory, the hub, or nothing at all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from reasonrl.api.job import JobSpec
from reasonrl.data.chained_digits import WORDS
from reasonrl.data.word_tokenizer import word_tokenizer
from reasonrl.run.errors import RunInputError
from reasonrl.run.seeds import derive_seed
from reasonrl.train.scratch_model import make_scratch_model

HUB_PREFIX = "hf://"


@dataclass(frozen=True, slots=True)
class Policy:
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase


def start_is_reproducible(spec: JobSpec) -> bool:
    """Whether the weights that training starts from can be had again from where they came, unchanged."""
    return spec.model.scratch is None and spec.sft is None


def load_model(spec: JobSpec, tokenizer: PreTrainedTokenizerBase, *, base_directory: Path) -> PreTrainedModel:
    """The model in float32, on the GPU where there is one. Raises RunInputError for one that cannot be loaded."""
    if spec.model.scratch is not None:
        model: PreTrainedModel = make_scratch_model(spec.model.scratch, tokenizer, seed=derive_seed(spec.seed, "scratch", 0))
    else:
        model = _from_files(spec, base_directory=base_directory)
    placed: PreTrainedModel = model.to(_device())
    return placed


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def model_place(path: str, base_directory: Path) -> str:
    """What `from_pretrained` takes for a path of the spec."""
    return path.removeprefix(HUB_PREFIX) if path.startswith(HUB_PREFIX) else str(base_directory / path)


def _from_files(spec: JobSpec, *, base_directory: Path) -> PreTrainedModel:
    path = spec.model.path
    if path is None:
        raise RunInputError("spec.model: neither path nor scratch is given")
    try:
        return AutoModelForCausalLM.from_pretrained(
            model_place(path, base_directory), revision=spec.model.revision or "main", dtype=torch.float32
        )
    except (OSError, ValueError) as error:
        raise RunInputError(f"spec.model.path = {path!r}: no causal language model can be loaded from it: {_first_line(error)}") from error


def load_tokenizer(spec: JobSpec, *, base_directory: Path) -> PreTrainedTokenizerBase:
    """Raises RunInputError for one that cannot be loaded."""
    named = spec.model.tokenizer or spec.model.path
    if named is None:
        if spec.model.scratch is None:
            raise RunInputError("spec.model: neither path nor scratch is given")
        return word_tokenizer(WORDS, context_tokens=spec.model.scratch.context_tokens)
    field = "spec.model.tokenizer" if spec.model.tokenizer else "spec.model.path"
    revision = None if spec.model.tokenizer else spec.model.revision
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(model_place(named, base_directory), revision=revision or "main")
    except (OSError, ValueError) as error:
        raise RunInputError(f"{field} = {named!r}: no tokenizer can be loaded from it: {_first_line(error)}") from error
    return tokenizer


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
