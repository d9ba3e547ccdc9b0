"""What a job will take before it takes anything: pods, GPUs, memory with its arithmetic, batch, phases, checkpoints.

The command line prints it, and a cluster will admit by it. A job that cannot fit or divide is refused here, with the numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from reasonrl.api.job import JobSpec, ReasoningRLJob
from reasonrl.api.memory import RESERVE, MemoryEstimate, checkpoint_bytes, holds_reference, ranks, trainer_estimates
from reasonrl.api.model_shape import ModelShape, UnknownShape
from reasonrl.api.phase_forecast import PhaseForecast, forecast_phases
from reasonrl.api.problems import JobError, Problem
from reasonrl.api.quantity import readable_bytes
from reasonrl.api.rollout_memory import cache_problem, rollout_estimate
from reasonrl.api.stopping_time import WRITTEN_A_SECOND, grace_seconds, parameters_by_name, stopping_seconds


@dataclass(frozen=True, slots=True)
class PodPlan:
    """`host` is the name by which the job's other pods reach it."""

    name: str
    role: str
    gpus: int
    host: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointPlan:
    """`size` of one, `kept` of all that stay with one being written; bytes."""

    size: int
    kept: int
    arithmetic: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourcePlan:
    """`gpus` is the most that the job holds at a time. When the model's shape is not known, `memory` is empty, `memory_unknown` says
    why, and `checkpoint` is None."""

    job: str
    parameters: int | None
    pods: tuple[PodPlan, ...]
    gpus: int
    memory: tuple[MemoryEstimate, ...]
    memory_unknown: str | None
    checkpoint: CheckpointPlan | None
    on_policy: bool
    policy_reason: str
    phases: tuple[PhaseForecast, ...]
    notes: tuple[str, ...]


def plan_resources(job: ReasoningRLJob, *, model_shape: ModelShape | UnknownShape) -> ResourcePlan:
    """The plan of a valid job. Raises JobError when the model is known and something cannot fit or divide."""
    phases = forecast_phases(job)
    known = model_shape if isinstance(model_shape, ModelShape) else None
    problems = list(_indivisible(job.spec, phases, known))
    memory: tuple[MemoryEstimate, ...] = ()
    checkpoint = None
    if known is not None and not problems:
        memory = tuple(_estimates(job.spec, known, phases))
        checkpoint = _checkpoint(job.spec, known)
        problems = [*_too_large(memory), *_caches_too_small(job.spec, known, phases), *_checkpoint_too_large(job.spec, checkpoint)]
    if problems:
        raise JobError(problems)
    on_policy, reason = _policy(job.spec)
    pods = tuple(_pods(job, phases))
    return ResourcePlan(
        job=job.metadata.name,
        parameters=known.parameters if known else None,
        pods=pods,
        gpus=sum(pod.gpus for pod in pods if pod.role == "trainer")
        + (max(each.rollout_replicas * each.rollout_gpus for each in phases) if job.spec.rollout.placement == "Disaggregated" else 0),
        memory=memory,
        memory_unknown=model_shape.reason if isinstance(model_shape, UnknownShape) else None,
        checkpoint=checkpoint,
        on_policy=on_policy,
        policy_reason=reason,
        phases=phases,
        notes=(*_notes(job.spec, phases, memory), *_checkpoint_notes(job.spec, checkpoint)),
    )


def _pods(job: ReasoningRLJob, phases: tuple[PhaseForecast, ...]) -> Iterator[PodPlan]:
    name, spec = job.metadata.name, job.spec

    def pod(role: str, index: int, gpus: int) -> PodPlan:
        own = f"{name}-{role}-{index}"
        return PodPlan(own, role, gpus, f"{own}.{name}.{job.metadata.namespace}.svc")

    for index in range(spec.trainer.replicas):
        yield pod("trainer", index, spec.trainer.gpus_per_replica)
    if spec.rollout.placement == "Disaggregated":
        # Phases reshape them; the first phase's shape is what the job begins with.
        for index in range(phases[0].rollout_replicas):
            yield pod("rollout", index, phases[0].rollout_gpus)


def _policy(spec: JobSpec) -> tuple[bool, str]:
    algorithm = spec.algorithm
    updates = algorithm.updates_per_step * algorithm.epochs
    staleness = spec.rollout.max_staleness
    if staleness:
        return False, f"responses may be of weights up to {staleness} step{'s' if staleness > 1 else ''} old (rollout.maxStaleness)"
    if updates == 1:
        return True, "a step makes one update, with responses of the current policy (updatesPerStep and epochs are 1)"
    return False, (
        f"a step makes updatesPerStep {algorithm.updates_per_step} × epochs {algorithm.epochs} = {updates} updates with the responses of "
        f"one "
        "policy; only the first of them is on-policy"
    )


def _estimates(spec: JobSpec, shape: ModelShape, phases: tuple[PhaseForecast, ...]) -> Iterator[MemoryEstimate]:
    trainer, *host = trainer_estimates(spec, shape)
    responses = max(each.responses_per_step for each in phases)
    engines = [rollout_estimate(spec, shape, gpus=gpus, responses=responses) for gpus in sorted({each.rollout_gpus for each in phases})]
    if spec.rollout.placement == "Colocated" and trainer.limit is not None:
        for engine in engines:
            yield _shared(trainer, engine)
        yield from host
    else:
        yield from (trainer, *host, *engines)


def _shared(trainer: MemoryEstimate, engine: MemoryEstimate) -> MemoryEstimate:
    """A GPU that trainer and engine share. Neither moves out while the other works, so their memory adds."""
    reserved = {item.name: item for item in (*trainer.items, *engine.items) if item.name == RESERVE}
    of_trainer = [item for item in trainer.items if item.name != RESERVE]
    of_engine = [replace(item, name=f"engine's {item.name}") for item in engine.items if item.name != RESERVE]
    return replace(trainer, where="each GPU, shared by a trainer and a rollout engine", items=(*of_trainer, *of_engine, *reserved.values()))


def _caches_too_small(spec: JobSpec, shape: ModelShape, phases: tuple[PhaseForecast, ...]) -> Iterator[Problem]:
    for gpus in sorted({each.rollout_gpus for each in phases}):
        problem = cache_problem(spec, shape, gpus=gpus)
        if problem is not None:
            yield problem


def _too_large(memory: tuple[MemoryEstimate, ...]) -> Iterator[Problem]:
    for estimate in memory:
        if estimate.fits or estimate.limit is None:
            continue
        largest_first = sorted(estimate.items, key=lambda item: -item.bytes)
        sums = "; ".join(f"{item.name} {readable_bytes(item.bytes)} = {item.arithmetic}" for item in largest_first)
        trains = "trainer" in estimate.where
        fixes = (
            ["gradientCheckpointing", "more GPUs with a higher zeroStage", "offload"] if trains else ["fewer maxSequences", "engine: vllm"]
        )
        fix = f"use {' or '.join(['a lower memoryUtilization', *fixes] if 'shared' in estimate.where else fixes)}"
        needs = f"{estimate.where} needs {readable_bytes(estimate.total)} of {readable_bytes(estimate.limit)} (trainer.gpuMemory)"
        yield Problem("spec.trainer" if trains else "spec.rollout", None, f"{needs}: {sums}. To fit, {fix}")


def _checkpoint(spec: JobSpec, shape: ModelShape) -> CheckpointPlan:
    size, arithmetic = checkpoint_bytes(spec, shape)
    best = spec.checkpoint.keep_best
    return CheckpointPlan(size=size, kept=size * (spec.checkpoint.keep_last + (best.count if best else 0) + 1), arithmetic=arithmetic)


def _checkpoint_too_large(spec: JobSpec, plan: CheckpointPlan) -> Iterator[Problem]:
    room = spec.checkpoint.max_bytes
    if room is not None and plan.size > room:
        yield Problem(
            "spec.checkpoint.maxBytes",
            room,
            f"one checkpoint has {readable_bytes(plan.size)} ({plan.arithmetic}), and this is {readable_bytes(room)}; raise it",
        )


def _indivisible(spec: JobSpec, phases: tuple[PhaseForecast, ...], shape: ModelShape | None) -> Iterator[Problem]:
    size = ranks(spec)
    for index, phase in enumerate(phases):
        responses = phase.responses_per_step // spec.algorithm.updates_per_step
        if responses < size:
            yield Problem(
                f"spec.phases[{index}].promptsPerStep" if spec.phases[index].prompts_per_step else "spec.algorithm.promptsPerStep",
                phase.prompts_per_step,
                f"an update of phase {phase.name} has {phase.prompts_per_step} prompts × {spec.algorithm.rollouts_per_prompt} rollouts / "
                f"{spec.algorithm.updates_per_step} updates = {responses} responses for {size} trainer ranks; raise it, or use fewer "
                f"trainer GPUs",
            )
        if shape is not None and phase.rollout_gpus > 1 and shape.heads % phase.rollout_gpus:
            own = spec.phases[index].rollout
            yield Problem(
                f"spec.phases[{index}].rollout.gpusPerReplica" if own and own.gpus_per_replica else "spec.rollout.gpusPerReplica",
                phase.rollout_gpus,
                f"must divide the model's {shape.heads} attention heads: each GPU of an engine takes as many",
            )


def _checkpoint_notes(spec: JobSpec, plan: CheckpointPlan | None) -> Iterator[str]:
    volume = spec.checkpoint.volume
    if spec.trainer.replicas > 1 and volume is not None:
        yield f"All {spec.trainer.replicas} trainer pods mount the volume {volume.claim_name} at once: its claim must be ReadWriteMany."
    if plan is None:
        return
    grace = spec.pods.trainer.termination_grace_period_seconds
    if grace is None:
        grace = grace_seconds(parameters_by_name(spec.model.path or ""), spec.model.dtype, reference=holds_reference(spec))
    needed = stopping_seconds(plan.size)
    if needed > grace:
        yield (
            f"Stopping takes about {needed} s, for a checkpoint of {readable_bytes(plan.size)} at an assumed "
            f"{readable_bytes(WRITTEN_A_SECOND)} a second, and trainers are killed {grace} s after they are told to: raise "
            "spec.pods.trainer.terminationGracePeriodSeconds, or steps since the last checkpoint are lost."
        )


def _notes(spec: JobSpec, phases: tuple[PhaseForecast, ...], memory: tuple[MemoryEstimate, ...]) -> Iterator[str]:
    if spec.rollout.placement == "Colocated":
        yield "Colocated: rollout engines are in the trainer pods, and take turns with the trainers."
    if not all(each.exact for each in phases):
        yield "Steps and schedule values marked ≤ are the latest possible: an earlier phase may end before its bound."
    if spec.algorithm.kl is not None and spec.algorithm.kl.schedule.type == "adaptive":
        yield "The KL coefficient is adaptive: the values shown are its start."
    if memory and all(estimate.limit is None for estimate in memory):
        total = sum(estimate.total for estimate in memory)
        yield f"On one machine the trainer and its engine are one process: {readable_bytes(total)} in all, besides the program itself."
    if spec.algorithm.entropy.target is not None:
        yield "The entropy coefficient is adaptive: the values shown are its start."
    if spec.rollout.min_replicas < phases[0].rollout_replicas and spec.rollout.placement == "Disaggregated":
        yield f"Training goes on while at least {spec.rollout.min_replicas} of {phases[0].rollout_replicas} rollout pods are alive."
