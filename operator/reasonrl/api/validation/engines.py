"""Rules of spec.rollout and spec.trainer."""

from __future__ import annotations

from collections.abc import Iterator

from reasonrl.api.job import JobSpec
from reasonrl.api.problems import Problem
from reasonrl.api.rollout_spec import RolloutSpec
from reasonrl.api.trainer_spec import TrainerSpec

DEFAULT_ROLLOUT = RolloutSpec()
DEFAULT_TRAINER = TrainerSpec()


def rollout_problems(spec: JobSpec) -> Iterator[Problem]:
    rollout = spec.rollout
    yield from _rollout_shape(spec)
    if rollout.placement == "Colocated" and rollout.max_staleness:
        yield Problem(
            "spec.rollout.maxStaleness",
            rollout.max_staleness,
            "sampling and training take turns with placement: Colocated, so nothing can be sampled ahead; use 0, or Disaggregated",
        )
    if rollout.engine == "torch" and rollout.memory_utilization != DEFAULT_ROLLOUT.memory_utilization:
        yield Problem("spec.rollout.memoryUtilization", rollout.memory_utilization, "is read by engine: vllm alone; remove it")
    if rollout.engine == "torch" and rollout.key_value_cache is not None:
        yield Problem("spec.rollout.keyValueCache", rollout.key_value_cache, "is read by engine: vllm alone; remove it")
    if rollout.engine == "vllm" and rollout.key_value_cache is not None and rollout.gpus_per_replica:
        yield Problem("spec.rollout.keyValueCache", rollout.key_value_cache, "is for a CPU; on a GPU use memoryUtilization")


def _rollout_shape(spec: JobSpec) -> Iterator[Problem]:
    rollout, trainer = spec.rollout, spec.trainer
    if rollout.min_replicas > rollout.replicas:
        yield Problem(
            "spec.rollout.minReplicas",
            rollout.min_replicas,
            f"must be at most replicas ({rollout.replicas}), or training could never begin",
        )
    shapes = [("spec.rollout", rollout.replicas, rollout.gpus_per_replica)]
    for index, phase in enumerate(spec.phases):
        if phase.rollout is None:
            continue
        path = f"spec.phases[{index}].rollout"
        replicas = rollout.replicas if phase.rollout.replicas is None else phase.rollout.replicas
        gpus = rollout.gpus_per_replica if phase.rollout.gpus_per_replica is None else phase.rollout.gpus_per_replica
        shapes.append((path, replicas, gpus))
        if phase.rollout.replicas is not None and phase.rollout.replicas < rollout.min_replicas:
            yield Problem(f"{path}.replicas", phase.rollout.replicas, f"is less than spec.rollout.minReplicas ({rollout.min_replicas})")
    trainer_gpus = trainer.replicas * trainer.gpus_per_replica
    for path, replicas, gpus in shapes:
        if rollout.engine == "torch" and gpus > 1:
            yield Problem(
                f"{path}.gpusPerReplica", gpus, "the torch engine uses one GPU; use engine: vllm, or more replicas of one GPU each"
            )
        if rollout.placement == "Colocated" and replicas * gpus > trainer_gpus:
            yield Problem(
                f"{path}.gpusPerReplica",
                gpus,
                f"{replicas} replicas × {gpus} = {replicas * gpus} GPUs share those of the trainers, which have {trainer.replicas} × "
                f"{trainer.gpus_per_replica} = {trainer_gpus}; use fewer, or placement: Disaggregated",
            )


def trainer_problems(spec: JobSpec) -> Iterator[Problem]:
    trainer = spec.trainer
    if trainer.engine == "torch":
        yield from _one_process(trainer)
    if trainer.engine == "deepspeed" and trainer.offload == "optimizer" and trainer.zero_stage < 1:
        yield Problem("spec.trainer.offload", "optimizer", "needs zeroStage 1 or more")
    if trainer.engine == "deepspeed" and trainer.offload == "parameters" and trainer.zero_stage < 3:
        yield Problem("spec.trainer.offload", "parameters", "needs zeroStage 3: only then are weights divided")
    if trainer.gpus_per_replica == 0 and trainer.gpu_memory != DEFAULT_TRAINER.gpu_memory and not spec.rollout.gpus_per_replica:
        yield Problem("spec.trainer.gpuMemory", trainer.gpu_memory, "this job asks for no GPU; give gpusPerReplica, or remove it")


def _one_process(trainer: TrainerSpec) -> Iterator[Problem]:
    one = "the torch engine is one process on one GPU or CPU"
    if trainer.zero_stage > 0:
        yield Problem(
            "spec.trainer.zeroStage", trainer.zero_stage, f"{one}, with nothing to divide; use engine: deepspeed, or zeroStage: 0"
        )
    if trainer.offload != "none":
        yield Problem("spec.trainer.offload", trainer.offload, f"{one}, which offloads nothing; use engine: deepspeed, or offload: none")
    if trainer.replicas > 1:
        yield Problem("spec.trainer.replicas", trainer.replicas, f"{one}; use engine: deepspeed, or replicas: 1")
    if trainer.gpus_per_replica > 1:
        yield Problem("spec.trainer.gpusPerReplica", trainer.gpus_per_replica, f"{one}; use engine: deepspeed, or gpusPerReplica: 1")
