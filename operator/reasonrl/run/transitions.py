"""What may change between two steps: the phase, the adaptive coefficients, the reference model. Each change is an event."""

from __future__ import annotations

import time
from pathlib import Path

from reasonrl.api import names
from reasonrl.api.job import ReasoningRLJob
from reasonrl.api.phase_trigger import phase_end_reason, signals_of
from reasonrl.api.run_files import Event, StepMetrics
from reasonrl.api.schedules import next_adaptive_entropy, next_adaptive_kl
from reasonrl.api.setting import StepSetting
from reasonrl.run.control import may_enter
from reasonrl.run.learning_batch import LearningBatch
from reasonrl.run.progress import Progress
from reasonrl.run.telemetry.telemetry import Telemetry
from reasonrl.train.protocol import Trainer, UpdateStats


def record_event(telemetry: Telemetry, step: int, reason: str, message: str) -> None:
    telemetry.event(Event(time=time.time(), step=step, reason=reason, message=message))


def advance_phase(
    job: ReasoningRLJob,
    progress: Progress,
    metrics: StepMetrics,
    directory: Path,
    telemetry: Telemetry,
    *,
    control: Path | None = None,
) -> None:
    """Enters the next phase, or finishes the run, when a trigger of the current one fires.

    A phase with `advance: Manual` is entered on a person's word only; the phase before goes on training until then. `control` is the
    operator's file of requests, on a cluster.
    """
    until = job.spec.phases[progress.phase_index].until
    progress.phase_signals.append(signals_of(metrics, until))
    reason = phase_end_reason(progress.phase_signals, until)
    if reason is None and not progress.awaiting_advance:
        return
    if progress.phase_index + 1 == len(job.spec.phases):
        progress.finished = True
        record_event(telemetry, progress.step, "Completed", f"the last phase ended: {reason}")
        return
    following = job.spec.phases[progress.phase_index + 1]
    if following.advance == "Manual" and not may_enter(following.name, run_directory=directory, control=control):
        if not progress.awaiting_advance:
            progress.awaiting_advance = True
            word = f"reasonrl advance {directory}" if control is None else _annotation(job, following.name)
            record_event(
                telemetry, progress.step, "AwaitingAdvance", f"phase {following.name} is due ({reason}) and waits for a person: {word}"
            )
        return
    progress.phase_index += 1
    progress.phase_step = 0
    progress.phase_signals = []
    progress.awaiting_advance = False
    why = reason or "a person let it begin"
    record_event(telemetry, progress.step, "PhaseEntered", f"{following.name}, {following.max_response_tokens} tokens: {why}")


def _annotation(job: ReasoningRLJob, phase: str) -> str:
    return f"kubectl annotate --overwrite rrlj {job.metadata.name} {names.ANNOTATION_ADVANCE}={phase}"


def next_adaptive_coefficients(
    job: ReasoningRLJob, progress: Progress, *, setting: StepSetting, batch: LearningBatch, stats: UpdateStats
) -> None:
    """Adaptive KL and entropy coefficients are state: the next step's value follows from what this step showed."""
    algorithm = job.spec.algorithm
    if algorithm.kl is not None and algorithm.kl.schedule.type == "adaptive" and batch.kl is not None:
        progress.adaptive_kl = next_adaptive_kl(
            setting.kl_coefficient,
            observed=batch.kl["k1"],
            schedule=algorithm.kl.schedule,
            samples=setting.prompts_per_step * algorithm.rollouts_per_prompt,
        )
    if algorithm.entropy.target is not None and stats.tokens > 0:
        progress.adaptive_entropy = next_adaptive_entropy(setting.entropy_coefficient, observed=stats.entropy, entropy=algorithm.entropy)


def reset_reference_if_due(job: ReasoningRLJob, progress: Progress, trainer: Trainer, telemetry: Telemetry) -> None:
    reference = job.spec.model.reference
    if reference.reset_every_steps == 0 or progress.step % reference.reset_every_steps != 0:
        return
    trainer.reset_reference(reset_optimizer=reference.reset_optimizer)
    progress.reference_resets += 1
    message = f"reset {progress.reference_resets}: the reference is now the policy of this step"
    record_event(telemetry, progress.step, "ReferenceReset", message)
