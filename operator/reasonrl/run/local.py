"""One run in one process: builds the loop's parts from a job, resumes where a run left off, and says how it ended.

The cluster builds the same loop from other parts.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from transformers.utils import logging as transformers_logging

from reasonrl.api.exit_codes import ExitCode
from reasonrl.api.job import ReasoningRLJob
from reasonrl.api.run_files import CHECKPOINTS_DIRECTORY, StepMetrics
from reasonrl.rl.importance import ImportanceCorrection
from reasonrl.rl.kl import KLTerm
from reasonrl.rl.selection import SELECTION_RULES
from reasonrl.run.checkpoint_keeper import CheckpointKeeper
from reasonrl.run.checkpoint_store import CheckpointStore
from reasonrl.run.final_model import read_summary, write_final_model, write_summary
from reasonrl.run.grading import Grader
from reasonrl.run.health_watch import HealthWatch
from reasonrl.run.learning_batch import BatchRules
from reasonrl.run.loop import Run, train
from reasonrl.run.policy_source import Policy, load_policy
from reasonrl.run.progress import Progress
from reasonrl.run.question_set import benchmarks, training_questions
from reasonrl.run.rollout_engine import make_engine
from reasonrl.run.run_directory import job_hash, keep_job, locked
from reasonrl.run.stop_request import StopRequest, StopRequestedError
from reasonrl.run.stopwatch import Stopwatch
from reasonrl.run.telemetry.run_view import PhasePlan
from reasonrl.run.telemetry.telemetry import Telemetry
from reasonrl.run.transitions import record_event
from reasonrl.run.warm_start import forget_warm_start, warm_start
from reasonrl.train.torch_engine import TorchTrainer
from reasonrl.train.update_rules import ComputeRules, LossRules, OptimizerRules

WARM_START_DIRECTORY = "warm-start"


@dataclass(frozen=True, slots=True)
class RunResult:
    """How the run ended. `step` counts finished steps."""

    exit_code: ExitCode
    step: int
    message: str


def run_on_one_machine(job: ReasoningRLJob, *, directory: Path, base_directory: Path, console: Console | None) -> RunResult:
    """Trains until the job is done or a signal asks to stop. A directory with an unfinished run of this job is gone on with.

    Raises what its parts raise: RunInputError, DataError, RunDirectoryError and RolloutError for what the job names and cannot be used;
    TrainerError, RewardFailureError and CheckpointError when the run cannot go on.
    """
    # A bar for every checkpoint would tear the live view apart.
    transformers_logging.disable_progress_bar()
    with ExitStack() as stack:
        stack.enter_context(locked(directory))
        finished = read_summary(directory)
        if finished is not None:
            return RunResult(
                ExitCode.SUCCESS, int(str(finished["step"])), "finished before; remove the directory or name another to train again"
            )
        stop = stack.enter_context(StopRequest())
        telemetry = Telemetry(
            directory,
            job_name=job.metadata.name,
            phases=[
                PhasePlan(phase.name, phase.max_response_tokens, phase.until.steps or phase.until.max_steps) for phase in job.spec.phases
            ],
            console=console,
            prometheus_port=job.spec.telemetry.prometheus_port,
            prometheus_address=job.spec.telemetry.prometheus_address,
        )
        with telemetry:
            try:
                policy, run = _prepare(job, directory, base_directory, telemetry, stop, stack)
            except StopRequestedError as stopped:
                return RunResult(ExitCode.PREEMPTED, 0, f"stopped by {stopped} before training; the same command goes on from there")
            try:
                if not _only_warm_start(job):
                    train(run)
            except StopRequestedError as stopped:
                run.checkpoints.save(run.progress, reason=f"stopped by {stopped}")
                step = run.progress.step
                return RunResult(ExitCode.PREEMPTED, step, f"stopped by {stopped} after step {step}; the same command goes on from there")
            return _finish(job, directory, policy, run.progress)


def _only_warm_start(job: ReasoningRLJob) -> bool:
    return job.spec.sft is not None and job.spec.sft.only_warm_start


def _prepare(
    job: ReasoningRLJob, directory: Path, base_directory: Path, telemetry: Telemetry, stop: StopRequest, stack: ExitStack
) -> tuple[Policy, Run]:
    spec = job.spec
    telemetry.stage("loading")
    note = _noting(telemetry)
    store = CheckpointStore(directory / CHECKPOINTS_DIRECTORY, warn=note)
    with stop.droppable():
        found = store.latest_complete()
        policy = load_policy(spec, base_directory=base_directory)
        questions = training_questions(spec, policy.tokenizer, base_directory=base_directory, note=note)
        held_out = benchmarks(spec, policy.tokenizer, training=questions.questions, base_directory=base_directory, note=note)
    warm = store_directory(directory)
    if found is None:
        keep_job(directory, job.dumped(), current_phase=0)
        warm_start(spec, policy, directory=warm, base_directory=base_directory, telemetry=telemetry, stop=stop, note=note)
    trainer = make_trainer(job, policy)
    keeper = CheckpointKeeper(
        store,
        trainer=trainer,
        tokenizer=policy.tokenizer,
        spec=spec.checkpoint,
        spec_hash=job_hash(job.dumped()),
        start_is_unique=not policy.reproducible,
        record=telemetry.event,
    )
    progress, earlier = Progress(), list[StepMetrics]()
    if found is not None:
        progress = keeper.restore(found[0])
        changed = keep_job(directory, job.dumped(), current_phase=progress.phase_index)
        earlier = [record for record in telemetry.resumed_at(progress.step) if isinstance(record, StepMetrics)]
        edits = f"; edited since: {', '.join(changed)}" if changed else ""
        record_event(telemetry, progress.step, "Resumed", f"from {found[0].name}{edits}")
    engine = make_engine(spec, trainer.model, policy.tokenizer, directory=directory)
    stack.callback(engine.close)
    engine.load(trainer.weights(), version=progress.step)
    template = questions.template
    grader = stack.enter_context(
        Grader(spec.rewards, uses_tags=template.uses_tags, response_prefix=template.response_prefix, base_directory=base_directory)
    )
    if found is None and not policy.reproducible:
        keeper.save(progress, reason="start of training")
    forget_warm_start(warm)
    return policy, Run(
        job=job,
        directory=directory,
        take_prompts=questions.take,
        rollouts=engine,
        grader=grader,
        trainer=trainer,
        batch_rules=_batch_rules(job),
        benchmarks=held_out,
        telemetry=telemetry,
        checkpoints=keeper,
        stop=stop,
        stopwatch=Stopwatch(telemetry.stage),
        health=HealthWatch(earlier),
        progress=progress,
    )


def store_directory(directory: Path) -> Path:
    """Where the warm start keeps checkpoints of its own."""
    return directory / CHECKPOINTS_DIRECTORY / WARM_START_DIRECTORY


def _noting(telemetry: Telemetry) -> Callable[[str], None]:
    return lambda message: record_event(telemetry, 0, "Note", message)


def make_trainer(job: ReasoningRLJob, policy: Policy) -> TorchTrainer:
    spec = job.spec
    algorithm = spec.algorithm
    sampling = algorithm.importance_sampling
    return TorchTrainer(
        policy.model,
        loss=LossRules(
            loss=algorithm.loss.type,
            aggregation=algorithm.loss.aggregation,
            dual_clip=algorithm.loss.dual_clip,
            correction=ImportanceCorrection(kind=sampling.correction, level=sampling.level, cap=sampling.cap, floor=sampling.floor),
            old_logprobs=sampling.old_log_probs,
            kl=_kl_term(job),
        ),
        optimizer=OptimizerRules(
            betas=algorithm.optimizer.betas,
            epsilon=algorithm.optimizer.epsilon,
            weight_decay=algorithm.optimizer.weight_decay,
            max_gradient_norm=algorithm.optimizer.max_gradient_norm,
        ),
        compute=ComputeRules(
            tokens_per_micro_batch=spec.trainer.tokens_per_micro_batch,
            logits_chunk_tokens=spec.trainer.logits_chunk_tokens,
            gradient_checkpointing=spec.trainer.gradient_checkpointing,
            dtype=getattr(torch, spec.model.dtype),
        ),
        keep_reference=algorithm.kl is not None,
    )


def _kl_term(job: ReasoningRLJob) -> KLTerm | None:
    kl = job.spec.algorithm.kl
    return None if kl is None else KLTerm(estimator=kl.estimator, placement=kl.placement, clamp=kl.clamp)


def _batch_rules(job: ReasoningRLJob) -> BatchRules:
    algorithm = job.spec.algorithm
    return BatchRules(
        estimator=algorithm.advantage.estimator,
        epsilon=algorithm.advantage.epsilon,
        selection=tuple(SELECTION_RULES[each.type](**each.model_dump(exclude={"type"})) for each in job.spec.selection),
        updates_per_step=algorithm.updates_per_step,
        epochs=algorithm.epochs,
        kl=_kl_term(job),
    )


def _finish(job: ReasoningRLJob, directory: Path, policy: Policy, progress: Progress) -> RunResult:
    final = write_final_model(directory, model=policy.model, tokenizer=policy.tokenizer, dtype=getattr(torch, job.spec.model.dtype))
    accuracy = progress.scores.get(progress.step, {})
    write_summary(directory, {"step": progress.step, "accuracy": accuracy, "policy": final.name})
    return RunResult(ExitCode.SUCCESS, progress.step, f"finished after {progress.step} steps; the policy is in {final}")
