"""Serves the metrics of a run over HTTP, from a daemon thread that cannot hold up the run or its end."""

from __future__ import annotations

import errno

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.registry import Collector

from reasonrl.run.telemetry.telemetry_error import TelemetryAddressError


class PrometheusEndpoint:
    """Listens at once. Raises `TelemetryAddressError`, naming the field of the spec, when it cannot. Port 0 takes a free one."""

    def __init__(self, metrics: Collector, *, address: str, port: int) -> None:
        registry = CollectorRegistry(support_collectors_without_names=True)
        registry.register(metrics)
        try:
            self._server, self._thread = start_http_server(port, addr=address, registry=registry)
        except OSError as error:
            raise TelemetryAddressError(_what_to_change(error, address=address, port=port)) from error

    @property
    def port(self) -> int:
        return int(self._server.server_port)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5.0)


def _what_to_change(error: OSError, *, address: str, port: int) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"spec.telemetry.prometheusPort: port {port} of {address} is taken by another process; choose another, or null for none"
        case errno.EACCES:
            return f"spec.telemetry.prometheusPort: port {port} needs privileges that this process lacks; choose one above 1023"
        case _:
            return f"spec.telemetry.prometheusAddress: cannot listen at {address!r} port {port}: {error.strerror or error}"
