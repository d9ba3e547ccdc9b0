"""The window of a pod: `/status`, `/metrics` and `/healthz` on one port, from daemon threads that cannot hold up the run or its end.

The standard library's server is enough for one poller, one scraper and the kubelet. What could make it sick is bounded: connections at
once, the time that one may take, and what it waits for at start (no name server is asked).
"""

from __future__ import annotations

import errno
import logging
import socket
import sys
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

PORT_VARIABLE = "REASONRL_STATUS_PORT"
MOST_CONNECTIONS = 16
CONNECTION_SECONDS = 10.0
logger = logging.getLogger(__name__)


class StatusServerError(Exception):
    """The port cannot be listened on; the message names the setting."""


def any_address() -> str:
    """The address at which every interface is listened on, of both families where the machine has both."""
    return "::" if socket.has_dualstack_ipv6() else "0.0.0.0"


def status_application(
    *,
    ailments: Callable[[], list[str]],
    obstacles: Callable[[], list[str]] | None = None,
    status: Callable[[], bytes] | None = None,
    metrics: Collector | None = None,
) -> WSGIApplication:
    """`ailments` is asked by `/healthz`, `obstacles` by `/readyz`: empty means healthy, or ready. What is None has no page."""
    pages: dict[str, WSGIApplication] = {"/healthz": _healthz(ailments)}
    if obstacles is not None:
        pages["/readyz"] = _healthz(obstacles)
    if status is not None:
        pages["/status"] = _status(status)
    if metrics is not None:
        registry = CollectorRegistry(support_collectors_without_names=True)
        registry.register(metrics)
        pages["/metrics"] = make_wsgi_app(registry)

    def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        page = pages.get(environ.get("PATH_INFO", ""))
        if page is None:
            return _text(start_response, "404 Not Found", f"there is {', '.join(sorted(pages))}")
        if environ["REQUEST_METHOD"] != "GET":
            return _text(start_response, "405 Method Not Allowed", "only GET is answered", allow="GET")
        return page(environ, start_response)

    return application


class StatusServer:
    """Listens at once. Raises StatusServerError when it cannot. Port 0 takes a free one; the address may be of either family."""

    def __init__(self, application: WSGIApplication, *, address: str, port: int) -> None:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            self._server = _Server((address, port), family)
        except OSError as error:
            raise StatusServerError(_what_to_change(error, address=address, port=port)) from error
        self._server.set_app(application)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), name="status server", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self._server.server_port)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5.0)


class _Handler(WSGIRequestHandler):
    timeout = CONNECTION_SECONDS

    def log_message(self, format: str, *args: object) -> None:
        """A poll each few seconds is nothing to write down."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    # Closing must not wait for a peer that reads slowly.
    block_on_close = False
    request_queue_size = 64

    def __init__(self, address: tuple[str, int], family: socket.AddressFamily) -> None:
        self.address_family = family
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # The inherited one asks a name server for its own name, and waits for the answer.
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        if self.allow_reuse_address:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: object, client_address: object) -> None:
        error = sys.exc_info()[1]
        # A peer that went away or was too slow is its own affair.
        if not isinstance(error, OSError):
            logger.error("a request to the status server failed", exc_info=error)


def _healthz(ailments: Callable[[], list[str]]) -> WSGIApplication:
    def page(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        found = ailments()
        return _text(start_response, "503 Service Unavailable" if found else "200 OK", "\n".join(found) or "ok")

    return page


def _status(status: Callable[[], bytes]) -> WSGIApplication:
    def page(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        body = status()
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body))), ("Cache-Control", "no-store")])
        return [body]

    return page


def _text(start_response: StartResponse, status: str, text: str, **headers: str) -> Iterable[bytes]:
    body = f"{text}\n".encode()
    more = [(name.title(), value) for name, value in headers.items()]
    start_response(status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body))), *more])
    return [body]


def _what_to_change(error: OSError, *, address: str, port: int) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"{PORT_VARIABLE}: port {port} of {address} is taken by another process; set {PORT_VARIABLE} to another"
        case errno.EACCES:
            return f"{PORT_VARIABLE}: port {port} needs privileges that this process lacks; set {PORT_VARIABLE} to one above 1023"
        case _:
            return f"{PORT_VARIABLE}: cannot listen at {address!r} port {port}: {error.strerror or error}"
