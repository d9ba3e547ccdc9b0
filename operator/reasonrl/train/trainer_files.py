"""The trainer's part of a checkpoint.

`policy/` is the model in Hugging Face format, loadable by anyone. `optimizer` has AdamW's moments by parameter name; `master` the float32
weights when `policy/` is written in bfloat16; `reference` the reference model's weights. Each of the three is one file or several
(`tensor_files`), with the same names and whole tensors whatever trainer wrote it, so that a run may go on with another number of ranks or
another engine. safetensors, not pickles: reading a checkpoint never runs code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils import CONFIG_NAME

from reasonrl.train.protocol import TrainerError
from reasonrl.train.tensor_files import TensorFiles, open_files, open_tensors

POLICY_DIRECTORY = "policy"
OPTIMIZER = "optimizer"
MASTER = "master"
REFERENCE = "reference"


def write_policy(directory: Path, *, model: PreTrainedModel, dtype: torch.dtype, state: Mapping[str, Tensor] | None = None) -> None:
    """The model in Hugging Face format, its weights in `dtype`. `state` stands for `model.state_dict()` where the model itself does not
    hold its weights."""
    found = model.state_dict() if state is None else state
    model.save_pretrained(directory, state_dict={name: tensor.detach().to(dtype) for name, tensor in found.items()})
    # save_pretrained writes down the dtype of the model in memory, which is that of the master weights.
    path = directory / CONFIG_NAME
    config = json.loads(path.read_text())
    config["dtype"] = str(dtype).removeprefix("torch.")
    path.write_text(json.dumps(config, indent=2))


def write_trainer_files(
    directory: Path, *, model: PreTrainedModel, optimizer: torch.optim.AdamW, reference: PreTrainedModel | None, dtype: torch.dtype
) -> None:
    write_policy(directory / POLICY_DIRECTORY, model=model, dtype=dtype)
    if dtype != torch.float32:
        save_file(_parameters(model), directory / f"{MASTER}.safetensors")
    save_file(_moments(model, optimizer), directory / f"{OPTIMIZER}.safetensors")
    if reference is not None:
        save_file(_parameters(reference), directory / f"{REFERENCE}.safetensors")


def read_trainer_files(directory: Path, *, model: PreTrainedModel, optimizer: torch.optim.AdamW, reference: PreTrainedModel | None) -> None:
    """Raises TrainerError when the checkpoint is of another model, or lacks the reference that this run needs."""
    policy, moments = open_policy(directory), open_moments(directory, names={name for name, _ in model.named_parameters()})
    found = open_reference(directory) if reference is not None else None
    _copy_into(model, policy)
    _set_moments(model, optimizer, moments)
    if reference is not None and found is not None:
        _copy_into(reference, found)


def open_policy(directory: Path) -> TensorFiles:
    """The policy's weights as precisely as they were written: the float32 masters where they are beside a bfloat16 policy.
    Raises TrainerError when there are none."""
    master = open_tensors(directory, MASTER)
    if master is not None:
        return master
    files = sorted((directory / POLICY_DIRECTORY).glob("*.safetensors"))
    if not files:
        raise TrainerError(f"{directory} holds no weights (no {POLICY_DIRECTORY}/*.safetensors): is it a trainer's checkpoint?")
    return open_files(directory, files)


def open_reference(directory: Path) -> TensorFiles:
    """Raises TrainerError when the checkpoint holds none."""
    found = open_tensors(directory, REFERENCE)
    if found is None:
        raise TrainerError(f"{directory} holds no reference model, but this run needs one: was KL off when it was written?")
    return found


def open_moments(directory: Path, *, names: set[str]) -> TensorFiles:
    """AdamW's state, each tensor called `parameter/field`; without any tensor when no step was made. Raises TrainerError when there is
    no optimizer state, or that of a model with other parameters than `names`."""
    found = open_tensors(directory, OPTIMIZER)
    if found is None:
        raise TrainerError(f"{directory} holds no optimizer state ({OPTIMIZER}.safetensors or its parts): is it a trainer's checkpoint?")
    for key in found.places:
        if moment_of(key)[0] not in names:
            raise TrainerError(f"{directory}: the optimizer state names a parameter that the model lacks: {moment_of(key)[0]}")
    return found


def moment_of(key: str) -> tuple[str, str]:
    """The parameter and the field (`step`, `exp_avg`, `exp_avg_sq`) that a tensor of the optimizer's files is."""
    name, _, field = key.rpartition("/")
    return name, field


def moment_key(name: str, field: str) -> str:
    return f"{name}/{field}"


def _parameters(model: PreTrainedModel) -> dict[str, Tensor]:
    return {name: parameter.detach().cpu().contiguous() for name, parameter in model.named_parameters()}


@torch.no_grad()
def _copy_into(model: PreTrainedModel, weights: TensorFiles) -> None:
    weights.check_parameters({name: parameter.shape for name, parameter in model.named_parameters()})
    for name, parameter in model.named_parameters():
        parameter.copy_(weights.read(name))


def _moments(model: PreTrainedModel, optimizer: torch.optim.AdamW) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        for field, value in optimizer.state.get(parameter, {}).items():
            tensors[moment_key(name, field)] = torch.as_tensor(value).detach().cpu().contiguous()
    return tensors


def _set_moments(model: PreTrainedModel, optimizer: torch.optim.AdamW, moments: TensorFiles) -> None:
    optimizer.state.clear()
    parameters = dict(model.named_parameters())
    for key in moments.places:
        name, field = moment_of(key)
        # Adam's step counter stays a float32 scalar on the parameter's device, as the fused kernel wants it.
        optimizer.state[parameters[name]][field] = moments.read(key).to(parameters[name].device)
