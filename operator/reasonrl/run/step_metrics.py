"""One step's record, from what the loop has in hand when the step is done."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reasonrl.api.run_files import StepMetrics
from reasonrl.api.setting import StepSetting
from reasonrl.rl.length_statistics import length_statistics
from reasonrl.rl.records import GradedGroup, Outcome
from reasonrl.rl.reflection import reflection_statistics
from reasonrl.rl.repetition import repetition_statistics
from reasonrl.run.learning_batch import LearningBatch
from reasonrl.train.protocol import UpdateStats


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """`graded` is everything that was sampled, questions that were replaced included: what is learnt from is chosen, what is measured is
    not. `seconds` by stage of the step; `reference_resets` up to and without this step."""

    step: int
    setting: StepSetting
    graded: Sequence[GradedGroup]
    batch: LearningBatch
    stats: UpdateStats
    seconds: Mapping[str, float]
    reference_resets: int
    refills: int = 0
    replaced_questions: int = 0


def step_metrics(result: StepResult) -> StepMetrics:
    setting, stats, kl = result.setting, result.stats, result.batch.kl
    lengths = length_statistics(result.graded)
    responses = [response for each in result.graded for response in each.group.responses]
    grades = [grade for each in result.graded for grade in each.grades]
    rewards = [grade.reward for grade in grades if grade.reward is not None]
    response_tokens = sum(int(response.tokens.numel()) for response in responses)
    reflection = reflection_statistics([response.text for response in responses], response_tokens=response_tokens)
    repetition = repetition_statistics(
        [[(response.tokens.cpu().numpy(), response.text) for response in each.group.responses] for each in result.graded]
    )
    learnt = stats.tokens > 0
    return StepMetrics(
        step=result.step,
        time=time.time(),
        phase=setting.phase_name,
        phase_index=setting.phase_index,
        phase_step=setting.phase_step,
        max_response_tokens=setting.max_response_tokens,
        temperature=setting.temperature,
        kl_coefficient=setting.kl_coefficient,
        learning_rate=setting.learning_rate,
        entropy_coefficient=setting.entropy_coefficient,
        reward_mean=statistics.fmean(rewards) if rewards else None,
        reward_std=statistics.pstdev(rewards) if rewards else None,
        reward_components=_component_means(result.graded),
        outcomes=_outcomes(result.graded),
        accuracy=lengths.accuracy,
        response_length_mean=lengths.every.mean or 0.0,
        response_length_p50=lengths.every.p50 or 0.0,
        response_length_p95=lengths.every.p95 or 0.0,
        response_length_max=lengths.every.maximum,
        correct_length_mean=lengths.correct.mean,
        incorrect_length_mean=lengths.incorrect.mean,
        lengths_by_outcome={str(outcome): found for outcome, found in lengths.by_outcome.items()},
        truncated_share=lengths.truncated_share,
        completed_share=lengths.completed_share,
        all_right_share=lengths.all_right_share,
        all_wrong_share=lengths.all_wrong_share,
        kept_responses=result.batch.kept_responses,
        responses=len(responses),
        selection_kept=dict(result.batch.kept),
        selection_dropped=dict(result.batch.dropped),
        empty_questions=result.batch.empty_questions,
        refills=result.refills,
        replaced_questions=result.replaced_questions,
        skipped_updates=result.batch.skipped_updates,
        entropy=stats.entropy if learnt else None,
        clip_fraction=stats.clip_fraction if learnt else None,
        gradient_norm=stats.gradient_norm if stats.updates else None,
        loss=stats.loss if stats.updates else None,
        kl_k1=kl["k1"] if kl else None,
        kl_k2=kl["k2"] if kl else None,
        kl_k3=kl["k3"] if kl else None,
        sampler_gap_mean=stats.sampler_gap_mean if learnt else None,
        sampler_gap_max=stats.sampler_gap_max if learnt else None,
        staleness_max=max(result.step - response.weight_version for response in responses),
        reflection_share=reflection.share,
        reflection_per_1000_tokens=reflection.per_1000_tokens,
        repetitive_share=repetition.repetitive_share,
        duplicate_paragraphs=repetition.duplicate_paragraphs,
        repeated_ngrams=repetition.repeated_ngrams,
        distinct_ngrams=repetition.distinct_ngrams,
        prompt_tokens=sum(len(each.group.prompt.tokens) for each in result.graded),
        response_tokens=response_tokens,
        tokens_per_second=response_tokens / result.seconds["total"],
        seconds=dict(result.seconds),
        reference_resets=result.reference_resets,
    )


def _component_means(graded: Sequence[GradedGroup]) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for each in graded:
        for grade in each.grades:
            for score in grade.scores:
                if score.value is not None:
                    values.setdefault(score.component, []).append(score.value)
    return {component: statistics.fmean(found) for component, found in values.items()}


def _outcomes(graded: Sequence[GradedGroup]) -> dict[str, int]:
    counts = Counter(score.outcome for each in graded for grade in each.grades for score in grade.scores)
    return {outcome.value: counts[outcome] for outcome in Outcome}
