"""How DeepSpeed divides a model among ranks, as plain values, and its configuration made from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch

from reasonrl.train.protocol import TrainerError
from reasonrl.train.update_rules import OptimizerRules


@dataclass(frozen=True, slots=True, kw_only=True)
class ZeroRules:
    """`stage` says what is divided: 0 nothing, 1 the optimizer's state, 2 gradients too, 3 weights too. `offload` keeps the optimizer's
    state, or that and the weights, in the machine's memory. At stage 3, parameters of fewer than `persistent_numbers` numbers stay whole
    on every rank: gathering a norm's weights costs more than they weigh.

    Raises TrainerError for what DeepSpeed cannot do.
    """

    stage: int
    offload: Literal["none", "optimizer", "parameters"] = "none"
    persistent_numbers: int = 100_000

    def __post_init__(self) -> None:
        if self.stage not in (0, 1, 2, 3):
            raise TrainerError(f"spec.trainer.zeroStage must be 0, 1, 2 or 3, got {self.stage}")
        if self.offload == "optimizer" and self.stage == 0:
            raise TrainerError("spec.trainer.offload: optimizer needs zeroStage 1, 2 or 3: at stage 0 nothing is divided or moved")
        if self.offload == "parameters" and self.stage != 3:
            raise TrainerError(f"spec.trainer.offload: parameters needs zeroStage 3, got {self.stage}")

    def weights_dtype(self, dtype: torch.dtype) -> torch.dtype:
        """What the ranks' weights are in when products are computed in `dtype`. With stages 1 to 3 float32 masters live in the
        optimizer's shards; at stage 0 there are none, so the weights themselves stay float32 and autocast casts them."""
        return torch.float32 if self.stage == 0 else dtype


_LARGEST_BUCKET = 50_000_000
"""Numbers that travel together. DeepSpeed sets aside buffers of this size."""


def policy_config(zero: ZeroRules, *, optimizer: OptimizerRules, dtype: torch.dtype, numbers: int) -> dict[str, Any]:
    """Configuration for a model of `numbers` numbers that is trained.

    The number of micro-batches in an update is told to the engine as it goes. The 2 here is read by the offloaded optimizer only, which
    asks whether there may be several.
    """
    return {
        **_common(zero, dtype=dtype, numbers=numbers),
        "gradient_accumulation_steps": 2,
        # At stage 0 the trainer clips by itself, to see the norm before the weights move.
        "gradient_clipping": 0.0 if zero.stage == 0 else optimizer.max_gradient_norm,
        "zero_force_ds_cpu_optimizer": False,
    }


def reference_config(zero: ZeroRules, *, dtype: torch.dtype, numbers: int) -> dict[str, Any]:
    """Configuration for a model that is only read, divided among the ranks (stage 3)."""
    return {**_common(zero, dtype=dtype, numbers=numbers), "gradient_accumulation_steps": 1}


def _common(zero: ZeroRules, *, dtype: torch.dtype, numbers: int) -> dict[str, Any]:
    bucket = max(min(_LARGEST_BUCKET, numbers), 1)
    division: dict[str, Any] = {
        "stage": zero.stage,
        "reduce_bucket_size": bucket,
        "allgather_bucket_size": bucket,
        "overlap_comm": torch.cuda.is_available(),
        "contiguous_gradients": True,
    }
    host = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
    if zero.stage == 3:
        division["stage3_param_persistence_threshold"] = zero.persistent_numbers
        division["stage3_prefetch_bucket_size"] = bucket
    if zero.offload != "none":
        division["offload_optimizer"] = host
    if zero.offload == "parameters":
        division["offload_param"] = host
    config: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 1,
        "zero_optimization": division,
        # Gradients are added up and travel in float32, whatever the products are computed in.
        "data_types": {"grad_accum_dtype": "fp32"},
        "communication_data_type": "fp32",
        "steps_per_print": 2**62,
        "wall_clock_breakdown": False,
    }
    if zero.weights_dtype(dtype) == torch.bfloat16:
        config["bf16"] = {"enabled": True}
    return config
