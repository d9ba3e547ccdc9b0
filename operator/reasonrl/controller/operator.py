"""The operator process. Kopf holds it: start-up, login, signals, the watch of blueprints, and an orderly end.

Kopf is used for what costs nothing and by `on.event` alone: no timers, daemons, change handlers or finalizers, no events of its own, no
scanning. Jobs and their children are watched by our own reflectors: an event costs Kopf about 0.8 ms, most of it a deep copy of the object
for handlers that do not exist, and it does not notice a deletion whose event was lost. Blueprints change rarely, and losing one's deletion
does no harm.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections.abc import Callable
from typing import Any

import kopf
from kubernetes.aio.client.configuration import Configuration

from reasonrl.api import names
from reasonrl.controller.actions import Plan
from reasonrl.controller.api_errors import NotLeading
from reasonrl.controller.api_login import LoginError, load_login
from reasonrl.controller.engine_room import EngineRoom
from reasonrl.controller.kinds import Kind
from reasonrl.controller.lease import LeaseLost
from reasonrl.controller.operator_options import Options, check_options
from reasonrl.controller.records import Observed
from reasonrl.controller.work_queue import BackOff

logger = logging.getLogger(__name__)
LOST_LEASE = 75
"""The exit code of a process that may not act any longer."""


_BACK_OFF = BackOff(first=1.0, cap=30.0)
_MOST_STARTS = 8
_LONG_ENOUGH = 600.0


class OperatorFailed(Exception):
    """A part of the operator ended that must not end."""


async def run_operator(options: Options, plan: Callable[[Observed], Plan]) -> None:
    """Runs until a signal ends it. OptionsError where options contradict each other, LoginError where there is no API server to go to,
    OperatorFailed where a part broke.

    Kopf ends with what its watches cannot bear, such as an HTTP 410, and with it everything that began under it. Then all begins anew, with
    the lease given back in between, so that a second replica goes on at once.
    """
    check_options(options)
    failures = 0
    while True:
        started = time.monotonic()
        try:
            await _run_under_kopf(options, plan)
            return
        except (LoginError, OperatorFailed):
            raise
        except Exception as error:
            failures = 1 if time.monotonic() - started > _LONG_ENOUGH else failures + 1
            if failures >= _MOST_STARTS:
                raise OperatorFailed(f"Kopf ended {failures} times in a row, last by {type(error).__name__}: {error}") from error
            wait = _BACK_OFF.seconds(failures, random.random())
            logger.exception("Kopf ended; starting again in %.1f s", wait)
            await asyncio.sleep(wait)


async def _run_under_kopf(options: Options, plan: Callable[[Observed], Plan]) -> None:
    room = EngineRoom(
        options,
        await load_login(options.kubeconfig, options.context),
        await load_login(options.kubeconfig, options.context),
        plan,
    )
    registry = kopf.OperatorRegistry()
    stop = asyncio.Event()
    running: list[asyncio.Task[None]] = []
    broken: list[BaseException] = []

    async def run_room() -> None:
        try:
            await room.run()
        except BaseExceptionGroup as group:
            if group.subgroup((LeaseLost, NotLeading)) is not None:
                _end_at_once(group)
            broken.append(group)
            logger.error("a part of the operator ended", exc_info=group)
        except OSError as error:
            broken.append(error)
            logger.error("the operator could not start: %s", error)
        finally:
            stop.set()

    @kopf.on.startup(registry=registry, errors=kopf.ErrorsMode.PERMANENT)
    async def start(settings: kopf.OperatorSettings, **_: Any) -> None:
        _configure(settings)
        running.append(asyncio.create_task(run_room(), name="engine room"))

    @kopf.on.cleanup(registry=registry, errors=kopf.ErrorsMode.IGNORED)
    async def end(**_: Any) -> None:
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=5.0)
        await room.close()

    @kopf.on.login(registry=registry)
    async def log_in(**_: Any) -> kopf.ConnectionInfo:
        return _connection(await load_login(options.kubeconfig, options.context))

    for kind in await room.blueprints_to_watch():
        _watch_blueprints(registry, room, kind)
    await kopf.operator(
        registry=registry,
        standalone=True,
        clusterwide=not options.namespaces,
        namespaces=options.namespaces,
        stop_flag=stop,
    )
    if broken:
        raise OperatorFailed(f"the operator ended because a part of it broke: {broken[0]}") from broken[0]


def _watch_blueprints(registry: kopf.OperatorRegistry, room: EngineRoom, kind: Kind) -> None:
    @kopf.on.event(kind.group, kind.version, kind.plural, registry=registry, id=f"show-{kind.plural}")
    async def show(event: kopf.RawEvent, **_: Any) -> None:
        change = room.runtimes.remove if event["type"] == "DELETED" else room.runtimes.show
        room.runtime_changed(change(kind.kind, event["object"]))


def _configure(settings: kopf.OperatorSettings) -> None:
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.watching.chunk_size = 250
    settings.watching.connect_timeout = 5
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    settings.networking.enforce_retry_after = True
    # Unused, for nothing is written; but if something ever were, it would be under our name.
    settings.persistence.finalizer = f"{names.GROUP}/finalizer"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=names.GROUP)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=names.GROUP)


def _connection(login: Configuration) -> kopf.ConnectionInfo:
    """What Kopf needs to know of a login of the official client."""
    scheme, _, token = str(login.api_key.get("BearerToken") or "").partition(" ")
    return kopf.ConnectionInfo(
        server=login.host,
        ca_path=login.ssl_ca_cert,
        insecure=not login.verify_ssl,
        username=login.username or None,
        password=login.password or None,
        scheme=scheme.capitalize() or None,
        token=token or None,
        certificate_path=login.cert_file,
        private_key_path=login.key_file,
    )


def _end_at_once(reason: BaseException) -> None:
    """Another process may be acting already: nothing more may be written, not even by what is left in flight."""
    logger.critical("ending at once: %s", "; ".join(str(error) for error in getattr(reason, "exceptions", (reason,))))
    logging.shutdown()
    os._exit(LOST_LEASE)
