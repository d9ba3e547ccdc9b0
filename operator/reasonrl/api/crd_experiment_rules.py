"""CEL rules of the experiment itself: model, algorithm, rewards. They say what the modules of `validation` say."""

from __future__ import annotations

from reasonrl.api.crd_data_rules import NO_BENCHMARKS
from reasonrl.api.crd_schema import selected
from reasonrl.api.crd_values import Rule, default, value
from reasonrl.api.validation.algorithm import GROUP_ESTIMATORS, WITHOUT_STD
from reasonrl.api.validation.rewards import BLIND_ALONE, NEGATIVE_ACTIONS


def _texts(texts: tuple[str, ...]) -> str:
    return str(list(texts))


def _at_default(at: str, path: str) -> str:
    return f"{value(path, at=at)} == {default(f'{at}.{path}')}"


def _batch() -> list[Rule]:
    at = "algorithm"
    prompts, updates = value("promptsPerStep", at=at), value("updatesPerStep", at=at)
    estimator = value("advantage.estimator", at=at)
    return [
        Rule(
            at=at,
            rule=f"{prompts} % {updates} == 0",
            message="updatesPerStep does not divide promptsPerStep",
            expression=f"'updatesPerStep: %d does not divide promptsPerStep: %d; use %d prompts, or other updates'.format("
            f"[{updates}, {prompts}, ({prompts} / {updates} + 1) * {updates}])",
            field="promptsPerStep",
        ),
        Rule(
            at=at,
            rule=f"!({estimator} in {_texts(GROUP_ESTIMATORS)}) || {value('rolloutsPerPrompt', at=at)} >= 2",
            message="the estimator compares the responses to a prompt with each other, so rolloutsPerPrompt must be at least 2",
            expression=f"'%s compares the responses to a prompt with each other, so rolloutsPerPrompt must be at least 2; raise it, or use "
            f"advantage: {{estimator: reinforce_plus_plus}}'.format([{estimator}])",
            field="rolloutsPerPrompt",
        ),
        Rule(
            at=at,
            rule=f"!({estimator} in {_texts(WITHOUT_STD)}) || {_at_default(at, 'advantage.epsilon')}",
            message="this estimator divides by no standard deviation; remove epsilon",
            field="advantage.epsilon",
        ),
    ]


def _loss() -> list[Rule]:
    at = "algorithm.loss"
    cispo = f"{value('type', at=at)} != 'cispo'"
    return [
        Rule(at=at, rule=f"{cispo} || {_at_default(at, 'clipLow')}", message="cispo has no lower bound; remove clipLow", field="clipLow"),
        Rule(
            at=at,
            rule=f"{cispo} || !has(self.dualClip)",
            message="cispo has no dual clip; remove it, or use type: clip",
            field="dualClip",
        ),
    ]


def _importance_sampling() -> list[Rule]:
    at = "algorithm.importanceSampling"
    correction = value("correction", at=at)
    return [
        Rule(
            at=at,
            rule=f"{correction} == 'mask' || {_at_default(at, 'floor')}",
            message="only correction: mask has a floor; use correction: mask, or remove it",
            field="floor",
        ),
        *(
            Rule(
                at=at,
                rule=f"{correction} != 'none' || {_at_default(at, field)}",
                message=f"correction: none does not read {field}; use correction: truncate, or remove it",
                field=field,
            )
            for field in ("cap", "level")
        ),
        Rule(
            at=at,
            rule=f"{correction} != 'mask' || {value('oldLogProbs', at=at)} != 'sampler'",
            message="with oldLogProbs: sampler the ratio trainer / sampler is always 1, so there is nothing to mask; use "
            "oldLogProbs: trainer",
            field="correction",
        ),
    ]


def _entropy() -> list[Rule]:
    at = "algorithm.entropy"
    most = value("maxCoefficient", at=at)
    return [
        *(
            Rule(
                at=at,
                rule=f"has(self.target) || {_at_default(at, field)}",
                message=f"{field} is read by the adaptive coefficient alone; give target, or remove it",
                field=field,
            )
            for field in ("delta", "maxCoefficient")
        ),
        Rule(
            at=at,
            rule=f"!has(self.target) || {value('coefficient', at=at)} <= {most}",
            message="where the adaptive coefficient starts must be at most maxCoefficient; lower it, or raise maxCoefficient",
            field="coefficient",
        ),
        Rule(
            at=at,
            rule=f"!has(self.target) || {value('delta', at=at)} <= {most}",
            message="one change is larger than the whole range 0 … maxCoefficient, so the coefficient would only jump between its "
            "ends; lower it",
            field="delta",
        ),
    ]


def _model() -> list[Rule]:
    at = "model"
    hidden, heads = value("scratch.hiddenSize", at=at), value("scratch.heads", at=at)
    kl = "has(self.algorithm) && has(self.algorithm.kl)"
    return [
        Rule(
            at=at,
            rule="has(self.path) || has(self.scratch)",
            message="model needs a model: give path (a directory or hf://organisation/name), or scratch",
        ),
        Rule(
            at=at,
            rule="!has(self.path) || !has(self.scratch)",
            message="path and scratch are both given; keep one of them",
            field="scratch",
        ),
        Rule(
            at=at,
            rule="!has(self.path) || !self.path.startsWith('hf://') || self.path.matches('^hf://[^/@ ]+/[^/@ ]+$')",
            message="a model of the hub is written hf://organisation/name, and its version goes to revision",
            field="path",
        ),
        Rule(
            at=at,
            rule="!has(self.path) || self.path.startsWith('hf://') || !self.path.contains('://')",
            message="only a local directory or hf://organisation/name is supported; fetch the model to a directory first",
            field="path",
        ),
        Rule(
            at=at,
            rule="!has(self.revision) || (has(self.path) && self.path.startsWith('hf://'))",
            message="only a model of the hub (hf://…) has revisions; remove it",
            field="revision",
        ),
        Rule(
            at=at,
            rule=f"!has(self.scratch) || {hidden} % (2 * {heads}) == 0",
            message="hiddenSize must be a multiple of 2 × heads: each head is hiddenSize / heads wide, and rotary positions need that to "
            "be even",
            field="scratch.hiddenSize",
        ),
        Rule(
            at=at,
            rule=f"!has(self.scratch) || {heads} % {value('scratch.keyValueHeads', at=at)} == 0",
            message="keyValueHeads must divide heads",
            field="scratch.keyValueHeads",
        ),
        *_context(),
        Rule(
            at="",
            rule="!has(self.model.scratch) || has(self.model.tokenizer) || size(self.data.train) == 0 || has(self.data.train[0].task)",
            message="a model made from nothing takes the words of its first training source, which must then be a task; use data.train: "
            "[{task: {name: chainedDigits}}], or name a tokenizer in spec.model.tokenizer",
            field="model.scratch",
        ),
        Rule(
            at="",
            rule=f"!has(self.model.scratch) || has(self.model.tokenizer) || ({value('prompt.template')} == 'raw' && "
            f"({NO_BENCHMARKS} || self.evaluation.benchmarks.all(b, !has(b.prompt) || "
            f"{value('template', at='prompt', of='b.prompt')} == 'raw')))",
            message="a model made from nothing knows only the words of its task, which writes its own prompts: use template: raw",
            field="prompt",
        ),
        Rule(
            at="",
            rule=f"!({kl}) || {value('model.reference.enabled')}",
            message="spec.algorithm.kl needs the reference model; remove this line, or remove kl",
            field="model.reference.enabled",
        ),
        Rule(
            at="",
            rule=f"({kl}) || {value('model.reference.resetEverySteps')} == 0",
            message="there is no reference to reset, because spec.algorithm.kl is off; give kl, or remove this line",
            field="model.reference.resetEverySteps",
        ),
        Rule(
            at="model.reference",
            rule=f"!{value('resetOptimizer', at='model.reference')} || {value('resetEverySteps', at='model.reference')} > 0",
            message="the reference is never reset; give resetEverySteps, or remove this line",
            field="resetOptimizer",
        ),
    ]


def _context() -> list[Rule]:
    """The longest prompt and the longest response, each the run's or a benchmark's, fit into a model made from nothing."""
    most, run_prompt = value("model.scratch.contextTokens"), value("prompt.maxTokens")
    prompt = value("maxTokens", at="prompt", of="b.prompt")
    each = "self.evaluation.benchmarks.all"
    pairs = (
        f"self.phases.all(p, {run_prompt} + p.maxResponseTokens <= {most})",
        f"{NO_BENCHMARKS} || {each}(b, !has(b.maxResponseTokens) || {run_prompt} + b.maxResponseTokens <= {most})",
        f"{NO_BENCHMARKS} || {each}(b, !has(b.prompt) || self.phases.all(p, {prompt} + p.maxResponseTokens <= {most}))",
        f"{NO_BENCHMARKS} || {each}(b, !has(b.prompt) || {each}(c, !has(c.maxResponseTokens) || {prompt} + c.maxResponseTokens <= {most}))",
    )
    return [
        Rule(
            at="",
            rule=f"!has(self.model.scratch) || {pair}",
            message="contextTokens is too small for the longest prompt and the longest response together; raise it, or lower "
            "prompt.maxTokens or maxResponseTokens",
            field="model.scratch.contextTokens",
        )
        for pair in pairs
    ]


def _rewards() -> list[Rule]:
    at, item = "rewards", "rewards[]"
    weight = value("weight", at=item)
    gate = f"(r.type == 'format' && {value('mode', at=item, of='r')} == 'gate')"
    usual = default(f"{item}.function")
    mine, theirs = f"r.{selected('function')}", f"q.{selected('function')}"
    usual_name = " && ".join(f"(!has({name}) || {name} == {usual})" for name in (mine, theirs))
    same_name = f"({usual_name} || (has({mine}) && has({theirs}) && {mine} == {theirs}))"
    other = f"!has(r.path) || (has(q.path) && q.path == r.path && {same_name})"
    answer = "self.type != 'answer' || "
    return [
        Rule(
            at=at,
            rule=f"self.exists(r, !{gate})",
            message="a format gate only multiplies the other rewards, and there are none, so every reward is 0; add {type: answer}",
        ),
        Rule(
            at=at,
            rule=f"!self.exists(r, !{gate}) || self.exists(r, !{gate} && {value('weight', at=item, of='r')} != 0.0)",
            message="every weight is 0, so every reward is 0 and nothing is learnt; give at least one a weight",
        ),
        Rule(
            at=at,
            rule=f"!self.exists(r, !{gate}) || self.exists(r, !{gate} && !(r.type in ['overlong', 'responseLength', 'reasoningActions']))",
            message=BLIND_ALONE,
        ),
        Rule(
            at=at,
            rule=f"self.all(r, self.exists_one(q, q.type == r.type && (r.type != 'function' || ({other}))))",
            message="a reward is there already, and the metrics of the two would have one name; keep one and raise its weight",
        ),
        Rule(
            at=item,
            rule=f"self.type != 'format' || {value('mode', at=item)} != 'gate' || {weight} == 1.0",
            message="a gate multiplies the sum by 0 or 1 and has no weight; use mode: additive, or remove it",
            field="weight",
        ),
        *(
            Rule(
                at=item,
                rule=f"{answer}{value('correct', at=item)} > {value(lesser, at=item)}",
                message=f"a right answer must be worth more than {words}",
                field="correct",
            )
            for lesser, words in (("incorrect", "a wrong one"), ("missing", "no answer"))
        ),
        Rule(
            at=item,
            rule=f"{answer}{weight} >= 0.0",
            message="a negative weight pays for wrong answers; make it positive",
            field="weight",
        ),
        Rule(
            at=item,
            rule=f"self.type != 'overlong' || {weight} >= 0.0",
            message="the value is a punishment, 0 to −1, already; a negative weight would pay for length",
            field="weight",
        ),
        Rule(at=item, rule=f"self.type != 'reasoningActions' || {weight} >= 0.0", message=NEGATIVE_ACTIONS, field="weight"),
    ]


EXPERIMENT_RULES: tuple[Rule, ...] = (
    *_batch(),
    *_loss(),
    *_importance_sampling(),
    *_entropy(),
    *_model(),
    *_rewards(),
)
