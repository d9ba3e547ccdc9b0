"""What a trainer pod does. The first holds the head of the Ray cluster and the loop; the others lend it their node until it has gone."""

from __future__ import annotations

import logging
import signal
import threading
import time
from pathlib import Path
from types import FrameType

from rich.console import Console

from reasonrl.api.exit_codes import ExitCode
from reasonrl.api.failure_answers import stage_deadline
from reasonrl.api.job import ReasoningRLJob
from reasonrl.run.cluster.cluster_run import run_across_pods
from reasonrl.run.cluster.pod_environment import PodEnvironment
from reasonrl.run.cluster.pod_network import wait_for_head
from reasonrl.run.cluster.pod_node import START_SECONDS, node_settings
from reasonrl.run.cluster.ray_node import RayNode
from reasonrl.run.final_model import read_summary
from reasonrl.run.status.pod_outcome import COMPLETED, PREEMPTED, Outcome

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 0.5


def run_trainer(job: ReasoningRLJob, *, pod: PodEnvironment, config: Path, console: Console | None) -> Outcome:
    """Returns how the pod ends. Raises what the run raises."""
    if pod.is_head:
        return _lead(job, pod=pod, config=config, console=console)
    return _follow(job, pod=pod)


def _lead(job: ReasoningRLJob, *, pod: PodEnvironment, config: Path, console: Console | None) -> Outcome:
    node = RayNode(node_settings(pod))
    try:
        node.wait_ready(START_SECONDS)
        logger.info("the Ray head is up at port %d", pod.ray_port)
        result = run_across_pods(job, pod=pod, config=config, console=console)
    finally:
        node.stop()
    reason = COMPLETED if result.exit_code is ExitCode.SUCCESS else PREEMPTED
    return Outcome(exit_code=result.exit_code, reason=reason, message=result.message)


def _follow(job: ReasoningRLJob, *, pod: PodEnvironment) -> Outcome:
    """A drained gang gets its signals all at once, and the first trainer still has to save what all of them hold: so this one stays until
    the head has gone, and only remembers that it was asked."""
    asked = threading.Event()

    def remember(_number: int, _frame: FrameType | None) -> None:
        asked.set()

    signal.signal(signal.SIGTERM, remember)
    signal.signal(signal.SIGINT, remember)
    wait_for_head(pod, seconds=stage_deadline(job.spec.failure_policy, "loading"), give_up=asked.is_set)
    node = RayNode(node_settings(pod))
    try:
        node.wait_ready(START_SECONDS, give_up=asked.is_set)
        logger.info("joined the head at %s:%d", pod.head, pod.ray_port)
        while node.alive:
            time.sleep(_LOOK_SECONDS)
    finally:
        node.stop()
    return follower_outcome(ended=read_summary(pod.output) is not None, asked=asked.is_set())


def follower_outcome(*, ended: bool, asked: bool) -> Outcome:
    """Once the head has gone. `ended`: the run is over and its final model written."""
    if ended:
        return Outcome(exit_code=ExitCode.SUCCESS, reason=COMPLETED, message="the run has ended")
    if asked:
        return Outcome(exit_code=ExitCode.PREEMPTED, reason=PREEMPTED, message="stopped by a signal, after the head had gone")
    return Outcome(exit_code=ExitCode.RETRYABLE, reason="HeadLost", message="the Ray head went away before the run had ended")
