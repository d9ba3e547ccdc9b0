"""The one error of telemetry: what a run cannot tell, and what to change."""

from __future__ import annotations


class TelemetryError(Exception):
    """A file of the run cannot be written, or its metrics cannot be served."""


class TelemetryAddressError(TelemetryError):
    """The address that the job names for its metrics cannot be listened on."""
