"""Rules of spec.algorithm."""

from __future__ import annotations

from collections.abc import Iterator

from reasonrl.api.algorithm_spec import AlgorithmSpec
from reasonrl.api.job import JobSpec
from reasonrl.api.problems import Problem
from reasonrl.api.schedule_spec import PiecewiseSchedule

GROUP_ESTIMATORS = ("grpo", "dr_grpo", "rloo", "reinforce_plus_plus_baseline")
WITHOUT_STD = ("dr_grpo", "rloo")
DEFAULT = AlgorithmSpec()


def algorithm_problems(spec: JobSpec) -> Iterator[Problem]:
    algorithm = spec.algorithm
    yield from _batch(algorithm)
    yield from _loss(algorithm)
    yield from _importance_sampling(algorithm)
    yield from _entropy(algorithm)
    if algorithm.kl is not None and isinstance(algorithm.kl.schedule, PiecewiseSchedule):
        yield from piecewise_problems("spec.algorithm.kl.schedule", algorithm.kl.schedule)


def indivisible(path: str, *, prompts: int, updates: int) -> Iterator[Problem]:
    """A step's prompts must be cut into equal parts, one for each optimizer update."""
    if prompts % updates == 0:
        return
    near = sorted({max(prompts // updates, 1) * updates, (prompts // updates + 1) * updates})
    divisors = [each for each in range(1, min(prompts, updates) + 1) if prompts % each == 0]
    yield Problem(
        path,
        prompts,
        f"updatesPerStep: {updates} does not divide it ({prompts} / {updates} = {prompts / updates:.2f}); use "
        f"{' or '.join(map(str, near))} prompts, or updatesPerStep: {divisors[-1]}",
    )


def piecewise_problems(path: str, schedule: PiecewiseSchedule) -> Iterator[Problem]:
    steps = [point.step for point in schedule.points]
    if steps[0] != 0:
        yield Problem(f"{path}.points[0].step", steps[0], "the first point must be step 0, or the steps before it have no value")
    for index in range(1, len(steps)):
        if steps[index] <= steps[index - 1]:
            yield Problem(
                f"{path}.points[{index}].step", steps[index], f"must be more than {steps[index - 1]}, the step of the point before"
            )


def _batch(algorithm: AlgorithmSpec) -> Iterator[Problem]:
    yield from indivisible("spec.algorithm.promptsPerStep", prompts=algorithm.prompts_per_step, updates=algorithm.updates_per_step)
    estimator = algorithm.advantage.estimator
    if estimator in GROUP_ESTIMATORS and algorithm.rollouts_per_prompt < 2:
        yield Problem(
            "spec.algorithm.rolloutsPerPrompt",
            algorithm.rollouts_per_prompt,
            f"{estimator} compares the responses to a prompt with each other, so it needs at least 2; raise it, or use "
            "advantage: {estimator: reinforce_plus_plus}",
        )
    if estimator in WITHOUT_STD and algorithm.advantage.epsilon != DEFAULT.advantage.epsilon:
        yield Problem(
            "spec.algorithm.advantage.epsilon", algorithm.advantage.epsilon, f"{estimator} divides by no standard deviation; remove it"
        )


def _loss(algorithm: AlgorithmSpec) -> Iterator[Problem]:
    loss = algorithm.loss
    if loss.type != "cispo":
        return
    if loss.clip_low != DEFAULT.loss.clip_low:
        yield Problem("spec.algorithm.loss.clipLow", loss.clip_low, "cispo has no lower bound; remove it")
    if loss.dual_clip is not None:
        yield Problem("spec.algorithm.loss.dualClip", loss.dual_clip, "cispo has no dual clip; remove it, or use type: clip")


def _importance_sampling(algorithm: AlgorithmSpec) -> Iterator[Problem]:
    sampling, default = algorithm.importance_sampling, DEFAULT.importance_sampling
    here = "spec.algorithm.importanceSampling"
    if sampling.correction != "mask" and sampling.floor != default.floor:
        yield Problem(
            f"{here}.floor", sampling.floor, f"correction: {sampling.correction} has no floor; use correction: mask, or remove it"
        )
    if sampling.correction == "none" and sampling.cap != default.cap:
        yield Problem(f"{here}.cap", sampling.cap, "correction: none does not read it; use correction: truncate, or remove it")
    if sampling.correction == "none" and sampling.level != default.level:
        yield Problem(f"{here}.level", sampling.level, "correction: none does not read it; use correction: truncate, or remove it")
    if sampling.old_log_probs == "sampler" and sampling.correction == "mask":
        yield Problem(
            f"{here}.correction",
            "mask",
            "with oldLogProbs: sampler the ratio trainer / sampler is always 1, so there is nothing to mask; use oldLogProbs: trainer",
        )


def _entropy(algorithm: AlgorithmSpec) -> Iterator[Problem]:
    entropy, default = algorithm.entropy, DEFAULT.entropy
    here = "spec.algorithm.entropy"
    if entropy.target is None:
        for name, value, usual in (
            ("delta", entropy.delta, default.delta),
            ("maxCoefficient", entropy.max_coefficient, default.max_coefficient),
        ):
            if value != usual:
                yield Problem(f"{here}.{name}", value, "is read by the adaptive coefficient alone; give target, or remove it")
        return
    if entropy.coefficient > entropy.max_coefficient:
        yield Problem(
            f"{here}.coefficient",
            entropy.coefficient,
            f"where the adaptive coefficient starts must be at most maxCoefficient ({entropy.max_coefficient:g}); lower it, or raise "
            f"maxCoefficient",
        )
    if entropy.delta > entropy.max_coefficient:
        yield Problem(
            f"{here}.delta",
            entropy.delta,
            f"one change is larger than the whole range 0 … maxCoefficient ({entropy.max_coefficient:g}), so the coefficient would only "
            f"jump "
            "between its ends; lower it",
        )
