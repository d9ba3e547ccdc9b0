"""What happened, in one sentence that claims no more than the numbers carry.

A change is called a rise or a fall when it is more than twice its standard error; the two evaluations are taken as independent, which
for the same questions errs on the side of saying less.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from reasonrl.api.run_files import EvaluationMetrics
from reasonrl.report.read import RunRecord
from reasonrl.report.wording import counted, duration, percent, points, with_error

CLEAR = 2.0
"""Standard errors beyond which a difference is called one."""


def headline(runs: Sequence[RunRecord]) -> str:
    return _one(runs[0]) if len(runs) == 1 else _several(runs)


def training_seconds(run: RunRecord) -> float:
    """Time spent in steps, evaluations and checkpoints included; time between a crash and the resume is not in it."""
    return sum(step.seconds.get("total", 0.0) for step in run.steps)


def ends_of_accuracy(run: RunRecord) -> tuple[float, float] | None:
    """Mean training accuracy of the first and of the last tenth of the steps; None when no step has one."""
    known = [step.accuracy for step in run.steps if step.accuracy is not None]
    if not known:
        return None
    tenth = max(1, len(known) // 10)
    return statistics.fmean(known[:tenth]), statistics.fmean(known[-tenth:])


def standard_errors_apart(one: EvaluationMetrics, other: EvaluationMetrics) -> float:
    """The difference of two accuracies in standard errors; infinite when neither has one and they differ."""
    difference = abs(other.accuracy - one.accuracy)
    error = math.hypot(one.accuracy_error, other.accuracy_error)
    if error == 0:
        return float("inf") if difference else 0.0
    return difference / error


def _one(run: RunRecord) -> str:
    if not run.steps and not run.evaluations:
        return "No training step is done yet." if not run.finished else "The run is over and holds no training step."
    done = f"{counted(len(run.steps), 'step')} and {duration(training_seconds(run))}"
    spent = f"in {done}" if run.finished else f"so far, in {done}"
    for benchmark in run.benchmarks:
        found = run.evaluations_of(benchmark)
        first, last = found[0], found[-1]
        asked = f"{benchmark} ({counted(last.questions, 'held-out question')})"
        if len(found) == 1:
            when = f"after {counted(last.step, 'step')}" if last.step else "before training"
            pace = "took" if run.finished else "is at"
            return f"Accuracy on {asked} was {with_error(last.accuracy, last.accuracy_error)} {when}; the run {pace} {done}."
        change = f"from {with_error(first.accuracy, first.accuracy_error)} to {with_error(last.accuracy, last.accuracy_error)}"
        if standard_errors_apart(first, last) <= CLEAR:
            return f"Accuracy on {asked} went {change} {spent}: a difference within its error."
        verb = "rose" if last.accuracy > first.accuracy else "fell"
        return f"Accuracy on {asked} {verb} {change} {spent}."
    ends = ends_of_accuracy(run)
    if ends is None:
        return f"Nothing could be scored {spent}."
    return (
        f"Training accuracy went from {percent(ends[0])} to {percent(ends[1])} (first and last tenth of the steps) {spent}; "
        "nothing held out was evaluated."
    )


def _several(runs: Sequence[RunRecord]) -> str:
    shared = [name for name in runs[0].benchmarks if all(name in run.benchmarks for run in runs)]
    if not shared:
        return f"{len(runs)} runs, with no benchmark in common: compare them by the curves only."
    benchmark = shared[0]
    ranked = sorted(((run, run.evaluations_of(benchmark)[-1]) for run in runs), key=lambda pair: pair[1].accuracy, reverse=True)
    listed = "; ".join(
        f"{run.label} {with_error(last.accuracy, last.accuracy_error)} after {counted(last.step, 'step')}" for run, last in ranked
    )
    (best, first), (_, second) = ranked[0], ranked[1]
    if standard_errors_apart(first, second) > CLEAR:
        verdict = f"{best.label} is ahead by {points(first.accuracy - second.accuracy).lstrip('+')} points."
    else:
        verdict = "The first two are within each other's error."
    return f"Last accuracy on {benchmark}: {listed}. {verdict}"
