"""From what is observed of a job to what is to be done: the story of the operator, from top to bottom.

`plan` is a pure function, so it may be called again at any time, after any crash, and comes to the same answer from the same facts. It
never acts on what is only about to be recorded: a failure is first written into the status, and at the next look the pod is deleted. Each
look does what can be done at once and says when the next one is due; when nothing is left to do, it asks for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from reasonrl.api import names
from reasonrl.api.names import Role
from reasonrl.api.problems import JobError
from reasonrl.controller.actions import Create, Delete, Happening, Plan
from reasonrl.controller.children import config_of, config_patch, missing_children
from reasonrl.controller.conditions import find
from reasonrl.controller.decision import Decision
from reasonrl.controller.failure_policy import Finish, Restart, count_failure, judge_token, judge_trainers, success_of
from reasonrl.controller.frozen_job import FrozenJob, edit, read_frozen, resolve, source_of
from reasonrl.controller.happenings import happenings_of
from reasonrl.controller.ledger import Ledger
from reasonrl.controller.lifecycle import PAUSED, Hold, deadline_left, deadline_message, end_of_suspension, hold_of, time_to_live
from reasonrl.controller.lost_pods import lost_pods
from reasonrl.controller.pods import pod_body, template_of
from reasonrl.controller.records import JobRecord, Observed
from reasonrl.controller.requests import Control, answer_requests, read_control
from reasonrl.controller.rollout_pods import RolloutChange, change_rollouts, delete_pod
from reasonrl.controller.run_health import Pause, Rollback, declared_action, kept_steps
from reasonrl.controller.settings import Platform, part, read_settings
from reasonrl.controller.situation import Situation, ended, look_at
from reasonrl.controller.stall import Stall, judge_stall
from reasonrl.controller.status import job_status, newest_checkpoint, refused_status

AT_ONCE = 0.0
SOONEST = 1.0
"""The least time until a look that only the clock asks for."""
BLUEPRINT_SECONDS = 30.0
STRANGER_SECONDS = 5.0
_PLATFORM = Platform()


def plan(observed: Observed, platform: Platform = _PLATFORM) -> Plan:
    """What is to be done about the job now."""
    if observed.job.deleting:
        return Plan()
    if finished(observed.job):
        return _after_the_end(observed)
    known = _know(observed)
    if isinstance(known, _Refusal):
        return _refuse(observed, known)
    situation = _with_progress(look_at(observed, read_settings(known.frozen.spec), platform, known.control))
    course = _decide(situation, known)
    return _carry_out(observed, situation, known, course)


def finished(job: JobRecord) -> bool:
    """Whether the job has ended for good. One that was refused has not begun: it is looked at again when it changes."""
    outcome = find(job.status, "Succeeded").get("status")
    return outcome == "True" or (outcome == "False" and bool(job.status.get("startTime")))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """The job as it runs. `note` is about an edit (see Decision)."""

    frozen: FrozenJob
    control: Control
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Refusal:
    reason: str
    message: str
    look_again: float | None = None


@dataclass(slots=True)
class _Course:
    """What is decided at this look, gathered step by step."""

    ledger: Ledger
    control: Control
    hold: Hold | None = None
    verdict: Finish | Restart | None = None
    stall: Stall | None = None
    happenings: list[Happening] = field(default_factory=list)
    wakes: list[float] = field(default_factory=list)
    """Seconds from now."""


# --- What runs -------------------------------------------------------------------------------------------------------------------------


def _know(observed: Observed) -> _Known | _Refusal:
    """What the ConfigMap holds, with the live edits made since; at the start, the job and its blueprint resolved."""
    job, record = observed.job, config_of(observed)
    frozen = read_frozen(record) if record is not None else None
    if record is not None and frozen is not None:
        control = read_control(record.data)
        return _Known(frozen=frozen, control=control) if frozen.source == source_of(job) else _edited(frozen, control, job)
    # A request made before there is anything to roll back to, or answered before the ConfigMap was lost, is no request.
    control = Control(rollback_request=job.annotations.get(names.ANNOTATION_ROLLBACK) or None)
    blueprint = part(job.spec, "runtimeRef")
    if blueprint and observed.runtime is None:
        kind, name = blueprint.get("kind") or "ClusterReasoningRLRuntime", blueprint.get("name")
        if observed.runtime_forbidden:
            return _Refusal(reason="RuntimeForbidden", message=_forbidden(job, f"{kind} {name!r}"), look_again=BLUEPRINT_SECONDS)
        message = f"spec.runtimeRef names the {kind} {name!r}, which does not exist; create it, or name another"
        return _Refusal(reason="RuntimeNotFound", message=message, look_again=BLUEPRINT_SECONDS)
    try:
        return _Known(frozen=resolve(job, observed.runtime, version=observed.runtime_version), control=control)
    except JobError as error:
        return _Refusal(reason="InvalidSpec", message=str(error))


def _forbidden(job: JobRecord, blueprint: str) -> str:
    return (
        f"spec.runtimeRef names the {blueprint}, which this operator has no right to read. Installed for some namespaces, it reads "
        f"cluster-wide blueprints only with rbac.clusterRuntimes: true in its chart; ask for that, or name a ReasoningRLRuntime of "
        f"namespace {job.key.namespace}"
    )


def _edited(frozen: FrozenJob, control: Control, job: JobRecord) -> _Known:
    phase = job.status.get("phaseIndex")
    try:
        made = edit(frozen, job, current_phase=phase if isinstance(phase, int) else 0)
    except JobError as error:
        # Taken note of, so that the next look does not try again; the run goes on as it was.
        note = f"the edit was not carried out, and the job runs on as it was: {error}"
        return _Known(frozen=replace(frozen, source=source_of(job)), control=control, note=note)
    if made.refused:
        fields = ", ".join(made.refused[:8])
        note = f"a running job cannot change {fields}; these stay as they were. To try other values, start another job"
        return _Known(frozen=made.frozen, control=control, note=note)
    return _Known(frozen=made.frozen, control=control, note="" if made.applied else None)


def _refuse(observed: Observed, refusal: _Refusal) -> Plan:
    job = observed.job
    begun = bool(job.status.get("startTime"))
    final = refusal.look_again is None and not begun
    # Somebody deleted the ConfigMap of a job that had begun, and what it held cannot be worked out again. Its pods go on as they are, until
    # that is mended; but they are taken away where that is asked for.
    hold = hold_of(job) if begun else None
    status = refused_status(
        job.status, generation=job.generation, now=observed.now, reason=refusal.reason, message=refusal.message, final=final, hold=hold
    )
    before = find(job.status, "Admitted")
    new = before.get("reason") != refusal.reason or before.get("message") != find(status, "Admitted")["message"]
    happenings = (Happening(type="Warning", reason=refusal.reason, message=refusal.message[:1024]),) if new else ()
    left = time_to_live(job, {}, now=observed.now) if final else None
    if left is not None and left <= 0:
        return Plan(delete_job=True)
    if final and left is None and isinstance(job.spec.get("ttlSecondsAfterFinished"), int):
        left = float(job.spec["ttlSecondsAfterFinished"])
    return Plan(
        deletes=tuple(delete_pod(pod) for pod in observed.children.pods if hold is not None and not pod.deleting),
        status=status,
        happenings=happenings,
        requeue_after=left if final else refusal.look_again or BLUEPRINT_SECONDS,
    )


# --- What follows ----------------------------------------------------------------------------------------------------------------------


def _with_progress(situation: Situation) -> Situation:
    """A checkpoint that is newer than any before gives every budget back."""
    newest, known = newest_checkpoint(situation), situation.status.get("lastCheckpointStep")
    if newest is None or (isinstance(known, int) and newest <= known):
        return situation
    alive = {pod.index for pod in situation.rollouts if not ended(pod) and not pod.deleting}
    return replace(situation, ledger=situation.ledger.after_progress(alive))


def _decide(situation: Situation, known: _Known) -> _Course:
    """The end first, then what people ask for, then what the pods and the run call for."""
    course = _Course(ledger=situation.ledger, control=known.control.outlived(situation.ledger.trainer.wanted))
    course.verdict = success_of(situation.trainers) or _deadline(situation, known, course)
    if course.verdict is not None:
        return course
    _follow_requests(situation, course)
    if course.hold is not None or course.verdict is not None:
        return course
    course.control = end_of_suspension(course.control, situation.job, now=situation.now)
    judged = judge_stall(situation)
    if judged.look_again is not None:
        course.wakes.append(judged.look_again)
    course.stall = judged if isinstance(judged, Stall) else None
    course.verdict = judge_trainers(situation, course.stall) or judge_token(situation)
    if course.verdict is None:
        _follow_health(situation, course)
    if isinstance(course.verdict, Restart):
        course.ledger = replace(course.ledger, trainer=course.verdict.attempts)
    return course


def _deadline(situation: Situation, known: _Known, course: _Course) -> Finish | None:
    left = deadline_left(known.frozen.spec, situation.status, known.control, now=situation.now)
    if left is None or left > 0:
        course.wakes += [left] if left is not None else []
        return None
    return Finish(succeeded=False, reason="DeadlineExceeded", message=deadline_message(known.frozen.spec))


def _follow_requests(situation: Situation, course: _Course) -> None:
    """Suspension, and roll-back: asked for now, or asked for already and not yet ordered."""
    trainer = course.ledger.trainer
    course.hold = hold_of(situation.job)
    if situation.status.get("startTime"):
        next_attempt = trainer.wanted + 1
        answer = answer_requests(course.control, situation.job, checkpoints=kept_steps(situation.status), next_attempt=next_attempt)
        course.control = answer.control
        if answer.refusal is not None:
            course.happenings.append(Happening(type="Warning", reason="RollbackRefused", message=answer.refusal))
    if course.control.orders(trainer.wanted) and course.control.rollback_attempt is not None:
        if course.hold is not None and course.hold.paused:
            course.hold = None
        attempts = replace(trainer.at_least(course.control.rollback_attempt), last_reason="RolledBack", not_before=None)
        course.ledger = replace(course.ledger, trainer=attempts)
        if course.hold is None:
            message = f"all trainers start again from the checkpoint of step {course.control.rollback_to}, as was asked for"
            course.verdict = Restart(attempts=attempts, reason="RolledBack", message=message, counted=False)
    elif course.hold is not None:
        _end_attempt(situation, course, "Suspended")


def _follow_health(situation: Situation, course: _Course) -> None:
    action = declared_action(situation.run, situation.status)
    if isinstance(action, Pause):
        message = (
            f"{action.message}. Pods are deleted, checkpoints are kept. To go on, set spec.suspend and unset it again, or go back with "
            f"the annotation {names.ANNOTATION_ROLLBACK}"
        )
        course.hold = Hold(f"{PAUSED}{action.reason}", message)
        _end_attempt(situation, course, action.reason)
    elif isinstance(action, Rollback):
        course.verdict = count_failure(situation, action.reason, f"{action.message}; back to the checkpoint of step {action.step}")
        if isinstance(course.verdict, Restart):
            course.control = course.control.rolled_back(step=action.step, attempt=course.verdict.attempts.wanted)


def _end_attempt(situation: Situation, course: _Course, reason: str) -> None:
    """The pods that are about to go belong to an attempt that is over, whatever becomes of them on the way."""
    trainer = course.ledger.trainer
    if any(pod.attempt == trainer.wanted for pod in situation.trainers):
        course.ledger = replace(course.ledger, trainer=trainer.interrupted(reason, wait=0.0, now=situation.now))


# --- What is done ----------------------------------------------------------------------------------------------------------------------


def _carry_out(observed: Observed, situation: Situation, known: _Known, course: _Course) -> Plan:
    job = situation.job
    record = config_of(observed)
    change = _rollouts(situation, course)
    if change.finish is not None and not isinstance(course.verdict, Finish):
        course.verdict = change.finish
    ended_now = isinstance(course.verdict, Finish)
    creates: list[Create] = []
    new_trainers: list[int] = []
    new_rollouts: list[int] = []
    deletes: list[Delete] = []
    if not ended_now:
        deletes = [*_old_trainers(situation, course), *change.deletes]
        if record is not None or course.hold is None:
            creates += missing_children(observed, situation.settings, known.frozen, course.control)
        if course.hold is None and course.verdict is None and not situation.token_lost:
            new_trainers = _missing_trainers(situation, course)
            course.happenings += _lost(situation, course.ledger, "trainer", wanted=situation.settings.trainers)
        new_rollouts = change.missing
        if situation.taken_children:
            new_rollouts = []
            course.wakes.append(STRANGER_SECONDS)
    # Old pods are gone before their successors come: the names are the same.
    creates += _pods(situation, course, new_trainers, new_rollouts)
    decision = Decision(
        ledger=_started(course.ledger, new_trainers=new_trainers, new_rollouts=new_rollouts),
        hold=course.hold,
        verdict=course.verdict,
        stall=course.stall,
        rollouts=_wanted_rollouts(situation, course),
        new_trainers=len(new_trainers),
        new_rollouts=len(new_rollouts),
        doomed=frozenset(delete.uid for delete in deletes),
        note=known.note,
    )
    status, settles = job_status(situation, known.frozen, decision)
    patch = config_patch(record, known.frozen, course.control) if record is not None else None
    happenings = [*course.happenings, *change.happenings, *happenings_of(job.status, status, decision)]
    wakes = [*course.wakes, *(time - situation.now for time in (*change.wakes, *settles))]
    if new_trainers and situation.settings.start_deadline is not None:
        # Pods that nobody schedules cause no event that would lead to a look.
        wakes.append(situation.settings.start_deadline)
    recorded_first = course.verdict is not None or decision.ledger != situation.ledger
    return Plan(
        creates=tuple(creates),
        deletes=tuple(deletes),
        patches=(patch,) if patch is not None else (),
        status=status,
        happenings=tuple(happenings),
        requeue_after=AT_ONCE if recorded_first and not new_trainers else min((max(SOONEST, wake) for wake in wakes), default=None),
    )


def _rollouts(situation: Situation, course: _Course) -> RolloutChange:
    if course.hold is not None:
        change = RolloutChange(ledger=course.ledger, deletes=[delete_pod(pod) for pod in situation.rollouts if not pod.deleting])
    elif situation.token_lost:
        holders = [pod for pod in situation.rollouts if not pod.deleting and not ended(pod)]
        change = RolloutChange(ledger=course.ledger, deletes=[delete_pod(pod) for pod in holders])
    else:
        phase = situation.settings.phase(situation.phase_index)
        template = template_of("rollout", phase.rollout_gpus)
        change = change_rollouts(situation, course.ledger, wanted=phase.rollouts, template=template)
        change.happenings += _lost(situation, course.ledger, "rollout", wanted=phase.rollouts, gpus=phase.rollout_gpus)
    course.ledger = change.ledger
    return change


def _lost(situation: Situation, ledger: Ledger, role: Role, *, wanted: int, gpus: int | None = None) -> Iterator[Happening]:
    gpus = situation.settings.trainer_gpus if gpus is None else gpus
    lost = lost_pods(situation, ledger, role=role, wanted=wanted, template=template_of(role, gpus))
    if lost:
        message = f"deleted from outside, and made again (not counted as a failure): {', '.join(lost[:8])}{' …' if len(lost) > 8 else ''}"
        yield Happening(type="Normal", reason="PodDeleted", message=message)


def _wanted_rollouts(situation: Situation, course: _Course) -> int:
    return situation.settings.phase(situation.phase_index).rollouts


def _old_trainers(situation: Situation, course: _Course) -> list[Delete]:
    """Of attempts that are over by what is recorded; all where the job is to have no pods."""
    wanted = situation.ledger.trainer.wanted
    held = course.hold is not None
    return [delete_pod(pod) for pod in situation.trainers if not pod.deleting and (held or pod.attempt < wanted)]


def _missing_trainers(situation: Situation, course: _Course) -> list[int]:
    """All that are missing, once nothing of an earlier attempt is left and the wait is over; none while one of the names is taken."""
    attempts = situation.ledger.trainer
    if any(pod.deleting or pod.attempt != attempts.wanted for pod in situation.trainers):
        return []
    wait = attempts.wait_left(situation.now, situation.settings.budgets["trainer"].longest_wait)
    if wait > 0:
        course.wakes.append(wait)
        return []
    present = {pod.index for pod in situation.trainers}
    missing = [index for index in range(situation.settings.trainers) if index not in present]
    taken = any(names.pod_name(situation.job.key.name, "trainer", index) in situation.strangers for index in missing)
    if missing and (taken or situation.taken_children):
        course.wakes.append(STRANGER_SECONDS)
        return []
    return missing


def _pods(situation: Situation, course: _Course, trainers: list[int], rollouts: list[int]) -> list[Create]:
    job, settings, platform = situation.job, situation.settings, situation.platform
    attempt, gpus = course.ledger.trainer.wanted, settings.phase(situation.phase_index).rollout_gpus
    bodies = [
        pod_body(job, settings, platform, role="trainer", index=index, attempt=attempt, gpus=settings.trainer_gpus) for index in trainers
    ]
    for index in rollouts:
        own = course.ledger.of_rollout(index).wanted
        bodies.append(pod_body(job, settings, platform, role="rollout", index=index, attempt=own, gpus=gpus))
    return [Create(kind="Pod", body=body) for body in bodies]


def _started(ledger: Ledger, *, new_trainers: list[int], new_rollouts: list[int]) -> Ledger:
    """The first start is written down with the pods that it makes; every later one was ordered before."""
    if new_trainers and ledger.trainer.started == 0:
        ledger = replace(ledger, trainer=replace(ledger.trainer, started=1))
    if new_rollouts and ledger.rollout.started == 0:
        ledger = replace(ledger, rollout=replace(ledger.rollout, started=len(new_rollouts)))
    return ledger


# --- After the end ---------------------------------------------------------------------------------------------------------------------


def _after_the_end(observed: Observed) -> Plan:
    """What still runs goes; what has ended stays for its logs, until the time to live is over."""
    job = observed.job
    record = config_of(observed)
    frozen = read_frozen(record) if record is not None else None
    left = time_to_live(job, frozen.spec if frozen is not None else {}, now=observed.now)
    if left is not None and left <= 0:
        return Plan(delete_job=True)
    running = [pod for pod in observed.children.pods if not pod.deleting and not ended(pod)]
    stale = job.status.get("observedGeneration") != job.generation
    return Plan(
        deletes=tuple(delete_pod(pod) for pod in running),
        status={**job.status, "observedGeneration": job.generation} if stale else None,
        requeue_after=max(SOONEST, left) if left is not None else None,
    )
