"""Whole tensors in and out of an optimizer whose state DeepSpeed has divided among ranks.

Checkpoints hold whole tensors by parameter name, so that they fit any division. At stages 1 to 3 AdamW works on flat pieces of many
parameters at once, in which a parameter's master weight and moments are slices; at stage 0 on the parameters themselves. Reading is
collective: every rank asks for the same tensor at the same time. Writing is not: each rank is given the whole and keeps its piece.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from reasonrl.train.protocol import TrainerError

MASTER_FIELD = "master"
MOMENT_FIELDS = ("exp_avg", "exp_avg_sq")
STEP_FIELD = "step"


class ZeroState:
    """The optimizer's side of one DeepSpeed engine. Fields are `master`, `exp_avg` and `exp_avg_sq`; all tensors are float32."""

    def __init__(self, engine: Any, *, stage: int) -> None:
        self._optimizer = engine.optimizer
        self._adamw: torch.optim.AdamW = engine.basic_optimizer
        self._stage = stage
        self._make_room()

    def steps(self) -> float:
        """Optimizer steps made, the same for all parameters; 0 before the first."""
        return max(float(state[STEP_FIELD]) for state in self._adamw.state.values())

    def set_learning_rate(self, rate: float) -> None:
        for group in self._adamw.param_groups:
            group["lr"] = rate

    def forget(self) -> None:
        """Moments and steps as before the first step. In place, since DeepSpeed holds on to slices of them."""
        for state in self._adamw.state.values():
            for value in state.values():
                value.zero_()

    def set_steps(self, steps: float) -> None:
        for state in self._adamw.state.values():
            state[STEP_FIELD].fill_(steps)

    def read(self, parameter: nn.Parameter, field: str) -> Tensor:
        """The whole tensor of that field, in the parameter's shape; a collective call. It may be the engine's own: copy what is kept."""
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

        if self._stage == 0:
            whole: Tensor = parameter.detach() if field == MASTER_FIELD else self._adamw.state[parameter][field]
            return whole
        found = safe_get_full_fp32_param(parameter) if field == MASTER_FIELD else safe_get_full_optimizer_state(parameter, field)
        if found is None:
            raise TrainerError(f"DeepSpeed holds no {field} for a parameter of shape {list(parameter.shape)}: is it frozen?")
        gathered: Tensor = found
        return gathered

    def write(self, parameter: nn.Parameter, field: str, whole: Tensor) -> None:
        """Sets this rank's piece of the field. The weights that the forward pass reads are another matter at stages 1 to 3."""
        if self._stage == 0:
            self.read(parameter, field).copy_(whole)
        elif self._stage == 3:
            self._write_divided(parameter, field, whole)
        else:
            from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

            value = whole.to(device=parameter.device, dtype=torch.float32)
            if field == MASTER_FIELD:
                safe_set_full_fp32_param(parameter, value)
            else:
                safe_set_full_optimizer_state(parameter, value, field)

    def _make_room(self) -> None:
        """Moments exist from the start, as zeros. DeepSpeed would tell parameters where their slices are after the first step of the first
        parameter group, when the other group has none yet, and never again."""
        for piece in self._pieces():
            self._adamw.state[piece] = {
                STEP_FIELD: torch.zeros((), dtype=torch.float32, device=piece.device),
                **{field: torch.zeros_like(piece, requires_grad=False) for field in MOMENT_FIELDS},
            }
        if self._stage in (1, 2):
            self._optimizer._lazy_init_hp_params_optimizer_state()

    def _write_divided(self, parameter: Any, field: str, whole: Tensor) -> None:
        from deepspeed.utils import safe_set_local_fp32_param, safe_set_local_optimizer_state

        piece = _piece_of(parameter, whole)
        if field == MASTER_FIELD:
            safe_set_local_fp32_param(parameter, piece)
        else:
            safe_set_local_optimizer_state(parameter, piece, field)

    def _pieces(self) -> Iterator[Tensor]:
        """The tensors that AdamW works on, on this rank."""
        if self._stage == 3:
            yield from self._optimizer.fp32_partitioned_groups_flat
        else:
            for group in self._adamw.param_groups:
                yield from group["params"]


def _piece_of(parameter: Any, whole: Tensor) -> Tensor:
    """This rank's piece of a parameter that is divided among all: equal pieces, the last ones filled up with zeros."""
    numbers = int(parameter.ds_tensor.numel())
    start = torch.distributed.get_rank() * numbers
    piece = torch.zeros(numbers, dtype=torch.float32)
    present = whole.reshape(-1)[start : start + numbers]
    piece[: present.numel()] = present
    return piece
