"""Rules of spec.phases."""

from __future__ import annotations

from collections.abc import Iterator

from reasonrl.api.job import JobSpec
from reasonrl.api.phase_spec import PhaseSpec
from reasonrl.api.problems import Problem
from reasonrl.api.schedule_spec import AdaptiveSchedule, PiecewiseSchedule
from reasonrl.api.validation.algorithm import indivisible, piecewise_problems
from reasonrl.api.validation.rewards import has_answer


def phase_problems(spec: JobSpec) -> Iterator[Problem]:
    for index, phase in enumerate(spec.phases):
        path = f"spec.phases[{index}]"
        earlier = spec.phases[:index]
        if any(phase.name == other.name for other in earlier):
            yield Problem(f"{path}.name", phase.name, "two phases have this name; their metrics could not be told apart")
        if earlier and phase.max_response_tokens < earlier[-1].max_response_tokens and not phase.allow_shrink:
            yield Problem(
                f"{path}.maxResponseTokens",
                phase.max_response_tokens,
                f"is less than {earlier[-1].max_response_tokens}, that of the phase before ({earlier[-1].name}); put the phases in order, "
                f"or set "
                "allowShrink: true if it is meant",
            )
        if phase.advance == "Manual" and not earlier:
            yield Problem(
                f"{path}.advance", "Manual", "the first phase begins at once: no phase before it could train until a person lets it begin"
            )
        if phase.prompts_per_step is not None:
            yield from indivisible(f"{path}.promptsPerStep", prompts=phase.prompts_per_step, updates=spec.algorithm.updates_per_step)
        yield from _kl(path, phase, spec)
        yield from _until(path, phase, spec)
        if phase.clip_low is not None and spec.algorithm.loss.type == "cispo":
            yield Problem(f"{path}.clipLow", phase.clip_low, "cispo has no lower bound; remove it")


def _kl(path: str, phase: PhaseSpec, spec: JobSpec) -> Iterator[Problem]:
    if phase.kl_schedule is None:
        return
    kl = spec.algorithm.kl
    if kl is None:
        yield Problem(
            f"{path}.klSchedule",
            phase.kl_schedule.type,
            "KL is off in this job; give spec.algorithm.kl (with schedule: {type: constant, value: 0.0} for the other phases), or remove "
            "it",
        )
    elif isinstance(kl.schedule, AdaptiveSchedule):
        yield Problem(
            f"{path}.klSchedule",
            phase.kl_schedule.type,
            "an adaptive KL coefficient follows what it measures through the whole run, and a phase cannot interrupt it; remove one of "
            "the two",
        )
    if isinstance(phase.kl_schedule, PiecewiseSchedule):
        yield from piecewise_problems(f"{path}.klSchedule", phase.kl_schedule)


def _until(path: str, phase: PhaseSpec, spec: JobSpec) -> Iterator[Problem]:
    until = phase.until
    path = f"{path}.until"
    if until.steps is None and until.max_steps is None:
        yield Problem(path, None, f"phase {phase.name} might never end; give steps, or maxSteps beside its other triggers")
        return
    if until.steps is not None and until.max_steps is not None:
        yield Problem(f"{path}.maxSteps", until.max_steps, f"steps: {until.steps} ends the phase already; keep one of them")
        return
    bound = until.steps or until.max_steps or 0
    needed: dict[str, int] = {}
    if until.truncated_share is not None:
        needed["truncatedShare.forSteps"] = until.truncated_share.for_steps
        if until.truncated_share.above >= 1.0:
            yield Problem(f"{path}.truncatedShare.above", until.truncated_share.above, "a share is never above 1; use a share such as 0.06")
    if until.response_length is not None:
        needed["responseLength.forSteps"] = until.response_length.for_steps
        if until.response_length.above >= phase.max_response_tokens:
            yield Problem(
                f"{path}.responseLength.above",
                until.response_length.above,
                f"no response of this phase is longer than maxResponseTokens ({phase.max_response_tokens}), so this never happens; lower "
                f"it",
            )
    if until.accuracy_plateau is not None:
        needed["accuracyPlateau.window"] = 2 * until.accuracy_plateau.window
        if not has_answer(spec):
            yield Problem(
                f"{path}.accuracyPlateau", None, "accuracy is the verdict of the answer reward, which this job has not; add {type: answer}"
            )
    if until.length_plateau is not None:
        needed["lengthPlateau.window"] = 2 * until.length_plateau.window
    for name, steps in needed.items():
        if steps >= bound:
            twice = " (it compares two windows)" if name.endswith("window") else ""
            yield Problem(
                f"{path}.{name}",
                steps // 2 if twice else steps,
                f"needs {steps} steps{twice}, and the phase ends after {bound} anyway; lower it",
            )
