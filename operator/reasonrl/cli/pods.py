"""`reasonrl trainer` and `reasonrl rollout`: what the operator's pods run. Who a pod is, it reads from its environment."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reasonrl.api import names

if TYPE_CHECKING:
    from reasonrl.api.job import ReasoningRLJob
    from reasonrl.run.cluster.pod_environment import PodEnvironment
    from reasonrl.run.status.pod_outcome import Outcome

_FILE = Path(names.CONFIG_DIRECTORY) / names.CONFIG_JOB_FILE
Config = Annotated[Path, typer.Option("--config", help="The resolved job, as the operator writes it.")]


def register(app: typer.Typer) -> None:
    app.command("trainer", rich_help_panel="In pods")(trainer)
    app.command("rollout", rich_help_panel="In pods")(rollout)


def trainer(config: Config = _FILE) -> None:
    """Be a trainer pod: pod 0 holds the Ray head and the loop, the others lend it their node."""

    def run(job: ReasoningRLJob, pod: PodEnvironment) -> Outcome:
        from rich.console import Console

        from reasonrl.run.cluster.pod_trainer import run_trainer

        return run_trainer(job, pod=pod, config=config, console=Console() if pod.is_head else None)

    _be_pod(config, run)


def rollout(config: Config = _FILE) -> None:
    """Be a rollout pod: join the trainers' Ray cluster, and the next one when they start again."""

    def run(job: ReasoningRLJob, pod: PodEnvironment) -> Outcome:
        from reasonrl.run.cluster.pod_rollout import RolloutPod

        return RolloutPod(job, pod).run()

    _be_pod(config, run)


def _be_pod(config: Path, run: Callable[[ReasoningRLJob, PodEnvironment], Outcome]) -> None:
    """Runs, leaves the termination message whatever comes, and exits with the code that says what to do next."""
    from reasonrl.api.exit_codes import ExitCode

    # The kernel drops signals that process 1 of a container has no handler for. What follows takes seconds to import, and a pod that is
    # deleted meanwhile would be there until its grace period is over; there is nothing to save yet.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(ExitCode.PREEMPTED))
    from reasonrl.cli.job_file import load_job_file
    from reasonrl.run.cluster.pod_end import end_nameless_pod, end_pod
    from reasonrl.run.cluster.pod_environment import PodEnvironment
    from reasonrl.run.errors import RunInputError

    try:
        pod = PodEnvironment.from_environ(os.environ)
    except RunInputError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(end_nameless_pod(os.environ, error))
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format=f"%(asctime)s {pod.role}-{pod.index} %(levelname)s %(message)s", force=True
    )
    sys.exit(end_pod(pod, lambda: run(load_job_file(config), pod)))
