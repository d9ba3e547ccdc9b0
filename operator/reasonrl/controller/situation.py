"""Everything that the parts of the plan look at, worked out once: the job's pods by role, its books, what its run says, and what its status
said before."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from reasonrl.api import names
from reasonrl.api.names import Role
from reasonrl.api.run_status import RunResult, RunStatus, Unreadable, parse_run_result
from reasonrl.controller.ledger import Ledger, read_ledger
from reasonrl.controller.records import JobRecord, Observed, PodRecord, Progress
from reasonrl.controller.requests import Control
from reasonrl.controller.settings import JobSettings, Platform

_NOT_A_REASON = re.compile(r"[^A-Za-z0-9]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """`run` is what the present gang's trainer-0 last said, and `heard` when; None while it has said nothing. `ledger` is as recorded.
    `told` is the same moment by the pod's own clock, where it said so. `token_lost` says that pods hold a token which no other pod can be
    given any more."""

    job: JobRecord
    settings: JobSettings
    platform: Platform
    control: Control
    ledger: Ledger
    trainers: tuple[PodRecord, ...]
    rollouts: tuple[PodRecord, ...]
    strangers: frozenset[str]
    run: RunStatus | None
    heard: float | None
    told: float | None
    token_lost: bool
    now: float

    @property
    def status(self) -> Mapping[str, Any]:
        return self.job.status

    def pods(self, role: Role) -> tuple[PodRecord, ...]:
        return self.trainers if role == "trainer" else self.rollouts

    @property
    def gang(self) -> tuple[PodRecord, ...]:
        """The trainers of the attempt that is wanted, those that are being deleted left out."""
        wanted = self.ledger.trainer.wanted
        return tuple(pod for pod in self.trainers if pod.attempt == wanted and not pod.deleting)

    @property
    def taken_children(self) -> list[str]:
        """Names of children that objects of somebody else have. No pod is made that would meet them instead of its own."""
        job = self.job.key.name
        children = {names.service_name(job), names.config_name(job), names.token_name(job), names.network_policy_name(job)}
        return sorted(children & self.strangers)

    @property
    def known_step(self) -> int:
        return _count(self.status.get("lastCheckpointStep"))

    @property
    def phase_index(self) -> int:
        return self.run.phase_index if self.run is not None else _count(self.status.get("phaseIndex"))


def look_at(observed: Observed, settings: JobSettings, platform: Platform, control: Control) -> Situation:
    pods = observed.children.pods
    trainers = tuple(sorted((pod for pod in pods if pod.role == "trainer"), key=lambda pod: pod.index))
    rollouts = tuple(sorted((pod for pod in pods if pod.role == "rollout"), key=lambda pod: pod.index))
    ledger = read_ledger(observed.job.status, pods)
    run, heard, told = _answer_of_the_gang(observed.progress, trainers, ledger.trainer.wanted)
    return Situation(
        job=observed.job,
        settings=settings,
        platform=platform,
        control=control,
        ledger=ledger,
        trainers=trainers,
        rollouts=rollouts,
        strangers=frozenset(observed.children.strangers),
        run=run,
        heard=heard,
        told=told,
        token_lost=lost_their_token(observed),
        now=observed.now,
    )


def lost_their_token(observed: Observed) -> bool:
    """Whether somebody deleted the Secret with the token that the job's pods hold. It is made before any pod, and never deleted by us."""
    name = names.token_name(observed.job.key.name)
    there = any(each.kind == "Secret" and each.name == name for each in observed.children.objects)
    # What somebody else keeps under the name is not for us to judge: it may hold the token.
    there = there or name in observed.children.strangers
    return not there and any(not ended(pod) for pod in observed.children.pods)


def ended(pod: PodRecord) -> bool:
    """Whether the main container has ended; a sidecar that somebody injects may keep the pod itself running."""
    return pod.phase in ("Succeeded", "Failed") or pod.exit_code is not None


def succeeded(pod: PodRecord) -> bool:
    return pod.exit_code == 0 or (pod.exit_code is None and pod.phase == "Succeeded")


def result_of(pod: PodRecord) -> RunResult | None:
    """The result that the run left behind; None where there is none, such as the tail of a log."""
    result = parse_run_result(pod.message)
    return None if isinstance(result, Unreadable) else result


def as_reason(text: str, *, otherwise: str) -> str:
    """A reason as conditions and events take it: letters and digits, beginning with a letter."""
    kept = _NOT_A_REASON.sub("", text)[:128]
    return kept if kept and kept[0].isalpha() else otherwise


def _answer_of_the_gang(
    progress: Progress | None, trainers: tuple[PodRecord, ...], wanted: int
) -> tuple[RunStatus | None, float | None, float | None]:
    """An answer of an earlier gang's trainer-0 says nothing about this one."""
    if progress is None or not any(
        pod.uid == progress.pod_uid and pod.index == 0 and pod.attempt == wanted and not pod.deleting for pod in trainers
    ):
        return None, None, None
    try:
        return RunStatus.model_validate(progress.body), progress.seen, progress.told
    except ValidationError:
        return None, None, None


def _count(value: object) -> int:
    return max(value, 0) if isinstance(value, int) else 0
