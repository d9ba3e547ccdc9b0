"""One run from its job to its end: resumes where it left off, builds the loop, trains, and says how it ended.

Where the parts live is not decided here: one machine gives an engine and a trainer of this process, a cluster gives actors behind the
same two protocols.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from reasonrl.api.data_spec import PassRateFilter
from reasonrl.api.exit_codes import ExitCode
from reasonrl.api.job import ReasoningRLJob
from reasonrl.api.run_files import CHECKPOINTS_DIRECTORY, StepMetrics
from reasonrl.data.templates import render_prompt
from reasonrl.rl.records import Prompt, Question
from reasonrl.rollout.protocol import RolloutEngine
from reasonrl.run.checkpoint_keeper import CheckpointKeeper
from reasonrl.run.checkpoint_store import CheckpointStore, Manifest
from reasonrl.run.control import rollback_step
from reasonrl.run.final_model import read_summary, write_final_model, write_summary
from reasonrl.run.grading import Grader
from reasonrl.run.health_watch import HealthWatch
from reasonrl.run.job_in_effect import JobInEffect
from reasonrl.run.live_job import LiveJob, starting_job
from reasonrl.run.loop import Run, setting_after, train
from reasonrl.run.pass_rate import PassRate, kept_questions, measure, pass_rate_filter, read_rates, told, write_rates
from reasonrl.run.policy_source import Policy, load_model, load_tokenizer, start_is_reproducible
from reasonrl.run.progress import PROGRESS_FILE, Progress, read_progress
from reasonrl.run.question_set import Note, QuestionSet, benchmarks, restricted, training_questions
from reasonrl.run.rollback import finish_rollback, roll_back
from reasonrl.run.rollout_source import RolloutSource, SamplingJob, SamplingOnTime
from reasonrl.run.run_directory import job_hash, keep_job, locked
from reasonrl.run.sampling_ahead import SamplingAhead
from reasonrl.run.stop_request import StoppedWithinStepError, StopRequest, StopRequestedError
from reasonrl.run.stopwatch import Stopwatch
from reasonrl.run.telemetry.telemetry import Telemetry
from reasonrl.run.trainer_rules import batch_rules
from reasonrl.run.transitions import record_event
from reasonrl.run.warm_start import forget_warm_start, warm_start
from reasonrl.train.protocol import Trainer

WARM_START_DIRECTORY = "warm-start"


@dataclass(frozen=True, slots=True)
class RunResult:
    """How the run ended. `step` counts finished steps."""

    exit_code: ExitCode
    step: int
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where training begins. `checkpoint` is the one that the trainer will load, or None; `fresh_model` makes or loads the model and
    warms it up (minutes), and is called once, and only when there is no checkpoint or its architecture is wanted in this process."""

    job: ReasoningRLJob
    directory: Path
    base_directory: Path
    tokenizer: PreTrainedTokenizerBase
    checkpoint: Path | None
    fresh_model: Callable[[], PreTrainedModel]
    telemetry: Telemetry


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorWords:
    """How an operator speaks to a run: the job's file, which it may rewrite, its requests, and which start of the trainers this is.
    `answer_seconds` is how long it may take to act on what the run says; 0 where nobody reads that."""

    config: Path
    control: Path | None
    attempt: int
    answer_seconds: float = 0.0


class RunParts(Protocol):
    """Builds what differs from place to place. What it opens, it gives to `stack` to close."""

    def trainer(self, start: Start, stack: ExitStack) -> Trainer: ...

    def rollouts(self, start: Start, trainer: Trainer, stack: ExitStack) -> RolloutEngine:
        """Of any weights: the run loads the trainer's before the first sample."""
        ...

    def max_staleness(self, job: ReasoningRLJob) -> int:
        """How many steps ahead of the trainer the engine may sample, meanwhile; 0 where both share a process."""
        ...


def run_job(
    job: ReasoningRLJob,
    parts: RunParts,
    *,
    directory: Path,
    base_directory: Path,
    telemetry: Telemetry,
    stop: StopRequest,
    operator: OperatorWords | None = None,
) -> RunResult:
    """Trains until the job is done or `stop` is asked for. A directory with an unfinished run of this job is gone on with.

    Raises what its parts raise: RunInputError, DataError, RunDirectoryError and RolloutError for what the job names and cannot be used;
    TrainerError, RewardFailureError and CheckpointError when the run cannot go on.
    """
    # A bar for every checkpoint would tear the live view apart.
    transformers_logging.disable_progress_bar()
    if not torch.cuda.is_available():
        # Saving a model imports DeepSpeed where it is installed, which warns of a missing accelerator unless it was told.
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    with ExitStack() as stack:
        stack.enter_context(locked(directory))
        finished = read_summary(directory)
        if finished is not None:
            step = int(str(finished["step"]))
            return RunResult(ExitCode.SUCCESS, step, "finished before; remove the directory or name another to train again")
        stack.enter_context(telemetry)
        try:
            run = _prepare(job, parts, directory, base_directory, telemetry, stop, stack, operator)
        except StopRequestedError as stopped:
            return RunResult(ExitCode.PREEMPTED, 0, f"stopped by {stopped} before training; the same command goes on from there")
        try:
            if not _only_warm_start(run.job):
                train(run)
        except StopRequestedError as stopped:
            run.checkpoints.save(run.progress, reason=f"stopped by {stopped}")
            step = run.progress.step
            return RunResult(ExitCode.PREEMPTED, step, f"stopped by {stopped} after step {step}; the same command goes on from there")
        except StoppedWithinStepError as stopped:
            step = run.progress.step
            return RunResult(
                ExitCode.PREEMPTED, step, f"stopped by {stopped} within step {step}; the next start goes on from the checkpoint before"
            )
        return _finish(run)


def _only_warm_start(job: ReasoningRLJob) -> bool:
    return job.spec.sft is not None and job.spec.sft.only_warm_start


def _prepare(
    job: ReasoningRLJob,
    parts: RunParts,
    directory: Path,
    base_directory: Path,
    telemetry: Telemetry,
    stop: StopRequest,
    stack: ExitStack,
    operator: OperatorWords | None,
) -> Run:
    telemetry.stage("loading")
    note = _noting(telemetry)
    store = CheckpointStore(directory / CHECKPOINTS_DIRECTORY, warn=note)
    found = _newest_checkpoint(store, operator, note=note)
    if operator is not None:
        phase = 0 if found is None else read_progress(found[0] / PROGRESS_FILE).phase_index
        job = _job_of_operator(job, directory, current_phase=phase, telemetry=telemetry, note=note)
    spec = job.spec
    in_effect = JobInEffect(job)
    with stop.droppable():
        tokenizer = load_tokenizer(spec, base_directory=base_directory)
        questions = training_questions(spec, tokenizer, base_directory=base_directory, note=note)
        held_out = benchmarks(spec, tokenizer, training=questions.questions, base_directory=base_directory, note=note)
    warm = store_directory(directory)
    if found is None:
        keep_job(directory, job.dumped(), current_phase=0)

    def fresh_model() -> PreTrainedModel:
        with stop.droppable():
            model = load_model(spec, tokenizer, base_directory=base_directory)
        if found is None:
            policy = Policy(model=model, tokenizer=tokenizer)
            warm_start(spec, policy, directory=warm, base_directory=base_directory, telemetry=telemetry, stop=stop, note=note)
        return model

    start = Start(
        job=job,
        directory=directory,
        base_directory=base_directory,
        tokenizer=tokenizer,
        checkpoint=None if found is None else found[0],
        fresh_model=fresh_model,
        telemetry=telemetry,
    )
    trainer = parts.trainer(start, stack)
    health = HealthWatch(spec.failure_policy)
    keeper = CheckpointKeeper(
        store,
        trainer=trainer,
        tokenizer=tokenizer,
        spec=spec.checkpoint,
        spec_hash=job_hash(job.dumped()),
        start_is_unique=not start_is_reproducible(spec),
        record=telemetry.event,
        critical=lambda: health.critical,
        tell_kept=telemetry.keeps,
    )
    progress = Progress()
    if found is not None:
        progress = keeper.restore(found[0])
        changed = keep_job(directory, job.dumped(), current_phase=progress.phase_index)
        health.replay([record for record in telemetry.resumed_at(progress.step) if isinstance(record, StepMetrics)])
        edits = f"; edited since: {', '.join(changed)}" if changed else ""
        record_event(telemetry, progress.step, "Resumed", f"from {found[0].name}{edits}")
    engine = parts.rollouts(start, trainer, stack)
    template = questions.template
    grader = stack.enter_context(
        Grader(spec.rewards, uses_tags=template.uses_tags, response_prefix=template.response_prefix, base_directory=base_directory)
    )
    rule = pass_rate_filter(spec.data.filters)
    if rule is not None:
        if found is None:
            rates = _measured(questions, rule, start, engine=engine, trainer=trainer, grader=grader, stop=stop)
        else:
            rates = read_rates(directory)
        kept = kept_questions(questions.questions, rates, rule)
        note(told(rates, rule, kept=len(kept)))
        questions = restricted(questions, kept, spec)
    rollouts = _rollout_source(in_effect, engine, questions.take, max_staleness=parts.max_staleness(job))
    stack.callback(rollouts.close)
    rollouts.load(trainer.weights(), version=progress.step)
    if found is not None:
        rollouts.restore(found[0])
    keeper.keep_also(rollouts.save)
    if found is None and not start_is_reproducible(spec):
        keeper.save(progress, reason="start of training")
    forget_warm_start(warm)
    run = Run(
        in_effect=in_effect,
        directory=directory,
        rollouts=rollouts,
        grader=grader,
        trainer=trainer,
        batch_rules=batch_rules(spec),
        benchmarks=held_out,
        telemetry=telemetry,
        checkpoints=keeper,
        stop=stop,
        stopwatch=Stopwatch(telemetry.stage),
        health=health,
        progress=progress,
    )
    if operator is not None:
        _listen(run, operator, tokenizer=tokenizer, training=questions.questions, base_directory=base_directory, note=note)
    return run


def _measured(
    questions: QuestionSet,
    rule: PassRateFilter,
    start: Start,
    *,
    engine: RolloutEngine,
    trainer: Trainer,
    grader: Grader,
    stop: StopRequest,
) -> list[PassRate]:
    """The pass rate of every question under the policy as training begins, kept for the resumes to come."""
    start.telemetry.stage("pass rate")
    limit = rule.max_response_tokens or start.job.spec.phases[0].max_response_tokens
    rates: list[PassRate] = []
    with stop.droppable():
        engine.load(trainer.weights(), version=0)
        prompts = [render_prompt(question, questions.template, questions.tokenizer) for question in questions.questions]
        for block in measure(
            prompts,
            rule,
            engine,
            lambda groups: grader.grade(groups, max_response_tokens=limit),
            max_response_tokens=limit,
            seed=start.job.spec.seed,
        ):
            rates += block
            start.telemetry.touch()
    write_rates(start.directory, rates)
    return rates


def _newest_checkpoint(store: CheckpointStore, operator: OperatorWords | None, *, note: Note) -> tuple[Path, Manifest] | None:
    """The one to go on from: the newest sound one, or the one that the operator wants this start to go back to."""
    finish_rollback(store)
    step = None if operator is None else rollback_step(operator.control, attempt=operator.attempt)
    if step is None or operator is None:
        return store.latest_complete()
    back = roll_back(store, step=step, attempt=operator.attempt)
    note(back.message)
    return back.checkpoint, back.manifest


def _job_of_operator(wanted: ReasoningRLJob, directory: Path, *, current_phase: int, telemetry: Telemetry, note: Note) -> ReasoningRLJob:
    """What may change of a job that has started is taken over, and the rest is left: no reason to end a run on a cluster."""
    edit = starting_job(directory, wanted, current_phase=current_phase)
    if edit.refused:
        note(f"not taken over, since the run has started: {', '.join(edit.refused)}")
    telemetry.job_changed(edit.job, config_hash=job_hash(edit.job.dumped()))
    return edit.job


def _listen(
    run: Run,
    operator: OperatorWords,
    *,
    tokenizer: PreTrainedTokenizerBase,
    training: Sequence[Question],
    base_directory: Path,
    note: Note,
) -> None:
    """From now on the run looks, between two steps, for what the operator has to say."""

    def take_over(job: ReasoningRLJob) -> None:
        found = benchmarks(job.spec, tokenizer, training=training, base_directory=base_directory, note=note)
        run.in_effect.job, run.benchmarks = job, found
        run.checkpoints.follow(job.spec.checkpoint, spec_hash=job_hash(job.dumped()))

    run.control, run.operator_seconds = operator.control, operator.answer_seconds
    run.live_job = LiveJob(operator.config, run.job, run_directory=run.directory, take_over=take_over, record=run.telemetry.event)


def _rollout_source(
    in_effect: JobInEffect,
    engine: RolloutEngine,
    take_prompts: Callable[[int, int], tuple[list[Prompt], int]],
    *,
    max_staleness: int,
) -> RolloutSource:
    spec = in_effect.job.spec
    sampling = SamplingJob(take_prompts=take_prompts, responses_per_prompt=spec.algorithm.rollouts_per_prompt, seed=spec.seed)
    if max_staleness == 0:
        return SamplingOnTime(engine, sampling)
    return SamplingAhead(
        engine, sampling, max_staleness=max_staleness, forecast=lambda progress, ahead: setting_after(in_effect.job, progress, ahead)
    )


def store_directory(directory: Path) -> Path:
    """Where the warm start keeps checkpoints of its own."""
    return directory / CHECKPOINTS_DIRECTORY / WARM_START_DIRECTORY


def _noting(telemetry: Telemetry) -> Callable[[str], None]:
    return lambda message: record_event(telemetry, 0, "Note", message)


def _finish(run: Run) -> RunResult:
    progress = run.progress
    final = write_final_model(run.directory, run.checkpoints.path(progress.step))
    write_summary(run.directory, {"step": progress.step, "accuracy": progress.scores.get(progress.step, {}), "policy": final.name})
    return RunResult(ExitCode.SUCCESS, progress.step, f"finished after {progress.step} steps; the policy is in {final}")
