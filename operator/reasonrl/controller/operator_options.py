"""What the command line decides about an operator process, and what of it cannot go together.

Times that depend on each other are worked out here from the few that a person sets, so that they cannot be set against each other: a lease
that is renewed in time is never too old for the health page.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reasonrl.controller.health import Limits
from reasonrl.controller.lease import LeaseTimes
from reasonrl.controller.stall import SILENCE_SECONDS

LONGEST_POLL = SILENCE_SECONDS / 3
"""Seconds. A run is taken to be silent after a while; two answers may be missed before."""


class OptionsError(Exception):
    """Options that contradict each other; the text names each and says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """No namespaces means the whole cluster. Times are seconds."""

    namespaces: tuple[str, ...] = ()
    workers: int = 16
    in_flight: int = 64
    health_host: str = "0.0.0.0"
    health_port: int = 8080
    kubeconfig: Path | None = None
    context: str | None = None
    lease_namespace: str = "default"
    lease_name: str = "reasonrl-operator"
    identity: str = "reasonrl-operator"
    lease: LeaseTimes = LeaseTimes()  # noqa: RUF009 (frozen)
    settle: float = 0.3
    silence: float = 75.0
    poll: float = 10.0


def lease_times(seconds: float) -> LeaseTimes:
    """A renewal may be tried several times before the lease is lost, and there is a margin before another may take it."""
    return LeaseTimes(duration=seconds, renew=seconds * 2 / 3, retry=seconds * 2 / 15)


def check_options(options: Options) -> None:
    """OptionsError with every contradiction."""
    problems = list(_contradictions(options))
    if problems:
        raise OptionsError("\n".join(problems))


def health_limits(options: Options) -> Limits:
    """How old things may be for this process: by its own times, never less than usual."""
    usual = Limits()
    return Limits(
        # Whoever loses the lease ends by itself; a page that says so before would only have it killed in the middle of a renewal.
        lease=max(usual.lease, options.lease.duration + options.lease.retry),
        watch=max(usual.watch, 4 * options.silence),
    )


def _contradictions(options: Options) -> Iterator[str]:
    lease = options.lease
    if not 0 < lease.retry < lease.renew < lease.duration:
        yield (
            f"the lease's times must grow: it is tried every {lease.retry:g} s, given up after {lease.renew:g} s and taken over after "
            f"{lease.duration:g} s"
        )
    if options.in_flight < options.workers:
        yield (
            f"--in-flight {options.in_flight}: {options.workers} workers (--workers) would wait for each other's calls to the API server; "
            f"allow at least {options.workers} in flight, or use fewer workers"
        )
    if options.poll > LONGEST_POLL:
        yield (
            f"--poll-seconds {options.poll:g}: a run that has not answered for {SILENCE_SECONDS:g} s counts as silent and may be "
            f"restarted, so it has to be asked more often; use at most {LONGEST_POLL:g}"
        )
    twice = sorted({namespace for namespace in options.namespaces if options.namespaces.count(namespace) > 1})
    if twice:
        yield f"--namespace {twice[0]}: is given more than once; give each namespace once"
