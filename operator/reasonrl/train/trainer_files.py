"""The trainer's part of a checkpoint.

`policy/` is the model in Hugging Face format, loadable by anyone. `optimizer.safetensors` has AdamW's moments by parameter name;
`master.safetensors` the float32 weights when `policy/` is written in bfloat16; `reference.safetensors` the reference model's weights.
safetensors, not pickles: reading a checkpoint never runs code.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel
from transformers.utils import CONFIG_NAME

from reasonrl.train.protocol import TrainerError

POLICY_DIRECTORY = "policy"
_OPTIMIZER = "optimizer.safetensors"
_MASTER = "master.safetensors"
_REFERENCE = "reference.safetensors"


def write_policy(directory: Path, *, model: PreTrainedModel, dtype: torch.dtype) -> None:
    """The model in Hugging Face format, its weights in `dtype`."""
    state = {name: tensor.detach().to(dtype) for name, tensor in model.state_dict().items()}
    model.save_pretrained(directory, state_dict=state)
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
        save_file(_parameters(model), directory / _MASTER)
    save_file(_moments(model, optimizer), directory / _OPTIMIZER)
    if reference is not None:
        save_file(_parameters(reference), directory / _REFERENCE)


def read_trainer_files(directory: Path, *, model: PreTrainedModel, optimizer: torch.optim.AdamW, reference: PreTrainedModel | None) -> None:
    """Raises TrainerError when the checkpoint is of another model, or lacks the reference that this run needs."""
    master = directory / _MASTER
    policy = load_file(master) if master.exists() else _policy_weights(directory / POLICY_DIRECTORY)
    _copy_into(model, policy, what=directory)
    _set_moments(model, optimizer, load_file(directory / _OPTIMIZER))
    if reference is not None:
        if not (directory / _REFERENCE).exists():
            raise TrainerError(f"{directory} holds no reference model, but this run needs one: was KL off when it was written?")
        _copy_into(reference, load_file(directory / _REFERENCE), what=directory / _REFERENCE)


def _parameters(model: PreTrainedModel) -> dict[str, Tensor]:
    return {name: parameter.detach().cpu().contiguous() for name, parameter in model.named_parameters()}


def _policy_weights(directory: Path) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = {}
    for file in sorted(directory.glob("*.safetensors")):
        weights.update(load_file(file))
    return weights


@torch.no_grad()
def _copy_into(model: PreTrainedModel, weights: dict[str, Tensor], *, what: Path) -> None:
    for name, parameter in model.named_parameters():
        if name not in weights or weights[name].shape != parameter.shape:
            found = list(weights[name].shape) if name in weights else "nothing"
            raise TrainerError(f"{what}: parameter {name} should be {list(parameter.shape)}, found {found}: another model's checkpoint?")
        parameter.copy_(weights[name])


def _moments(model: PreTrainedModel, optimizer: torch.optim.AdamW) -> dict[str, Tensor]:
    tensors: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"{name}/{key}"] = torch.as_tensor(value).detach().cpu().contiguous()
    return tensors


def _set_moments(model: PreTrainedModel, optimizer: torch.optim.AdamW, tensors: dict[str, Tensor]) -> None:
    optimizer.state.clear()
    parameters = dict(model.named_parameters())
    for key, tensor in tensors.items():
        name, _, field = key.rpartition("/")
        if name not in parameters:
            raise TrainerError(f"the optimizer state names a parameter that the model lacks: {name}")
        # Adam's step counter stays a float32 scalar on the parameter's device, as the fused kernel wants it.
        optimizer.state[parameters[name]][field] = tensor.to(parameters[name].device)
