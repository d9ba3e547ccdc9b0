"""Which curves a report draws: the ones that the authors of STILL-3 watched (Fig. 1, 3, 4 and 9 of arXiv 2503.04548), and those that
tell a sick run from a hard problem.

Each is a plain value: what it is called, its unit, and how to read it from the record of one step. How it is drawn is not said here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from reasonrl.api.run_files import StepMetrics

Jump = Literal["phase", "reference reset"]
PERCENT, TOKENS, NUMBER, SMALL = ".1%", ",.0f", ".3f", ".3~g"
"""How a value is written when the reader points at it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """`shown` false: drawn only when the reader asks, or the picture would be crowded. `scheduled`: set, not measured, so there is no
    noise to smooth away."""

    name: str
    value: Callable[[StepMetrics], float | None]
    second_axis: bool = False
    shown: bool = True
    scheduled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """One picture over training steps. `caption` says how to read it. `jumps`: where the curves break off for a known reason, so that a
    mean across the break would show what never was."""

    id: str
    section: str
    title: str
    unit: str
    caption: str
    series: Sequence[Series]
    format: str = NUMBER
    second_unit: str = ""
    jumps: Jump | None = None
    log_scale: bool = False


LEARNING, LENGTH, POLICY, REFLECTION, MACHINE = "Learning", "Length", "Policy", "Reflection", "Engine room"
SECTIONS = (LEARNING, LENGTH, POLICY, REFLECTION, MACHINE)


def curves_of(steps: Sequence[StepMetrics]) -> list[Curves]:
    """The curves worth drawing for these steps, of one run or several: those that some step has a value for."""
    chosen = [*_learning(steps), *_length(), *_policy(steps), *_reflection(steps), *_machine(steps)]
    return [curves for curves in chosen if any(series.value(step) is not None for series in curves.series for step in steps)]


def _learning(steps: Sequence[StepMetrics]) -> Iterable[Curves]:
    yield Curves(
        id="reward",
        section=LEARNING,
        title="Training reward",
        unit="reward",
        caption="Mean combined reward of the step's responses that could be scored.",
        series=[Series(name="mean", value=lambda step: step.reward_mean)],
    )
    yield Curves(
        id="accuracy",
        section=LEARNING,
        title="Training accuracy",
        unit="share of responses",
        caption="Share of right answers to the step's training questions. Each step has other questions.",
        format=PERCENT,
        series=[Series(name="accuracy", value=lambda step: step.accuracy)],
    )
    components = _names(step.reward_components for step in steps)
    if len(components) > 1:
        yield Curves(
            id="reward-components",
            section=LEARNING,
            title="Reward by component",
            unit="mean value",
            caption="Before weights and gates.",
            series=[Series(name=name, value=_entry("reward_components", name)) for name in components],
        )
    yield Curves(
        id="groups",
        section=LEARNING,
        title="Groups that teach nothing",
        unit="share of groups",
        caption="All right: the question is too easy; all wrong: too hard. Either way the group's advantages are zero.",
        format=PERCENT,
        series=[
            Series(name="all right", value=lambda step: step.all_right_share),
            Series(name="all wrong", value=lambda step: step.all_wrong_share),
        ],
    )
    if any(step.kept_responses < step.responses for step in steps):
        yield Curves(
            id="selection",
            section=LEARNING,
            title="Left by each rule",
            unit="share of responses",
            caption="Of the responses of the batch, those in the gradient after each selection rule, in order.",
            format=PERCENT,
            series=[
                Series(name=name, value=_kept_share(name)) for name in _names(step.selection_kept for step in steps) if name != "unscored"
            ],
        )
        yield Curves(
            id="kept",
            section=LEARNING,
            title="Responses in the gradient",
            unit="share of responses",
            caption="What selection and scoring left over of everything that was sampled.",
            format=PERCENT,
            series=[Series(name="kept", value=lambda step: step.kept_responses / step.responses if step.responses else None)],
        )

    if any(step.refills for step in steps):
        yield Curves(
            id="refills",
            section=LEARNING,
            title="Questions sampled again",
            unit="questions",
            caption="Replaced: taught nothing, and others were sampled in their place. Empty: still lacking after the last refill.",
            format=TOKENS,
            series=[
                Series(name="replaced", value=lambda step: step.replaced_questions),
                Series(name="empty", value=lambda step: step.empty_questions),
            ],
        )


def _length() -> Iterable[Curves]:
    yield Curves(
        id="length",
        section=LENGTH,
        jumps="phase",
        title="Response length",
        unit="tokens",
        caption="When the 95th percentile lies at the limit, the limit is what it measures.",
        format=TOKENS,
        series=[
            Series(name="mean", value=lambda step: step.response_length_mean),
            Series(name="95th percentile", value=lambda step: step.response_length_p95),
            Series(name="limit of the phase", value=lambda step: step.max_response_tokens, shown=False, scheduled=True),
        ],
    )
    yield Curves(
        id="length-by-correctness",
        section=LENGTH,
        jumps="phase",
        title="Length of right and wrong answers",
        unit="tokens",
        caption="Mean length. Wrong answers that grow apart from right ones are a sign of rambling.",
        format=TOKENS,
        series=[
            Series(name="right", value=lambda step: step.correct_length_mean),
            Series(name="wrong", value=lambda step: step.incorrect_length_mean),
        ],
    )
    yield Curves(
        id="completed",
        section=LENGTH,
        jumps="phase",
        title="Completed and truncated",
        unit="share of responses",
        caption="Completed: the policy ended the answer itself. Truncated: the phase's limit cut it.",
        format=PERCENT,
        series=[
            Series(name="completed", value=lambda step: step.completed_share),
            Series(name="truncated", value=lambda step: step.truncated_share),
        ],
    )
    yield Curves(
        id="repetition",
        section=LENGTH,
        title="Responses that repeat themselves",
        unit="share",
        caption="Repetitive: ends in a loop, or most paragraphs stood in it before. Repeated 4-grams: of tokens, within a response.",
        format=PERCENT,
        series=[
            Series(name="repetitive responses", value=lambda step: step.repetitive_share),
            Series(name="repeated 4-grams", value=lambda step: step.repeated_ngrams),
        ],
    )


def _policy(steps: Sequence[StepMetrics]) -> Iterable[Curves]:
    if any(value is not None for step in steps for value in (step.kl_k1, step.kl_k2, step.kl_k3)):
        yield Curves(
            id="kl",
            section=POLICY,
            jumps="reference reset",
            title="KL to the reference",
            unit="nats a token",
            caption="Three estimators of the same distance; a reset of the reference brings it back to zero.",
            format=SMALL,
            second_unit="KL coefficient",
            series=[
                Series(name="k3", value=lambda step: step.kl_k3),
                Series(name="k1", value=lambda step: step.kl_k1),
                Series(name="k2", value=lambda step: step.kl_k2, shown=False),
                Series(name="KL coefficient (right axis)", value=lambda step: step.kl_coefficient, second_axis=True, scheduled=True),
            ],
        )
    yield Curves(
        id="entropy",
        section=POLICY,
        title="Entropy",
        unit="nats a token",
        caption="A fall towards zero ends exploration.",
        series=[Series(name="entropy", value=lambda step: step.entropy)],
    )
    yield Curves(
        id="distinct-ngrams",
        section=POLICY,
        title="Distinct 4-grams",
        unit="share of 4-grams",
        caption="Different 4-grams of tokens among all responses to a question. A fall: the policy writes one answer many times.",
        format=PERCENT,
        series=[Series(name="distinct", value=lambda step: step.distinct_ngrams)],
    )
    yield Curves(
        id="gradient-norm",
        section=POLICY,
        title="Gradient norm",
        unit="norm",
        caption="Before clipping.",
        format=SMALL,
        series=[Series(name="gradient norm", value=lambda step: step.gradient_norm)],
    )
    yield Curves(
        id="clip-fraction",
        section=POLICY,
        title="Clip fraction",
        unit="share of tokens",
        caption="Tokens whose policy ratio the loss clipped. Zero when each step makes one update on its own responses.",
        format=".2%",
        series=[Series(name="clip fraction", value=lambda step: step.clip_fraction)],
    )
    yield from _schedule("learning-rate", "Learning rate", lambda step: step.learning_rate, steps)
    yield from _schedule("temperature", "Sampling temperature", lambda step: step.temperature, steps)
    yield from _schedule("entropy-coefficient", "Entropy coefficient", lambda step: step.entropy_coefficient, steps)


def _schedule(id: str, title: str, value: Callable[[StepMetrics], float], steps: Sequence[StepMetrics]) -> Iterable[Curves]:
    """A setting is worth a picture when it changes."""
    if len({value(step) for step in steps}) > 1:
        series = [Series(name=title.lower(), value=value, scheduled=True)]
        yield Curves(id=id, section=POLICY, title=title, unit=title.lower(), caption="As set for each step.", format=SMALL, series=series)


def _reflection(steps: Sequence[StepMetrics]) -> Iterable[Curves]:
    categories = _names(step.reflection_share for step in steps)
    yield Curves(
        id="reflection",
        section=REFLECTION,
        title="Answers that reflect",
        unit="share of responses",
        caption="Responses with at least one keyword of the category. Some are ordinary words: watch the change, not the level.",
        format=PERCENT,
        series=[Series(name=name.replace("_", " "), value=_entry("reflection_share", name)) for name in categories],
    )
    yield Curves(
        id="reflection-rate",
        section=REFLECTION,
        title="Reflection keywords",
        unit="per 1,000 tokens",
        caption="The same keywords against length: longer answers alone do not raise it.",
        series=[Series(name=name.replace("_", " "), value=_entry("reflection_per_1000_tokens", name)) for name in categories],
    )


def _machine(steps: Sequence[StepMetrics]) -> Iterable[Curves]:
    yield Curves(
        id="tokens",
        section=MACHINE,
        title="Speed",
        unit="response tokens a second",
        caption="Over the whole step, evaluations and checkpoints included.",
        format=TOKENS,
        series=[Series(name="tokens a second", value=lambda step: step.tokens_per_second)],
    )
    gaps = [gap for step in steps for gap in (step.sampler_gap_mean, step.sampler_gap_max) if gap is not None]
    yield Curves(
        id="sampler-gap",
        section=MACHINE,
        title="Sampler and trainer apart",
        unit="nats a token",
        caption="How far the trainer's log-prob of a sampled token lies from the sampler's. It should stay small and flat.",
        format=SMALL,
        log_scale=bool(gaps) and min(gaps) > 0,
        series=[
            Series(name="mean", value=lambda step: step.sampler_gap_mean),
            Series(name="greatest", value=lambda step: step.sampler_gap_max),
        ],
    )
    if any(_failed_share(step) for step in steps):
        yield Curves(
            id="scoring-failures",
            section=MACHINE,
            title="Scores that failed",
            unit="share of attempts",
            caption="Errors, timeouts and responses that could not be scored. They leave the baseline and the gradient.",
            format=".2%",
            series=[Series(name="failed", value=_failed_share)],
        )
    if any(step.staleness_max for step in steps):
        yield Curves(
            id="staleness",
            section=MACHINE,
            title="Staleness",
            unit="steps",
            caption="Age of the oldest weights that sampled a response of the step.",
            format=TOKENS,
            series=[Series(name="oldest", value=lambda step: step.staleness_max)],
        )


def _failed_share(step: StepMetrics) -> float | None:
    attempts = sum(step.outcomes.values())
    return (attempts - step.outcomes.get("value", 0)) / attempts if attempts else None


def _kept_share(rule: str) -> Callable[[StepMetrics], float | None]:
    def value(step: StepMetrics) -> float | None:
        # Of the batch that selection was given: questions that were replaced are not in it.
        batch = step.selection_kept.get("unscored", 0) + step.selection_dropped.get("unscored", 0)
        return step.selection_kept[rule] / batch if rule in step.selection_kept and batch else None

    return value


def _entry(field: str, name: str) -> Callable[[StepMetrics], float | None]:
    def value(step: StepMetrics) -> float | None:
        entries: dict[str, float] = getattr(step, field)
        return entries.get(name)

    return value


def _names(entries: Iterable[Mapping[str, object]]) -> list[str]:
    return list(dict.fromkeys(name for each in entries for name in each))
