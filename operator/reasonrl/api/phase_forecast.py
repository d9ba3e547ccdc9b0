"""What each phase will be, as far as the job alone can tell: its steps, its batch, and the values of every schedule at its two ends.

A phase with triggers may end before its bound. Then the steps of all later phases are the latest possible ones, and so are the values of
schedules that count the run's steps; the forecast says so.
"""

from __future__ import annotations

from dataclasses import dataclass

from reasonrl.api.job import ReasoningRLJob
from reasonrl.api.phase_spec import PhaseSpec, UntilSpec
from reasonrl.api.setting import StepSetting, setting_at


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseForecast:
    """`first_step` and `last_step` are global, from 0, if every earlier phase runs to its bound; `exact` says that none can end before.
    `most_tokens` bounds prompts and responses of one step, in tokens. `rollout_replicas` and `rollout_gpus` (of each) are those of this
    phase."""

    name: str
    max_response_tokens: int
    first_step: int
    last_step: int
    exact: bool
    ends: tuple[str, ...]
    waits_for_a_person: bool
    prompts_per_step: int
    responses_per_step: int
    optimizer_updates_per_step: int
    most_tokens: int
    at_start: StepSetting
    at_end: StepSetting
    rollout_replicas: int
    rollout_gpus: int


def forecast_phases(job: ReasoningRLJob) -> tuple[PhaseForecast, ...]:
    spec = job.spec
    algorithm = spec.algorithm
    forecasts: list[PhaseForecast] = []
    first, exact = 0, True
    for index, phase in enumerate(spec.phases):
        length = phase.until.steps or phase.until.max_steps or 1
        prompts = algorithm.prompts_per_step if phase.prompts_per_step is None else phase.prompts_per_step
        responses = prompts * algorithm.rollouts_per_prompt
        # A phase that waits for a person begins when the person says so: the phase before has no bound then.
        exact = exact and (index == 0 or phase.advance == "Auto")
        replicas, gpus = rollout_shape(job, phase)
        forecasts.append(
            PhaseForecast(
                name=phase.name,
                max_response_tokens=phase.max_response_tokens,
                first_step=first,
                last_step=first + length - 1,
                exact=exact,
                ends=end_sentences(phase.until),
                waits_for_a_person=phase.advance == "Manual",
                prompts_per_step=prompts,
                responses_per_step=responses,
                optimizer_updates_per_step=algorithm.updates_per_step * algorithm.epochs,
                most_tokens=responses * (spec.prompt.max_tokens + phase.max_response_tokens),
                at_start=_setting(job, index, phase_step=0, global_step=first),
                at_end=_setting(job, index, phase_step=length - 1, global_step=first + length - 1),
                rollout_replicas=replicas,
                rollout_gpus=gpus,
            )
        )
        exact = exact and len(end_sentences(phase.until)) == 1
        first += length
    return tuple(forecasts)


def rollout_shape(job: ReasoningRLJob, phase: PhaseSpec) -> tuple[int, int]:
    """Rollout engines in this phase, and GPUs of each."""
    rollout, own = job.spec.rollout, phase.rollout
    replicas = rollout.replicas if own is None or own.replicas is None else own.replicas
    return replicas, rollout.gpus_per_replica if own is None or own.gpus_per_replica is None else own.gpus_per_replica


def end_sentences(until: UntilSpec) -> tuple[str, ...]:
    """What ends a phase; whichever comes first."""
    found: list[str] = []
    if until.steps is not None:
        found.append(f"after {until.steps} steps")
    if until.truncated_share is not None:
        found.append(
            f"when more than {until.truncated_share.above:.3g} of the responses are truncated for {until.truncated_share.for_steps} steps"
        )
    if until.response_length is not None:
        length = until.response_length
        found.append(f"when percentile {length.percentile:g} of the lengths is above {length.above} tokens for {length.for_steps} steps")
    if until.accuracy_plateau is not None:
        found.append(f"when accuracy gains less than {until.accuracy_plateau.min_gain:g} over {until.accuracy_plateau.window} steps")
    if until.length_plateau is not None:
        found.append(
            f"when mean length gains less than {until.length_plateau.min_gain:.3g} of itself over {until.length_plateau.window} steps"
        )
    if until.max_steps is not None:
        found.append(f"after {until.max_steps} steps at the latest")
    return tuple(found)


def _setting(job: ReasoningRLJob, index: int, *, phase_step: int, global_step: int) -> StepSetting:
    return setting_at(job, phase_index=index, phase_step=phase_step, global_step=global_step, adaptive_kl=None, adaptive_entropy=None)
