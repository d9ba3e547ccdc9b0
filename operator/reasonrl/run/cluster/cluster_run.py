"""The run as trainer-0 holds it: the loop of any run, with ranks and engines in other pods, and a window through which the operator looks
in and speaks."""

from __future__ import annotations

import logging
import os
import threading
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from reasonrl.api.job import ReasoningRLJob
from reasonrl.api.run_files import CHECKPOINTS_DIRECTORY
from reasonrl.run.checkpoint_store import CheckpointStore
from reasonrl.run.cluster.cluster_parts import ClusterParts
from reasonrl.run.cluster.fleet_telemetry import FleetTelemetry
from reasonrl.run.cluster.pod_environment import PodEnvironment
from reasonrl.run.cluster.pod_network import own_address
from reasonrl.run.cluster.ray_connection import ray_connection
from reasonrl.run.not_finite import OPERATOR_SECONDS
from reasonrl.run.run_job import OperatorWords, RunResult, run_job
from reasonrl.run.status.board import RunStatusBoard, status_body
from reasonrl.run.status.last_known import show_last_known
from reasonrl.run.status.server import StatusServer, any_address, status_application
from reasonrl.run.status.stall_watchdog import StallWatchdog
from reasonrl.run.status.vital_signs import vital_signs
from reasonrl.run.stop_request import StopRequest
from reasonrl.run.telemetry.prometheus_metrics import RunMetrics
from reasonrl.run.telemetry.run_view import phase_plans
from reasonrl.run.telemetry.telemetry import Telemetry

logger = logging.getLogger(__name__)

IN_CLUSTER = "KUBERNETES_SERVICE_HOST"
"""Kubernetes sets it in every container."""


def run_across_pods(job: ReasoningRLJob, *, pod: PodEnvironment, config: Path, console: Console | None) -> RunResult:
    """Runs in trainer-0, whose Ray head is up, until the job is done or a signal asks to stop. `config` is the job's file, which the
    operator may rewrite.

    Raises what `run_job` raises, and ClusterStartError, RankLostError and EnginesLostError, after which the pods start again.
    """
    board, metrics = RunStatusBoard(job), RunMetrics()
    show_last_known(board, CheckpointStore(pod.output / CHECKPOINTS_DIRECTORY, warn=logger.warning))
    telemetry = Telemetry(
        pod.output,
        job_name=job.metadata.name,
        phases=phase_plans(job),
        console=console,
        prometheus_port=job.spec.telemetry.prometheus_port,
        prometheus_address=job.spec.telemetry.prometheus_address,
        board=board,
        metrics=metrics,
    )
    parts = ClusterParts(telemetry, events=FleetTelemetry(telemetry, step=lambda: board.current_stage().step))
    with ExitStack() as stack:
        stop = stack.enter_context(StopRequest())
        application = status_application(
            ailments=vital_signs(board.current_stage, loop=threading.current_thread()),
            status=lambda: status_body(board.status()),
            metrics=metrics,
        )
        stack.callback(StatusServer(application, address=any_address(), port=pod.status_port).close)
        stack.enter_context(ray_connection(own_address(pod), port=pod.ray_port))
        watchdog = StallWatchdog(board.current_stage, run_directory=pod.output, record=telemetry.event, dump_others=parts.stacks)
        stack.enter_context(watchdog)
        # Only a pod of a cluster has an operator that acts on what the run says of its health.
        answer_seconds = OPERATOR_SECONDS if IN_CLUSTER in os.environ else 0.0
        operator = OperatorWords(config=config, control=pod.control, attempt=pod.attempt, answer_seconds=answer_seconds)
        return run_job(
            job, parts, directory=pod.output, base_directory=pod.base_directory, telemetry=telemetry, stop=stop, operator=operator
        )
