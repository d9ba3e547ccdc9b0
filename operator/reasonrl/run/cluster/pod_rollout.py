"""What a rollout pod does: lends its node to whichever head there is, and looks for the next one when the trainers start again.

The engine itself is an actor that the run starts on this node, so a pod that lost its head holds nothing of value, and joins the next gang
in seconds instead of being scheduled anew. It ends by itself only when the run complains that engines do not last on it.
"""

from __future__ import annotations

import logging
import signal
import threading
from types import FrameType

from reasonrl.api.exit_codes import ExitCode
from reasonrl.api.failure_answers import stage_deadline
from reasonrl.api.job import ReasoningRLJob
from reasonrl.run.cluster.errors import RayNodeError
from reasonrl.run.cluster.pod_environment import PodEnvironment
from reasonrl.run.cluster.pod_network import wait_for_head
from reasonrl.run.cluster.pod_node import START_SECONDS, node_settings
from reasonrl.run.cluster.ray_node import RayNode
from reasonrl.run.status.pod_outcome import PREEMPTED, Outcome
from reasonrl.run.status.server import StatusServer, any_address, status_application
from reasonrl.run.stop_request import StopRequestedError

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 0.5
ENGINES_DIE = "EnginesDie"
"""Reason of a pod's end."""
_STARTS = 3
"""Nodes in a row that may fail although the head answers."""


class RolloutPod:
    """`_connected`: whether the node is joined to a head now."""

    def __init__(self, job: ReasoningRLJob, pod: PodEnvironment) -> None:
        self._pod = pod
        self._patience = stage_deadline(job.spec.failure_policy, "loading")
        self._asked = threading.Event()
        self._connected = False

    def run(self) -> Outcome:
        """Until a signal asks to stop, or the run to be made anew. Raises ClusterStartError when no head comes within the deadline of
        loading."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._remember)
        application = status_application(ailments=list, obstacles=self.obstacles)
        server = StatusServer(application, address=any_address(), port=self._pod.status_port)
        complaint: str | None = None
        try:
            complaint = self._serve()
        except StopRequestedError:
            pass
        finally:
            server.close()
        if complaint is not None:
            return Outcome(exit_code=ExitCode.RETRYABLE, reason=ENGINES_DIE, message=complaint)
        return Outcome(exit_code=ExitCode.PREEMPTED, reason=PREEMPTED, message="stopped by a signal; an engine loses nothing")

    def obstacles(self) -> list[str]:
        """For /readyz: the pod serves while its node is joined to a head. One that waits for a head is healthy all the same."""
        return [] if self._connected else [f"not joined to a Ray head; looking at {self._pod.head}:{self._pod.ray_port}"]

    def _serve(self) -> str | None:
        """Ends with a complaint of the run, or None when a signal asked to stop."""
        failures = 0
        while not self._asked.is_set():
            wait_for_head(self._pod, seconds=self._patience, give_up=self._asked.is_set)
            node = RayNode(node_settings(self._pod))
            try:
                node.wait_ready(START_SECONDS, give_up=self._asked.is_set)
                failures, self._connected = 0, True
                logger.info("joined the head at %s:%d", self._pod.head, self._pod.ray_port)
                while node.alive and not self._asked.wait(_LOOK_SECONDS):
                    if (complaint := node.complaint()) is not None:
                        return complaint
                if not self._asked.is_set():
                    logger.info("the node has gone (%s); looking for a head", node.why_it_ended())
            except RayNodeError as error:
                failures += 1
                if failures >= _STARTS:
                    raise
                logger.warning("attempt %d of %d: %s", failures, _STARTS, error)
            finally:
                self._connected = False
                node.stop()
        return None

    def _remember(self, _number: int, _frame: FrameType | None) -> None:
        self._asked.set()
