"""What a job may do and rarely means: shown by validate and plan, never refused."""

from __future__ import annotations

from collections.abc import Iterator

from reasonrl.api.job import JobSpec, ReasoningRLJob
from reasonrl.api.problems import Problem
from reasonrl.api.schedule_spec import CosineSchedule, LinearSchedule

HOT = 1.5
WIDEST_SEQUENCE_CLIP = 0.05


def job_warnings(job: ReasoningRLJob) -> list[Problem]:
    return [*_volume(job.spec), *_loss(job.spec), *_kl(job.spec), *_schedules(job.spec), *_temperature(job.spec), *_best(job.spec)]


def _volume(spec: JobSpec) -> Iterator[Problem]:
    if spec.trainer.replicas > 1 and spec.checkpoint.volume is None:
        yield Problem(
            "spec.checkpoint.volume",
            None,
            f"each of {spec.trainer.replicas} trainer pods keeps its part of a checkpoint, and loses it at its end: a restart begins anew. "
            "Name a PersistentVolumeClaim that all of them can mount (ReadWriteMany)",
        )


def _loss(spec: JobSpec) -> Iterator[Problem]:
    loss = spec.algorithm.loss
    if loss.type == "gspo" and max(loss.clip_low, loss.clip_high) > WIDEST_SEQUENCE_CLIP:
        yield Problem(
            "spec.algorithm.loss.clipHigh",
            loss.clip_high,
            "gspo clips the ratio of whole responses, which moves far less than that of a token: its paper uses clipLow 0.0003 and "
            "clipHigh 0.0004",
        )
    if loss.type == "gspo" and loss.aggregation != "sequenceMean":
        yield Problem("spec.algorithm.loss.aggregation", loss.aggregation, "gspo is defined with sequenceMean")


def _kl(spec: JobSpec) -> Iterator[Problem]:
    kl = spec.algorithm.kl
    if kl is None:
        return
    if kl.placement == "loss" and kl.estimator == "k1":
        yield Problem(
            "spec.algorithm.kl.estimator", "k1", "in the loss its gradient is zero on average, so it holds nothing back; use k2, k3 or k3+"
        )
    if kl.placement == "reward" and kl.estimator != "k1":
        yield Problem("spec.algorithm.kl.estimator", kl.estimator, "in the reward only k1 is an unbiased KL; use k1")


def _schedules(spec: JobSpec) -> Iterator[Problem]:
    total = sum(phase.until.steps or phase.until.max_steps or 0 for phase in spec.phases)
    kl = spec.algorithm.kl
    if (
        kl is not None
        and isinstance(kl.schedule, LinearSchedule | CosineSchedule)
        and kl.schedule.clock != "phase"
        and kl.schedule.steps > total
    ):
        yield Problem(
            "spec.algorithm.kl.schedule.steps",
            kl.schedule.steps,
            f"the run has {total} steps at most, so the coefficient never reaches its end",
        )
    optimizer = spec.algorithm.optimizer
    if optimizer.warmup_steps >= total:
        yield Problem(
            "spec.algorithm.optimizer.warmupSteps",
            optimizer.warmup_steps,
            f"the run has {total} steps at most, so the learning rate never leaves the warm-up",
        )


def _temperature(spec: JobSpec) -> Iterator[Problem]:
    hot = [("spec.rollout.temperature", spec.rollout.temperature)]
    hot += [(f"spec.phases[{index}].temperature", phase.temperature or 0.0) for index, phase in enumerate(spec.phases)]
    for field, temperature in hot:
        if temperature > HOT:
            yield Problem(
                field,
                temperature,
                "so hot, models write gibberish; the report recommends 1.2 at most, and less where text degrades (§3.1.1)",
            )


def _best(spec: JobSpec) -> Iterator[Problem]:
    checkpoint, evaluation = spec.checkpoint, spec.evaluation
    named = {benchmark.name for benchmark in evaluation.benchmarks}
    if checkpoint.keep_best is None or checkpoint.keep_best.metric not in named:
        return
    apart = evaluation.every_steps == 0 or checkpoint.every_steps % evaluation.every_steps != 0
    if checkpoint.every_steps and apart:
        yield Problem(
            "spec.checkpoint.everySteps",
            checkpoint.every_steps,
            f"only checkpoints of evaluated steps can be the best, and evaluation is every {evaluation.every_steps} steps; use a multiple "
            f"of that",
        )
