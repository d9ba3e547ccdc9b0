"""The metrics of one run for Prometheus: every name with its type, labels and meaning, and how a step's record sets them.

Names have base units and labels have few values; the job's name is not among them, because the scrape adds it. A gauge of something
that the step could not measure is NaN, never the value of a step before: alerts must not fire, or stay quiet, on what is no longer so.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary
from prometheus_client.metrics_core import Metric

from reasonrl.api.run_files import EvaluationMetrics, Event, StepMetrics, WarmStartMetrics
from reasonrl.api.run_status import HealthSignal

LENGTH_BUCKETS = tuple(float(2**power) for power in range(4, 18))
"""16 to 131,072 tokens in powers of two."""
STALENESS_BUCKETS = (0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 16.0)
SYNC_BUCKETS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
LENGTH_OUTCOMES = ("correct", "incorrect", "truncated", "unscored")
ENGINE_STATES = ("joining", "live", "lost")
SEVERITIES = ("ok", "warning", "critical")
SCORING_OUTCOMES = ("value", "error", "timeout", "unscorable")


@dataclass(frozen=True, slots=True)
class Definition:
    """One metric as Prometheus sees it; `name` without the `_total` that the exposition adds to a counter."""

    name: str
    type: Literal["gauge", "counter", "histogram", "summary"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


DEFINITIONS = (
    Definition("reasonrl_step", "gauge", "Global step that was finished last, from 0."),
    Definition("reasonrl_last_step_timestamp_seconds", "gauge", "Unix time at which the last step ended."),
    Definition(
        "reasonrl_phase_info",
        "gauge",
        "1 for the phase of the last step; max_response_tokens is its limit.",
        ("phase", "index", "max_response_tokens"),
    ),
    Definition("reasonrl_phase_steps", "gauge", "Steps done in the phase of the last step."),
    Definition("reasonrl_sampling_temperature", "gauge", "Sampling temperature of the last step (not a temperature in degrees)."),
    Definition("reasonrl_learning_rate", "gauge", "Learning rate of the last step."),
    Definition("reasonrl_reward", "gauge", "Mean combined reward of the last step; NaN when no response could be scored."),
    Definition("reasonrl_reward_standard_deviation", "gauge", "Standard deviation of the combined reward over the last step."),
    Definition("reasonrl_reward_component", "gauge", "Mean value of one reward component over the last step.", ("component",)),
    Definition("reasonrl_accuracy_ratio", "gauge", "Share of the last step's scored responses with a right answer."),
    Definition("reasonrl_scoring_attempts", "counter", "Attempts to score a response, by what became of them.", ("outcome",)),
    Definition(
        "reasonrl_response_length_tokens",
        "histogram",
        "Response lengths; truncated ones are not counted again as correct or incorrect.",
        ("outcome",),
        LENGTH_BUCKETS,
    ),
    Definition("reasonrl_response_length_mean_tokens", "gauge", "Mean response length of the last step."),
    Definition("reasonrl_response_length_p95_tokens", "gauge", "95th percentile of the response length of the last step."),
    Definition("reasonrl_truncated_ratio", "gauge", "Share of the last step's responses that the phase's limit cut."),
    Definition("reasonrl_completed_ratio", "gauge", "Share of the last step's responses that ended by themselves."),
    Definition("reasonrl_group_all_right_ratio", "gauge", "Share of the last step's groups in which every response is right."),
    Definition("reasonrl_group_all_wrong_ratio", "gauge", "Share of the last step's groups in which no response is right."),
    Definition("reasonrl_responses", "counter", "Responses sampled for training."),
    Definition("reasonrl_kept_responses", "counter", "Responses that took part in the gradient."),
    Definition(
        "reasonrl_selection_kept_responses", "gauge", "Responses of the last step in the gradient after each selection rule.", ("rule",)
    ),
    Definition("reasonrl_selection_dropped_responses", "counter", "Responses that a selection rule took out of the gradient.", ("rule",)),
    Definition("reasonrl_empty_questions", "gauge", "Questions of the last step's batch without a response in the gradient."),
    Definition("reasonrl_refills", "counter", "Times that a step sampled new questions in place of those that taught nothing."),
    Definition("reasonrl_replaced_questions", "counter", "Questions that taught nothing and were replaced by new ones."),
    Definition("reasonrl_skipped_updates", "counter", "Optimizer updates left out because nothing was left to learn from."),
    Definition("reasonrl_tokens", "counter", "Tokens of training prompts and responses.", ("type",)),
    Definition("reasonrl_tokens_per_second", "gauge", "Response tokens a second over the whole last step."),
    Definition("reasonrl_kl_nats", "gauge", "KL from policy to reference by estimator: k1, k2, k3.", ("estimator",)),
    Definition("reasonrl_kl_coefficient", "gauge", "KL coefficient of the last step."),
    Definition("reasonrl_entropy_nats", "gauge", "Mean entropy of the policy over response tokens."),
    Definition("reasonrl_entropy_coefficient", "gauge", "Entropy coefficient of the last step."),
    Definition("reasonrl_clipped_tokens_ratio", "gauge", "Clip fraction: share of tokens whose policy ratio was clipped."),
    Definition("reasonrl_gradient_norm", "gauge", "Gradient norm before clipping."),
    Definition("reasonrl_loss", "gauge", "Loss of the last step."),
    Definition("reasonrl_sampler_gap_nats", "gauge", "Mean absolute gap between the trainer's and the sampler's log-prob of a token."),
    Definition("reasonrl_sampler_gap_max_nats", "gauge", "Greatest absolute gap between the trainer's and the sampler's log-prob."),
    Definition("reasonrl_staleness_steps", "gauge", "Age of the oldest weights that sampled a response of the last step."),
    Definition(
        "reasonrl_response_staleness_steps",
        "histogram",
        "Age of the weights that sampled a response, when it took part in an update.",
        (),
        STALENESS_BUCKETS,
    ),
    Definition("reasonrl_reflection_responses_ratio", "gauge", "Share of responses with a reflection keyword, by category.", ("category",)),
    Definition("reasonrl_reflection_keywords_per_token", "gauge", "Reflection keywords per response token, by category.", ("category",)),
    Definition("reasonrl_repetitive_responses_ratio", "gauge", "Share of the last step's responses that loop or repeat their paragraphs."),
    Definition("reasonrl_duplicate_paragraphs", "gauge", "Paragraphs that stood in the response before, a response, in the last step."),
    Definition("reasonrl_repeated_ngrams_ratio", "gauge", "Share of a response's 4-grams of tokens that it had already."),
    Definition("reasonrl_distinct_ngrams_ratio", "gauge", "Share of different 4-grams of tokens among the responses to a question."),
    Definition("reasonrl_stage_seconds", "summary", "Seconds of each stage of a step; total is the whole step.", ("stage",)),
    Definition("reasonrl_weight_sync_seconds", "histogram", "Seconds to hand new weights to the rollout engines.", (), SYNC_BUCKETS),
    Definition("reasonrl_weight_sync_bytes", "gauge", "Size of the weights that were handed to each engine last."),
    Definition("reasonrl_rollout_engines", "gauge", "Rollout engines of the run by state.", ("state",)),
    Definition("reasonrl_rollout_requeued_tasks", "counter", "Rollout tasks that went back to the queue because their engine was lost."),
    Definition("reasonrl_recoveries", "counter", "Times that a lost part of the run was replaced, by part.", ("component",)),
    Definition("reasonrl_health_severity", "gauge", "Health signals of the run: 0 is ok, 1 a warning, 2 critical.", ("signal",)),
    Definition("reasonrl_reference_resets", "counter", "Times that the reference became a copy of the policy."),
    Definition("reasonrl_checkpoints", "counter", "Checkpoints that this process saved."),
    Definition("reasonrl_last_checkpoint_timestamp_seconds", "gauge", "Unix time at which the last checkpoint was saved."),
    Definition("reasonrl_events", "counter", "Events of the run by reason, as in events.jsonl.", ("reason",)),
    Definition("reasonrl_evaluation_accuracy_ratio", "gauge", "Accuracy (avg@k) on a benchmark at its last evaluation.", ("benchmark",)),
    Definition("reasonrl_evaluation_accuracy_error_ratio", "gauge", "Standard error of that accuracy over questions.", ("benchmark",)),
    Definition("reasonrl_evaluation_response_length_tokens", "gauge", "Mean response length at the last evaluation.", ("benchmark",)),
    Definition("reasonrl_evaluation_truncated_ratio", "gauge", "Share of truncated answers at the last evaluation.", ("benchmark",)),
    Definition("reasonrl_evaluation_step", "gauge", "Optimizer steps done before the last evaluation.", ("benchmark",)),
    Definition("reasonrl_warm_start_step", "gauge", "Step of the supervised warm start that was logged last."),
    Definition("reasonrl_warm_start_loss", "gauge", "Loss of the supervised warm start."),
)


class RunMetrics:
    """The metrics of one run, in a registry of its own. It is a collector itself: the same without `_created` series. A scrape sees
    all of a step or nothing of it."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._lock = threading.Lock()
        self._gauges: dict[str, Gauge] = {}
        self._counters: dict[str, Counter] = {}
        self._histograms: dict[str, Histogram] = {}
        self._summaries: dict[str, Summary] = {}
        for each in DEFINITIONS:
            match each.type:
                case "gauge":
                    gauge = self._gauges[each.name] = Gauge(each.name, each.help, each.labels, registry=registry)
                    if not each.labels:
                        gauge.set(math.nan)
                case "counter":
                    self._counters[each.name] = Counter(each.name, each.help, each.labels, registry=registry)
                case "histogram":
                    histogram = Histogram(each.name, each.help, each.labels, registry=registry, buckets=each.buckets)
                    self._histograms[each.name] = histogram
                case "summary":
                    self._summaries[each.name] = Summary(each.name, each.help, each.labels, registry=registry)
        for outcome in LENGTH_OUTCOMES:
            self._histograms["reasonrl_response_length_tokens"].labels(outcome)
        for outcome in SCORING_OUTCOMES:
            self._counters["reasonrl_scoring_attempts"].labels(outcome)
        self._reference_resets = 0
        self._registry = registry

    def collect(self) -> Iterable[Metric]:
        with self._lock:
            metrics = list(self._registry.collect())
        for metric in metrics:
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
        return metrics

    def record(self, record: StepMetrics | EvaluationMetrics | WarmStartMetrics | Event) -> None:
        with self._lock:
            match record:
                case StepMetrics():
                    self._record_step(record)
                case EvaluationMetrics():
                    self._record_evaluation(record)
                case WarmStartMetrics():
                    self._set(warm_start_step=record.step, warm_start_loss=record.loss)
                case Event():
                    self._counters["reasonrl_events"].labels(record.reason).inc()
                    if record.reason == "CheckpointSaved":
                        self._counters["reasonrl_checkpoints"].inc()
                        self._set(last_checkpoint_timestamp_seconds=record.time)

    def rollout_engines(self, counts: Mapping[str, int]) -> None:
        """How many there are now, by state; a state that is not named has none."""
        with self._lock:
            self._set_each("rollout_engines", {**dict.fromkeys(ENGINE_STATES, 0), **counts})

    def requeued_tasks(self, count: int) -> None:
        with self._lock:
            self._counters["reasonrl_rollout_requeued_tasks"].inc(count)

    def weights_sent(self, size_bytes: int) -> None:
        with self._lock:
            self._set(weight_sync_bytes=size_bytes)

    def response_ages(self, ages: Iterable[int]) -> None:
        """In steps, one for each response of an update."""
        with self._lock:
            for age in ages:
                self._histograms["reasonrl_response_staleness_steps"].observe(age)

    def recovered(self, component: str) -> None:
        with self._lock:
            self._counters["reasonrl_recoveries"].labels(component).inc()

    def health(self, signals: Iterable[HealthSignal]) -> None:
        with self._lock:
            self._set_each("health_severity", {each.signal: SEVERITIES.index(each.state) for each in signals})

    def _record_step(self, step: StepMetrics) -> None:
        self._set(
            step=step.step,
            last_step_timestamp_seconds=step.time,
            phase_steps=step.phase_step + 1,
            sampling_temperature=step.temperature,
            learning_rate=step.learning_rate,
            reward=step.reward_mean,
            reward_standard_deviation=step.reward_std,
            accuracy_ratio=step.accuracy,
            response_length_mean_tokens=step.response_length_mean,
            response_length_p95_tokens=step.response_length_p95,
            truncated_ratio=step.truncated_share,
            completed_ratio=step.completed_share,
            group_all_right_ratio=step.all_right_share,
            group_all_wrong_ratio=step.all_wrong_share,
            tokens_per_second=step.tokens_per_second,
            kl_coefficient=step.kl_coefficient,
            entropy_nats=step.entropy,
            entropy_coefficient=step.entropy_coefficient,
            clipped_tokens_ratio=step.clip_fraction,
            gradient_norm=step.gradient_norm,
            loss=step.loss,
            sampler_gap_nats=step.sampler_gap_mean,
            sampler_gap_max_nats=step.sampler_gap_max,
            staleness_steps=step.staleness_max,
            repetitive_responses_ratio=step.repetitive_share,
            duplicate_paragraphs=step.duplicate_paragraphs,
            repeated_ngrams_ratio=step.repeated_ngrams,
            distinct_ngrams_ratio=step.distinct_ngrams,
            empty_questions=step.empty_questions,
        )
        self._set_each("selection_kept_responses", step.selection_kept)
        for rule, dropped in step.selection_dropped.items():
            self._counters["reasonrl_selection_dropped_responses"].labels(rule).inc(dropped)
        self._counters["reasonrl_refills"].inc(step.refills)
        self._counters["reasonrl_replaced_questions"].inc(step.replaced_questions)
        self._counters["reasonrl_skipped_updates"].inc(step.skipped_updates)
        phase = self._gauges["reasonrl_phase_info"]
        phase.clear()
        phase.labels(step.phase, str(step.phase_index), str(step.max_response_tokens)).set(1)
        self._set_each("reward_component", step.reward_components)
        self._set_each("kl_nats", {"k1": step.kl_k1, "k2": step.kl_k2, "k3": step.kl_k3})
        self._set_each("reflection_responses_ratio", step.reflection_share)
        self._set_each("reflection_keywords_per_token", {name: hits / 1000 for name, hits in step.reflection_per_1000_tokens.items()})
        for outcome, count in step.outcomes.items():
            self._counters["reasonrl_scoring_attempts"].labels(outcome).inc(count)
        for outcome, lengths in step.lengths_by_outcome.items():
            histogram = self._histograms["reasonrl_response_length_tokens"].labels(outcome)
            for length in lengths:
                histogram.observe(length)
        self._counters["reasonrl_responses"].inc(step.responses)
        self._counters["reasonrl_kept_responses"].inc(step.kept_responses)
        self._counters["reasonrl_tokens"].labels("prompt").inc(step.prompt_tokens)
        self._counters["reasonrl_tokens"].labels("response").inc(step.response_tokens)
        self._counters["reasonrl_reference_resets"].inc(max(0, step.reference_resets - self._reference_resets))
        self._reference_resets = step.reference_resets
        for stage, seconds in step.seconds.items():
            self._summaries["reasonrl_stage_seconds"].labels(stage).observe(seconds)
        if "weight_sync" in step.seconds:
            self._histograms["reasonrl_weight_sync_seconds"].observe(step.seconds["weight_sync"])

    def _record_evaluation(self, record: EvaluationMetrics) -> None:
        benchmark = record.benchmark
        self._gauges["reasonrl_evaluation_accuracy_ratio"].labels(benchmark).set(record.accuracy)
        self._gauges["reasonrl_evaluation_accuracy_error_ratio"].labels(benchmark).set(record.accuracy_error)
        self._gauges["reasonrl_evaluation_response_length_tokens"].labels(benchmark).set(record.response_length_mean)
        self._gauges["reasonrl_evaluation_truncated_ratio"].labels(benchmark).set(record.truncated_share)
        self._gauges["reasonrl_evaluation_step"].labels(benchmark).set(record.step)

    def _set(self, **values: float | None) -> None:
        for name, value in values.items():
            self._gauges[f"reasonrl_{name}"].set(math.nan if value is None else value)

    def _set_each(self, name: str, values: Mapping[str, float | None]) -> None:
        """Sets one gauge for each label; a label that this step does not have disappears."""
        gauge = self._gauges[f"reasonrl_{name}"]
        gauge.clear()
        for label, value in values.items():
            if value is not None:
                gauge.labels(label).set(value)
