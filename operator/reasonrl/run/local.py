"""One run in one process: the parts of the loop on this machine, and the run with its live view."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from reasonrl.api.job import ReasoningRLJob
from reasonrl.rollout.protocol import RolloutEngine
from reasonrl.run.rollout_engine import make_engine
from reasonrl.run.run_job import RunResult, Start, run_job
from reasonrl.run.stop_request import StopRequest
from reasonrl.run.telemetry.run_view import PhasePlan
from reasonrl.run.telemetry.telemetry import Telemetry
from reasonrl.run.trainer_rules import trainer_rules
from reasonrl.train.protocol import Trainer
from reasonrl.train.torch_engine import TorchTrainer

__all__ = ["LocalParts", "RunResult", "run_on_one_machine"]


class LocalParts:
    """See `RunParts`: one trainer and one engine, in this process."""

    def trainer(self, start: Start, stack: ExitStack) -> TorchTrainer:
        rules = trainer_rules(start.job.spec)
        return TorchTrainer(
            start.fresh_model(),
            loss=rules.loss,
            optimizer=rules.optimizer,
            compute=rules.compute,
            keep_reference=rules.keep_reference,
        )

    def rollouts(self, start: Start, trainer: Trainer, stack: ExitStack) -> RolloutEngine:
        assert isinstance(trainer, TorchTrainer)
        engine = make_engine(start.job.spec, trainer.model, start.tokenizer, directory=start.directory)
        stack.callback(engine.close)
        return engine

    def max_staleness(self, job: ReasoningRLJob) -> int:
        return 0


def run_on_one_machine(job: ReasoningRLJob, *, directory: Path, base_directory: Path, console: Console | None) -> RunResult:
    """See `run_job`."""
    telemetry = Telemetry(
        directory,
        job_name=job.metadata.name,
        phases=phase_plans(job),
        console=console,
        prometheus_port=job.spec.telemetry.prometheus_port,
        prometheus_address=job.spec.telemetry.prometheus_address,
    )
    with StopRequest() as stop:
        return run_job(job, LocalParts(), directory=directory, base_directory=base_directory, telemetry=telemetry, stop=stop)


def phase_plans(job: ReasoningRLJob) -> list[PhasePlan]:
    return [PhasePlan(phase.name, phase.max_response_tokens, phase.until.steps or phase.until.max_steps) for phase in job.spec.phases]
