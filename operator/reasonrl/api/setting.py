"""What holds in one step. The whole of a run's schedule is this one total function of where the run stands, so a resumed run cannot
start a schedule anew."""

from __future__ import annotations

from dataclasses import dataclass

from reasonrl.api.job import ReasoningRLJob
from reasonrl.api.schedules import kl_coefficient_at, learning_rate_at


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSetting:
    """`phase_step` counts from 0 within the phase, `global_step` from 0 within the run."""

    phase_index: int
    phase_name: str
    phase_step: int
    global_step: int
    max_response_tokens: int
    temperature: float
    kl_coefficient: float
    learning_rate: float
    entropy_coefficient: float
    clip_low: float
    clip_high: float
    prompts_per_step: int


def setting_at(
    job: ReasoningRLJob,
    *,
    phase_index: int,
    phase_step: int,
    global_step: int,
    adaptive_kl: float | None,
    adaptive_entropy: float | None,
) -> StepSetting:
    """The setting of one step. The adaptive coefficients are state of the run; None is their start. Raises IndexError for a phase that
    the job does not have."""
    if phase_index < 0:
        raise IndexError(f"phase {phase_index}: phases count from 0")
    spec = job.spec
    algorithm, phase = spec.algorithm, spec.phases[phase_index]
    entropy = algorithm.entropy
    return StepSetting(
        phase_index=phase_index,
        phase_name=phase.name,
        phase_step=phase_step,
        global_step=global_step,
        max_response_tokens=phase.max_response_tokens,
        temperature=spec.rollout.temperature if phase.temperature is None else phase.temperature,
        kl_coefficient=kl_coefficient_at(
            None if algorithm.kl is None else algorithm.kl.schedule,
            phase.kl_schedule,
            phase_step=phase_step,
            global_step=global_step,
            adaptive=adaptive_kl,
        ),
        learning_rate=learning_rate_at(
            algorithm.optimizer,
            peak=algorithm.optimizer.learning_rate if phase.learning_rate is None else phase.learning_rate,
            global_step=global_step,
        ),
        entropy_coefficient=entropy.coefficient if entropy.target is None or adaptive_entropy is None else adaptive_entropy,
        clip_low=algorithm.loss.clip_low if phase.clip_low is None else phase.clip_low,
        clip_high=algorithm.loss.clip_high if phase.clip_high is None else phase.clip_high,
        prompts_per_step=algorithm.prompts_per_step if phase.prompts_per_step is None else phase.prompts_per_step,
    )
