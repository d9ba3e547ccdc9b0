"""The run as trainer-0 holds it: the loop of any run, with ranks and engines in other pods, and a window through which the operator looks
in and speaks."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import ray
from rich.console import Console

from reasonrl.api.job import ReasoningRLJob
from reasonrl.api.run_files import Event
from reasonrl.run.cluster.cluster_parts import ClusterParts
from reasonrl.run.cluster.pod_environment import PodEnvironment
from reasonrl.run.run_job import Operator, RunResult, run_job
from reasonrl.run.status.board import RunStatusBoard
from reasonrl.run.status.server import StatusServer, any_address, status_application
from reasonrl.run.status.stall_watchdog import StallWatchdog
from reasonrl.run.status.vital_signs import vital_signs
from reasonrl.run.stop_request import StopRequest
from reasonrl.run.telemetry.prometheus_metrics import RunMetrics
from reasonrl.run.telemetry.run_view import phase_plans
from reasonrl.run.telemetry.telemetry import Telemetry


def run_across_pods(job: ReasoningRLJob, *, pod: PodEnvironment, ray_address: str, config: Path, console: Console | None) -> RunResult:
    """Runs in trainer-0 until the job is done or a signal asks to stop. `config` is the job's file, which the operator may rewrite.

    Raises what `run_job` raises, and ClusterStartError, RankLostError and EnginesLostError, after which the pods start again.
    """
    board, metrics = RunStatusBoard(job), RunMetrics()
    with ExitStack() as stack:
        stop = stack.enter_context(StopRequest())
        application = status_application(
            ailments=vital_signs(board.current_stage, loop=threading.current_thread()), status=board.body, metrics=metrics
        )
        stack.callback(StatusServer(application, address=any_address(), port=pod.status_port).close)
        ray.init(address=ray_address, log_to_driver=False, logging_level=logging.WARNING, _node_ip_address=pod.address or "127.0.0.1")
        stack.callback(ray.shutdown)
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
        parts = ClusterParts(_teller(board, telemetry))
        return run_job(
            job,
            parts,
            directory=pod.output,
            base_directory=Path("/"),
            telemetry=telemetry,
            stop=stop,
        )
