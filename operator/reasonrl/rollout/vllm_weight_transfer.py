"""vLLM's weight-transfer interface, filled in for weights that come through host memory.

vLLM lets a backend be registered that brings new weights to a running engine; its own need a GPU on both sides. This one takes an offer
(`weight_offer`) and adds what vLLM leaves out: an offer is checked whole before the model is touched, every parameter must have been given
a value, and a head that is tied to the embedding is packed anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from vllm.distributed.weight_transfer.base import WeightTransferEngine, WeightTransferInitInfo, WeightTransferUpdateInfo
from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm
from vllm.model_executor.model_loader.reload import finalize_layerwise_reload, initialize_layerwise_reload

from reasonrl.rl.packed_weights import PackedWeightsError
from reasonrl.rollout.protocol import WeightLoadError
from reasonrl.rollout.weight_offer import WeightOffer

BACKEND = "reasonrl"


@dataclass
class OfferInitInfo(WeightTransferInitInfo):  # type: ignore[misc]
    """Nothing has to be agreed on beforehand."""


@dataclass
class OfferUpdateInfo(WeightTransferUpdateInfo):  # type: ignore[misc]
    """An offer, and what must be in it: tensors of these names and shapes, of version `version`."""

    offer: WeightOffer
    version: int
    names: list[str]
    shapes: list[list[int]]


class OfferTransferEngine(WeightTransferEngine):  # type: ignore[misc]
    """One push: `start_weight_update`, `update_weights` once with the whole offer, `finish_weight_update`.

    `update_weights` raises WeightLoadError with the model untouched when the offer is not what was announced, and with the model
    unusable until the next push when the model did not take all of it.
    """

    init_info_cls = OfferInitInfo
    update_info_cls = OfferUpdateInfo

    def init_transfer_engine(self, init_info: OfferInitInfo) -> None:
        """No rendezvous."""

    def start_weight_update(self) -> None:
        """The model is taken apart only when the offer has been checked."""

    def update_weights(self, update_info: dict[str, Any]) -> None:
        self.receive_weights(self.parse_update_info(update_info))
        if self.device.type != "cpu":
            torch.accelerator.synchronize()

    def receive_weights(self, update_info: OfferUpdateInfo) -> None:
        offer = update_info.offer
        if offer.version != update_info.version:
            raise WeightLoadError(f"version {update_info.version} was announced, and weights of version {offer.version} came")
        try:
            weights = offer.open()
        except PackedWeightsError as error:
            raise WeightLoadError(str(error)) from error
        announced = dict(zip(update_info.names, update_info.shapes, strict=True))
        if announced != {name: list(tensor.shape) for name, tensor in weights.items()}:
            raise WeightLoadError(
                f"{len(announced)} tensors of version {offer.version} were announced, and {len(weights)} came; "
                f"the first that is not as announced is {_first_difference(announced, weights)!r}"
            )
        # Before the model is taken apart: while it is, a tied head counts as a parameter of its own.
        needed = {name for name, _ in self.model.named_parameters()}
        initialize_layerwise_reload(self.model)
        try:
            self._fill(weights, needed, version=offer.version)
        finally:
            # Also after a failure: a layer that still waits for its other half would mix it with the next push.
            finalize_layerwise_reload(self.model, self.model_config)

    def finish_weight_update(self) -> None:
        repack_head(self.model)

    def shutdown(self) -> None:
        """Nothing is held between pushes."""

    def _fill(self, weights: Mapping[str, Tensor], needed: Set[str], *, version: int) -> None:
        filled: set[str] | None = self.model.load_weights(iter(weights.items()))
        empty = sorted(needed - filled) if filled is not None else []
        if empty:
            raise WeightLoadError(f"vLLM's model found no weights of version {version} for {len(empty)} parameters: {', '.join(empty[:5])}")


def _first_difference(announced: Mapping[str, list[int]], weights: Mapping[str, Tensor]) -> str:
    came = {name: list(tensor.shape) for name, tensor in weights.items()}
    return next(name for name in [*announced, *came] if announced.get(name) != came.get(name))


def repack_head(model: Any) -> None:
    """On a CPU a head tied to the embedding keeps the packed copy of its old weights through a reload."""
    head = getattr(model, "lm_head", None)
    if head is not None and hasattr(head, "cpu_linear"):
        dispatch_cpu_unquantized_gemm(head, remove_weight=False)
