"""A model put under DeepSpeed: the policy with its optimizer, or the reference that is only read.

A model is loaded whole into each rank's host memory and divided from there, a parameter at a time, so that no GPU ever holds all of it at
stage 3. The reference is divided as the policy is at stage 3, and held whole by each rank at the other stages.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from reasonrl.train.adamw import adamw
from reasonrl.train.policy_forward import head_of, library_forward, policy_forward
from reasonrl.train.policy_module import HeadUse, PolicyModule
from reasonrl.train.protocol import TrainingSequence
from reasonrl.train.update_rules import ComputeRules, OptimizerRules
from reasonrl.train.whole_weights import numbers_of
from reasonrl.train.zero_rules import ZeroRules, policy_config, reference_config
from reasonrl.train.zero_state import MASTER_FIELD, ZeroState

ModelSource = Callable[[], PreTrainedModel] | Path
"""A function that loads the same model on every rank whenever it is called, or a directory in Hugging Face format."""

ModelCall = Callable[[Sequence[TrainingSequence], HeadUse], Tensor]


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """`engine` is DeepSpeed's, around a `PolicyModule` around `model`; `state` its optimizer's side."""

    model: PreTrainedModel
    engine: Any
    state: ZeroState
    stage: int


@dataclass(frozen=True, slots=True)
class ReferenceModel:
    """`call` computes on `model`, divided or not."""

    model: PreTrainedModel
    call: ModelCall


def load_model(source: ModelSource) -> PreTrainedModel:
    """In host memory, in the dtype that it was saved in."""
    if isinstance(source, Path):
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(source, dtype="auto", local_files_only=True)
        return model
    return source()


def trained_model(
    source: ModelSource, *, zero: ZeroRules, optimizer: OptimizerRules, compute: ComputeRules, device: torch.device
) -> TrainedModel:
    """Collective. Raises TrainerError for a model whose logits are no linear map of its hidden states."""
    import deepspeed

    model = load_model(source).train()
    head_of(model)
    dtype = zero.weights_dtype(compute.dtype)
    masters = _more_precise(model, dtype)
    module = _module(model, zero=zero, compute=compute, device=device, checkpointing=compute.gradient_checkpointing)
    config = policy_config(zero, optimizer=optimizer, dtype=compute.dtype, numbers=numbers_of(model))
    # Which parameters are matrices is to be seen before they are divided.
    steps = adamw(model.parameters(), optimizer)
    _divide(module, zero=zero, config=config, dtype=dtype, device=device)
    engine, *_ = deepspeed.initialize(model=module, optimizer=steps, config=config)
    state = ZeroState(engine, stage=zero.stage)
    for name, parameter in model.named_parameters():
        if name in masters:
            state.write(parameter, MASTER_FIELD, _from_rank_0(masters.pop(name), device))
    return TrainedModel(model, engine, state, zero.stage)


def reference_model(source: ModelSource, *, zero: ZeroRules, compute: ComputeRules, device: torch.device) -> ReferenceModel:
    """Collective. Its weights are to be set from the policy's."""
    import deepspeed

    model = load_model(source).eval().requires_grad_(False)
    module = _module(model, zero=zero, compute=compute, device=device, checkpointing=False).eval()
    if zero.stage < 3:
        return ReferenceModel(model, module.to(device))
    config = reference_config(zero, dtype=compute.dtype, numbers=numbers_of(model))
    _divide(module, zero=zero, config=config, dtype=zero.weights_dtype(compute.dtype), device=device)
    engine, *_ = deepspeed.initialize(model=module, config=config)
    return ReferenceModel(model, engine)


def _module(model: PreTrainedModel, *, zero: ZeroRules, compute: ComputeRules, device: torch.device, checkpointing: bool) -> PolicyModule:
    dtype = zero.weights_dtype(compute.dtype)
    # Parameters alone: positions in a rotary buffer would suffer from bfloat16.
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    if zero.stage < 3:
        model.to(device)
    # The lean forward pass reads parameters past their modules, where ZeRO-3 has not gathered them.
    forward = library_forward if zero.stage == 3 else policy_forward
    return PolicyModule(
        model,
        forward(model, dtype=compute.dtype, gradient_checkpointing=checkpointing),
        dtype=compute.dtype,
        chunk_tokens=compute.logits_chunk_tokens,
    )


def _divide(module: PolicyModule, *, zero: ZeroRules, config: dict[str, Any], dtype: torch.dtype, device: torch.device) -> None:
    if zero.stage < 3:
        return
    import deepspeed

    deepspeed.zero.Init(
        module=module, config_dict_or_path=config, dtype=dtype, remote_device="cpu" if zero.offload == "parameters" else None
    )
    for buffer in module.buffers():
        buffer.data = buffer.data.to(device)
    for parameter in module.head_parameters():
        deepspeed.zero.register_external_parameter(module, parameter)


def _more_precise(model: nn.Module, dtype: torch.dtype) -> dict[str, Tensor]:
    """Copies of the weights that `dtype` cannot hold: the optimizer starts from them, not from what rounding left."""
    return {
        name: parameter.detach().clone()
        for name, parameter in model.named_parameters()
        if parameter.dtype == torch.float32 and dtype != torch.float32
    }


def _from_rank_0(tensor: Tensor, device: torch.device) -> Tensor:
    """As DeepSpeed does with the weights themselves: ranks never start apart."""
    shared = tensor.to(device)
    distributed.broadcast(shared, src=0)
    return shared
