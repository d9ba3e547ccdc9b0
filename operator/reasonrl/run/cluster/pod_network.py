"""Where a pod is and whether it can reach the head: names that resolve late, and heads that come and go."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable

from reasonrl.run.cluster.errors import ClusterStartError
from reasonrl.run.cluster.pod_environment import PodEnvironment
from reasonrl.run.stop_request import StopRequestedError

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 0.5
_TELL_SECONDS = 10.0


def own_address(pod: PodEnvironment) -> str:
    """The pod's IP as it was told, or what its host name resolves to."""
    return pod.address or socket.gethostbyname(pod.host)


def head_answers(host: str, port: int, *, seconds: float = 2.0) -> bool:
    """Whether somebody listens where the head should be."""
    try:
        with socket.create_connection((host, port), timeout=seconds):
            return True
    except OSError:
        return False


def wait_for_head(pod: PodEnvironment, *, seconds: float, give_up: Callable[[], bool]) -> None:
    """Returns when the head's port answers. Raises ClusterStartError after `seconds`, StopRequestedError when `give_up` says so."""
    started = told = time.monotonic()
    while not head_answers(pod.head, pod.ray_port):
        now = time.monotonic()
        if give_up():
            raise StopRequestedError("SIGTERM")
        if now - started > seconds:
            raise ClusterStartError(f"the Ray head at {pod.head}:{pod.ray_port} did not answer within {seconds:.0f} s")
        if now - told > _TELL_SECONDS:
            told = now
            logger.info("waiting for the Ray head at %s:%d for %.0f of %.0f s", pod.head, pod.ray_port, now - started, seconds)
        time.sleep(_LOOK_SECONDS)
