"""The trainer's part of a checkpoint, written and read by many ranks at once.

The same files as `trainer_files` writes, in parts: each tensor is whole in the part of one rank, so that any number of ranks at any stage,
and the built-in trainer too, can go on from them. The directory must be one that all ranks see. Both functions are collective, and what
goes wrong on one rank is raised on all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from reasonrl.train.protocol import TrainerError
from reasonrl.train.rank_group import RankPlace, settle
from reasonrl.train.rank_shares import owners
from reasonrl.train.tensor_files import TensorFiles, part_file, write_part
from reasonrl.train.trainer_files import (
    MASTER,
    OPTIMIZER,
    POLICY_DIRECTORY,
    REFERENCE,
    moment_key,
    moment_of,
    open_moments,
    open_policy,
    open_reference,
    write_policy,
)
from reasonrl.train.whole_weights import is_divided, set_weight, shape_of, whole_weights
from reasonrl.train.zero_models import ReferenceModel, TrainedModel
from reasonrl.train.zero_state import MASTER_FIELD, MOMENT_FIELDS, STEP_FIELD

_Named = Iterator[tuple[str, str, Tensor]]
"""`(parameter, name of the tensor in the file, tensor)`."""


def write_ranks_files(
    directory: Path, *, place: RankPlace, trained: TrainedModel, reference: ReferenceModel | None, dtype: torch.dtype
) -> None:
    """Raises TrainerError when a rank could not write its part, or when the ranks do not share the directory."""
    owner = owners({name: shape_of(each).numel() for name, each in trained.model.named_parameters()}, ranks=place.world_size)
    problem = _tried(lambda: directory.mkdir(parents=True, exist_ok=True))
    kinds = _kinds(trained, reference, dtype=dtype)
    for kind, tensors in kinds.items():
        # One kind at a time in host memory, and of it this rank's part alone.
        mine = {key: tensor.to("cpu", copy=True).contiguous() for name, key, tensor in tensors if owner[name] == place.rank}
        problem = problem or _tried(_writer(directory, kind, mine, place))
    state = _policy_state(trained, keep=place.rank == 0)
    if place.rank == 0 and problem is None:
        problem = _tried(lambda: write_policy(directory / POLICY_DIRECTORY, model=trained.model, dtype=dtype, state=state))
    settle(problem)
    settle(_unseen_parts(directory, list(kinds), place))


def read_ranks_files(directory: Path, *, trained: TrainedModel, reference: ReferenceModel | None) -> None:
    """Raises TrainerError when the checkpoint is of another model, lacks the reference that this run needs, or is not whole."""
    problem, found = None, None
    try:
        found = _open(directory, trained, reference)
    except (TrainerError, OSError, SafetensorError) as error:
        problem = str(error)
    settle(problem)
    assert found is not None
    for name, parameter in trained.model.named_parameters():
        whole = found.policy.read(name)
        set_weight(parameter, whole)
        if trained.stage > 0:
            trained.state.write(parameter, MASTER_FIELD, whole)
    _set_moments(trained, found)
    if reference is not None and found.reference is not None:
        for name, parameter in reference.model.named_parameters():
            set_weight(parameter, found.reference.read(name))


@dataclass(frozen=True, slots=True)
class _Found:
    policy: TensorFiles
    moments: TensorFiles
    steps: float
    reference: TensorFiles | None


def _open(directory: Path, trained: TrainedModel, reference: ReferenceModel | None) -> _Found:
    """Everything that can be wrong with the files is found here, before any weight is set."""
    shapes = {name: shape_of(parameter) for name, parameter in trained.model.named_parameters()}
    policy = open_policy(directory)
    policy.check_parameters(shapes)
    moments = open_moments(directory, names=set(shapes))
    steps = {float(moments.read(key)) for key in moments.places if moment_of(key)[1] == STEP_FIELD}
    if len(steps) > 1:
        raise TrainerError(
            f"{directory}: parameters made different numbers of optimizer steps ({sorted(steps)}); the torch engine can go on"
        )
    held = None
    if reference is not None:
        held = open_reference(directory)
        held.check_parameters(shapes)
    return _Found(policy, moments, steps.pop() if steps else 0.0, held)


def _set_moments(trained: TrainedModel, found: _Found) -> None:
    state = trained.state
    state.forget()
    parameters = dict(trained.model.named_parameters())
    for key in found.moments.places:
        name, field = moment_of(key)
        if field in MOMENT_FIELDS:
            state.write(parameters[name], field, found.moments.read(key))
    state.set_steps(found.steps)


def _kinds(trained: TrainedModel, reference: ReferenceModel | None, *, dtype: torch.dtype) -> dict[str, _Named]:
    kinds = {OPTIMIZER: _moments(trained)}
    if dtype != torch.float32:
        kinds[MASTER] = _masters(trained)
    if reference is not None:
        kinds[REFERENCE] = ((name, name, tensor) for name, tensor in whole_weights(reference.model))
    return kinds


def _moments(trained: TrainedModel) -> _Named:
    steps = trained.state.steps()
    # Before the first step there is no state, and none is written, as with the built-in trainer.
    if steps == 0.0:
        return
    for name, parameter in trained.model.named_parameters():
        for field in MOMENT_FIELDS:
            yield name, moment_key(name, field), trained.state.read(parameter, field)
        yield name, moment_key(name, STEP_FIELD), torch.tensor(steps, dtype=torch.float32)


def _masters(trained: TrainedModel) -> _Named:
    for name, parameter in trained.model.named_parameters():
        yield name, name, trained.state.read(parameter, MASTER_FIELD)


def _policy_state(trained: TrainedModel, *, keep: bool) -> dict[str, Tensor] | None:
    """What `model.state_dict()` would be if the model were whole: None where it is, and on ranks that do not `keep` it."""
    if not is_divided(trained.model):
        return None
    whole = {name: tensor.cpu() for name, tensor in whole_weights(trained.model) if keep}
    if not keep:
        return None
    by_parameter = {id(parameter): whole[name] for name, parameter in trained.model.named_parameters()}
    # Tied names lead to one parameter, and so to one tensor.
    return {name: by_parameter.get(id(tensor), tensor) for name, tensor in trained.model.state_dict(keep_vars=True).items()}


def _writer(directory: Path, kind: str, tensors: dict[str, Tensor], place: RankPlace) -> Callable[[], None]:
    return lambda: write_part(directory, kind, tensors, part=place.rank, parts=place.world_size)


def _tried(action: Callable[[], object]) -> str | None:
    try:
        action()
    except (OSError, SafetensorError) as error:
        return f"the checkpoint could not be written: {error}"
    return None


def _unseen_parts(directory: Path, kinds: list[str], place: RankPlace) -> str | None:
    paths = [part_file(directory, kind, part=part, parts=place.world_size) for kind in kinds for part in range(place.world_size)]
    unseen = [path.name for path in paths if not path.exists()]
    if not unseen:
        return None
    return (
        f"{directory} lacks {', '.join(unseen)}, which other ranks wrote: the checkpoint directory must be one volume that all pods share"
    )
