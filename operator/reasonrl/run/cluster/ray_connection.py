"""The driver's connection to the run's Ray cluster, which leaves the process's signals alone.

`ray.init` puts handlers of its own over SIGTERM: the process would end at once, with the checkpoint that a stop asks for unsaved.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import ray

_KEPT = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def ray_connection(address: str, *, port: int) -> Iterator[None]:
    """Within it `ray` talks to the head at `address`. For the main thread."""
    handlers = {number: signal.getsignal(number) for number in _KEPT}
    ray.init(
        address=f"{address}:{port}",
        log_to_driver=False,
        logging_level=logging.WARNING,
        _node_ip_address=address,
        namespace="run",
    )
    try:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        yield
    finally:
        ray.shutdown()
