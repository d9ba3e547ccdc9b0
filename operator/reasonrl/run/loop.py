"""The algorithm: sample, grade, learn, load, again.

Between steps the run is whole: weights, progress and telemetry agree, and a checkpoint can be taken. Within a step everything before
the optimizer update may be dropped and done again with the same result, because every random choice is a function of the seed and
the step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from reasonrl.api.job import ReasoningRLJob
from reasonrl.api.run_files import EvaluationMetrics, StepMetrics
from reasonrl.api.setting import StepSetting, setting_at
from reasonrl.rl.records import GradedGroup, Group
from reasonrl.run.checkpoint_keeper import CheckpointKeeper
from reasonrl.run.evaluation import Benchmark, evaluate
from reasonrl.run.grading import Grader
from reasonrl.run.health_watch import HealthWatch
from reasonrl.run.job_in_effect import JobInEffect
from reasonrl.run.learning_batch import NO_UPDATE, BatchRules, LearningBatch, learning_batch
from reasonrl.run.live_job import LiveJob
from reasonrl.run.not_finite import tell_not_finite
from reasonrl.run.progress import Progress
from reasonrl.run.refilled_step import refilled
from reasonrl.run.reward_failure import check_rewards
from reasonrl.run.rollout_source import Refill, RolloutSource, SampledStep
from reasonrl.run.seeds import seed_global_generators
from reasonrl.run.step_metrics import StepResult, step_metrics
from reasonrl.run.stop_request import StopRequest
from reasonrl.run.stopwatch import Stopwatch
from reasonrl.run.telemetry.rollouts_file import rollout_lines
from reasonrl.run.telemetry.telemetry import Telemetry
from reasonrl.run.transitions import advance_phase, next_adaptive_coefficients, record_event, reset_reference_if_due
from reasonrl.train.protocol import LossNotFiniteError, Trainer, UpdateSetting, UpdateStats


@dataclass(slots=True, kw_only=True)
class Run:
    """All parts of one run. `live_job` and `control` are how an operator speaks to it, and None without one; `operator_seconds` is how long
    it may take to act on what the run says of its health."""

    in_effect: JobInEffect
    directory: Path
    rollouts: RolloutSource
    grader: Grader
    trainer: Trainer
    batch_rules: BatchRules
    benchmarks: Sequence[Benchmark]
    telemetry: Telemetry
    checkpoints: CheckpointKeeper
    stop: StopRequest
    stopwatch: Stopwatch
    health: HealthWatch
    progress: Progress
    live_job: LiveJob | None = None
    control: Path | None = None
    operator_seconds: float = 0.0

    @property
    def job(self) -> ReasoningRLJob:
        return self.in_effect.job


def train(run: Run) -> None:
    """Runs until the last phase ends. Raises StopRequestedError, with the run whole, when a signal asks it to stop."""
    run.telemetry.health(run.health.signals())
    while True:
        run.telemetry.at(run.progress)
        if run.live_job is not None:
            run.live_job.look(step=run.progress.step, current_phase=run.progress.phase_index)
            run.telemetry.job_changed(run.job, config_hash=run.live_job.config_hash)
        evaluate_if_due(run)
        with run.stopwatch.stage("checkpoint"):
            run.checkpoints.save_if_due(run.progress)
        if run.progress.finished:
            return
        train_one_step(run)


def train_one_step(run: Run) -> None:
    progress = run.progress
    setting = current_setting(run)
    seed_global_generators(run.job.spec.seed, progress.step)
    with run.stop.droppable():
        with run.stopwatch.stage("rollout"):
            sampled = run.rollouts.take(progress, setting)
        step = refilled(
            sampled,
            run.batch_rules.selection,
            step=progress.step,
            grade=lambda groups: grade(run, groups, setting),
            sample=lambda refill: sample_again(run, refill, setting),
        )
        with run.stopwatch.stage("reference"):
            batch = make_batch(run, step.batch, setting)
    with run.stopwatch.stage("update"):
        stats = update(run, batch, setting)
    with run.stopwatch.stage("weight_sync"):
        run.rollouts.load(run.trainer.weights(), version=progress.step + 1)

    result = StepResult(
        step=progress.step,
        setting=setting,
        graded=[*step.batch, *step.replaced],
        batch=batch,
        stats=stats,
        seconds=run.stopwatch.lap(),
        reference_resets=progress.reference_resets,
        refills=step.refills,
        replaced_questions=len(step.replaced),
    )
    progress.step += 1
    progress.phase_step += 1
    progress.cursor = step.cursor
    metrics = tell(run, result)
    if metrics.reward_mean is not None:
        progress.scores[progress.step] = {"reward": metrics.reward_mean}
    next_adaptive_coefficients(run.job, progress, setting=setting, batch=batch, stats=stats)
    reset_reference_if_due(run.job, progress, run.trainer, run.telemetry)
    advance_phase(run.job, progress, metrics, run.directory, run.telemetry, control=run.control)


def grade(run: Run, groups: Sequence[Group], setting: StepSetting) -> list[GradedGroup]:
    with run.stopwatch.stage("grade"):
        graded = run.grader.grade(groups, max_response_tokens=setting.max_response_tokens)
        check_rewards(graded)
        return graded


def sample_again(run: Run, refill: Refill, setting: StepSetting) -> SampledStep:
    with run.stopwatch.stage("rollout"):
        return run.rollouts.refill(refill, setting)


def update(run: Run, batch: LearningBatch, setting: StepSetting) -> UpdateStats:
    """Does nothing where nothing is left to learn from. Raises LossNotFiniteError, after the operator had time to act on it where the job's
    failure policy says that it should."""
    if not batch.updates:
        return NO_UPDATE
    try:
        return run.trainer.update(batch.updates, setting=update_setting(setting))
    except LossNotFiniteError as error:
        tell_not_finite(
            str(error),
            step=run.progress.step,
            health=run.health,
            policy=run.job.spec.failure_policy,
            telemetry=run.telemetry,
            stop=run.stop,
            operator_seconds=run.operator_seconds,
        )
        raise


def tell(run: Run, result: StepResult) -> StepMetrics:
    """Hands the step's record, some of its answers and any change of its health to telemetry."""
    spec = run.job.spec.telemetry
    metrics = step_metrics(result)
    if spec.rollouts_every_steps > 0 and result.step % spec.rollouts_every_steps == 0:
        run.telemetry.rollouts(result.step, rollout_lines(result.graded, step=result.step, limit=spec.rollouts_per_step))
    run.telemetry.step(metrics)
    run.telemetry.response_ages(result.step - response.weight_version for group in result.graded for response in group.group.responses)
    for change in run.health.observe(metrics):
        record_event(run.telemetry, change.step, change.reason, change.message)
    run.telemetry.health(run.health.signals())
    return metrics


def current_setting(run: Run) -> StepSetting:
    return setting_after(run.job, run.progress, 0)


def setting_after(job: ReasoningRLJob, progress: Progress, ahead: int) -> StepSetting:
    """The setting of the step that many after `progress`, if the phase and the adaptive coefficients stay what they are."""
    return setting_at(
        job,
        phase_index=progress.phase_index,
        phase_step=progress.phase_step + ahead,
        global_step=progress.step + ahead,
        adaptive_kl=progress.adaptive_kl,
        adaptive_entropy=progress.adaptive_entropy,
    )


def make_batch(run: Run, graded: Sequence[GradedGroup], setting: StepSetting) -> LearningBatch:
    kl = run.batch_rules.kl
    return learning_batch(
        graded,
        run.batch_rules,
        kl_coefficient=setting.kl_coefficient,
        reference=None if kl is None else lambda rows: run.trainer.reference_logprobs(rows, temperature=setting.temperature),
    )


def update_setting(setting: StepSetting) -> UpdateSetting:
    return UpdateSetting(
        learning_rate=setting.learning_rate,
        temperature=setting.temperature,
        kl_coefficient=setting.kl_coefficient,
        entropy_coefficient=setting.entropy_coefficient,
        clip_low=setting.clip_low,
        clip_high=setting.clip_high,
        constant_length=setting.max_response_tokens,
    )


def evaluate_if_due(run: Run) -> None:
    """Evaluates the current weights once: before training, every so many steps, and at the end."""
    spec, progress = run.job.spec.evaluation, run.progress
    regular = spec.every_steps > 0 and progress.step > 0 and progress.step % spec.every_steps == 0
    due = regular or progress.finished or (progress.step == 0 and spec.at_start)
    if not due or progress.evaluated_step == progress.step:
        return
    phase = run.job.spec.phases[progress.phase_index]
    found: list[tuple[EvaluationMetrics, list[GradedGroup]]] = []
    with run.stop.droppable(), run.stopwatch.stage("evaluation"), run.rollouts.engine() as engine:
        for benchmark in run.benchmarks:
            metrics, graded = evaluate(
                benchmark,
                engine,
                lambda groups, limit: run.grader.grade(groups, max_response_tokens=limit),
                step=progress.step,
                phase_name=phase.name,
                phase_limit=phase.max_response_tokens,
                seed=run.job.spec.seed,
            )
            found.append((metrics, graded))
            run.telemetry.touch()
    for metrics, graded in found:
        answers = rollout_lines(graded, step=progress.step, limit=run.job.spec.telemetry.rollouts_per_step, benchmark=metrics.benchmark)
        run.telemetry.evaluation(metrics, answers)
    progress.scores[progress.step] = {**progress.scores.get(progress.step, {}), **{each.benchmark: each.accuracy for each, _ in found}}
    progress.evaluated_step = progress.step
