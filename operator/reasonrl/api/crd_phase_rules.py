"""CEL rules of the curriculum: phases in order, bounded, and in agreement with the algorithm. They say what `validation.phases` says."""

from __future__ import annotations

from reasonrl.api.crd_values import Rule, value

MOST_POINTS = 256
MOST_PHASES = 64
_BOUND = "(has(self.until.steps) ? self.until.steps : self.until.maxSteps)"
_BOUNDED = "(has(self.until.steps) || has(self.until.maxSteps))"


def _numbers(most: int) -> str:
    return f"[{', '.join(map(str, range(most)))}]"


def piecewise(at: str) -> list[Rule]:
    """Rules of a schedule's points; CEL has no way to look at neighbours but by their numbers."""
    return [
        Rule(
            at=at,
            rule="!has(self.points) || size(self.points) == 0 || self.points[0].step == 0",
            message="points: the first point must be step 0, or the steps before it have no value",
            field="points",
        ),
        Rule(
            at=at,
            rule=f"!has(self.points) || {_numbers(MOST_POINTS - 1)}.all(i, i + 1 >= size(self.points) || "
            "self.points[i].step < self.points[i + 1].step)",
            message="points: the step of each point must be more than that of the point before",
            field="points",
        ),
    ]


def _order() -> list[Rule]:
    pairs = _numbers(MOST_PHASES - 1)
    return [
        Rule(
            at="phases",
            rule="self.all(p, self.exists_one(q, q.name == p.name))",
            message="two phases have the same name; their metrics could not be told apart",
        ),
        Rule(
            at="phases",
            rule=f"{pairs}.all(i, i + 1 >= size(self) || self[i].maxResponseTokens <= self[i + 1].maxResponseTokens || "
            f"{value('allowShrink', at='phases[]', of='self[i + 1]')})",
            message="maxResponseTokens of a phase is less than that of the phase before; put the phases in order, or set allowShrink: "
            "true if it is meant",
        ),
        Rule(
            at="phases",
            rule=f"size(self) == 0 || {value('advance', at='phases[]', of='self[0]')} != 'Manual'",
            message="advance: Manual: the first phase begins at once: no phase before it could train until a person lets it begin",
        ),
    ]


def _until() -> list[Rule]:
    at = "phases[]"
    triggers = (
        ("truncatedShare", "forSteps", 1, ""),
        ("responseLength", "forSteps", 1, ""),
        ("accuracyPlateau", "window", 2, " (it compares two windows)"),
        ("lengthPlateau", "window", 2, " (it compares two windows)"),
    )
    return [
        Rule(
            at=at,
            rule=_BOUNDED,
            message="a phase might never end; give steps, or maxSteps beside its other triggers",
            expression="'phase %s might never end; give steps, or maxSteps beside its other triggers'.format([self.name])",
            field="until",
        ),
        Rule(
            at=at,
            rule="!has(self.until.steps) || !has(self.until.maxSteps)",
            message="steps ends the phase already, before maxSteps; keep one of them",
            field="until.maxSteps",
        ),
        Rule(
            at=at,
            rule=f"!has(self.until.truncatedShare) || {value('until.truncatedShare.above', at=at)} < 1.0",
            message="a share is never above 1; use a share such as 0.06",
            field="until.truncatedShare.above",
        ),
        Rule(
            at=at,
            rule="!has(self.until.responseLength) || self.until.responseLength.above < self.maxResponseTokens",
            message="no response of this phase is longer than maxResponseTokens, so this never happens; lower it",
            field="until.responseLength.above",
        ),
        *(
            Rule(
                at=at,
                rule=f"!has(self.until.{trigger}) || !{_BOUNDED} || {factor} * {value(f'until.{trigger}.{field}', at=at)} < {_BOUND}",
                message=f"{trigger}.{field} needs more steps{note} than the phase has; lower it",
                expression=f"'{trigger}.{field} needs %d steps{note}, and the phase ends after %d anyway; lower it'.format("
                f"[{factor} * {value(f'until.{trigger}.{field}', at=at)}, {_BOUND}])",
                field=f"until.{trigger}.{field}",
            )
            for trigger, field, factor, note in triggers
        ),
    ]


def _agreement() -> list[Rule]:
    updates = value("algorithm.updatesPerStep")
    kl = "(has(self.algorithm) && has(self.algorithm.kl))"
    return [
        Rule(
            at="",
            rule=f"self.phases.all(p, !has(p.promptsPerStep) || p.promptsPerStep % {updates} == 0)",
            message="algorithm.updatesPerStep does not divide promptsPerStep of a phase",
            field="phases",
        ),
        Rule(
            at="",
            rule=f"{kl} || self.phases.all(p, !has(p.klSchedule))",
            message="klSchedule of a phase: KL is off in this job; give spec.algorithm.kl, or remove it",
            field="phases",
        ),
        Rule(
            at="",
            rule=f"!{kl} || self.algorithm.kl.schedule.type != 'adaptive' || self.phases.all(p, !has(p.klSchedule))",
            message="klSchedule of a phase: an adaptive KL coefficient follows what it measures through the whole run, and a phase cannot "
            "interrupt it; remove one of the two",
            field="phases",
        ),
        Rule(
            at="",
            rule=f"{value('algorithm.loss.type')} != 'cispo' || self.phases.all(p, !has(p.clipLow))",
            message="clipLow of a phase: cispo has no lower bound; remove it",
            field="phases",
        ),
        Rule(
            at="",
            rule="self.rewards.exists(r, r.type == 'answer') || self.phases.all(p, !has(p.until.accuracyPlateau))",
            message="accuracyPlateau: accuracy is the verdict of the answer reward, which this job has not; add {type: answer}",
            field="phases",
        ),
        Rule(
            at="",
            rule="self.rewards.all(r, r.type != 'overlong' || self.phases.all(p, "
            f"{value('bufferTokens', at='rewards[]', of='r')} < p.maxResponseTokens))",
            message="bufferTokens of the overlong reward must be less than maxResponseTokens of every phase, or even the shortest "
            "response is punished there",
            field="rewards",
        ),
        Rule(
            at="",
            rule="!has(self.rollout) || !has(self.rollout.minReplicas) || "
            "self.phases.all(p, !has(p.rollout) || !has(p.rollout.replicas) || p.rollout.replicas >= self.rollout.minReplicas)",
            message="rollout.replicas of a phase is less than spec.rollout.minReplicas",
            field="phases",
        ),
    ]


PHASE_RULES: tuple[Rule, ...] = (
    *_order(),
    *_until(),
    *_agreement(),
    *piecewise("phases[].klSchedule"),
    *piecewise("algorithm.kl.schedule"),
)
