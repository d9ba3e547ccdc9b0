"""CEL rules of questions and prompts: data sources wherever they stand, templates, the warm start, benchmarks. They say what
`validation.data`, `validation.warm_start` and `validation.evaluation` say."""

from __future__ import annotations

from reasonrl.api.crd_schema import quoted
from reasonrl.api.crd_values import Rule, value
from reasonrl.api.validation.data import (
    FILE_ENDINGS,
    KINDS,
    OTHER_ENDINGS,
    PASS_RATE_BOUNDS,
    PASS_RATE_LAST,
    PASS_RATE_VERDICTS,
    SEED_CLASSES,
)
from reasonrl.api.validation.evaluation import REWARD_METRIC
from reasonrl.api.validation.model import PLACEHOLDER

SOURCES = ("data.train[]", "sft.train[]", "evaluation.benchmarks[]")
PROMPTS = ("prompt", "evaluation.benchmarks[].prompt")
NO_BENCHMARKS = "!has(self.evaluation) || !has(self.evaluation.benchmarks)"
"""Written out where benchmarks are gone through: the server cannot bound the cost of going through an optional list."""


def _texts(texts: tuple[str, ...]) -> str:
    return f"[{', '.join(map(quoted, texts))}]"


def _source(at: str) -> list[Rule]:
    made = "has(self.task) || has(self.reasoningGym)"
    return [
        Rule(
            at=at,
            rule=f"[{', '.join(f'has(self.{kind})' for kind in KINDS)}].exists_one(given, given)",
            message=f"names no questions, or several sets of them; give exactly one of {', '.join(KINDS)}",
        ),
        Rule(
            at=at,
            rule="!has(self.path) || !self.path.contains('://')",
            message="path must be a local file; a set of the hub is written huggingFace: {name: organisation/set}",
            field="path",
        ),
        Rule(
            at=at,
            rule=f"!has(self.path) || {_texts(FILE_ENDINGS)}.exists(e, self.path.endsWith(e)) || "
            f"!{_texts(OTHER_ENDINGS)}.exists(e, self.path.endsWith(e))",
            message=f"path must end in {', '.join(FILE_ENDINGS)}, or be a directory saved by the datasets package",
            field="path",
        ),
        *(
            Rule(
                at=at,
                rule=f"!({made}) || {value(field, at=at)} == {quoted(default)}",
                message=f"a task names its own columns; remove {field}",
                field=field,
            )
            for field, default in (("questionField", "question"), ("answerField", "answer"))
        ),
    ]


def _prompt(at: str) -> list[Rule]:
    template = value("template", at=at)
    return [
        Rule(
            at=at,
            rule=f"{template} != 'custom' || has(self.text)",
            message=f"template: custom needs a text with {PLACEHOLDER} in it",
            field="text",
        ),
        Rule(
            at=at,
            rule=f"{template} != 'custom' || !has(self.text) || self.text.split({quoted(PLACEHOLDER)}).size() == 2",
            message=f"text must have {PLACEHOLDER} exactly once, where the question goes",
            field="text",
        ),
        Rule(
            at=at,
            rule=f"{template} == 'custom' || !has(self.text)",
            message="text is read by template: custom alone; use template: custom, or remove it",
            field="text",
        ),
        Rule(
            at=at,
            rule=f"{template} == 'chat' || !has(self.system)",
            message="only template: chat has a system message; use template: chat, or remove it",
            field="system",
        ),
    ]


def _order() -> list[Rule]:
    at = "data"
    order = value("order", at=at)
    return [
        Rule(
            at=at,
            rule=f"{order} != 'sortedBy' || has(self.sortField)",
            message="order: sortedBy needs sortField, the name of a column to sort by",
            field="sortField",
        ),
        Rule(
            at=at,
            rule=f"{order} == 'sortedBy' || !has(self.sortField)",
            message="sortField sorts nothing in this order; use order: sortedBy, or remove it",
            field="sortField",
        ),
        Rule(
            at=at,
            rule=f"{order} == 'sortedBy' || !{value('sortDescending', at=at)}",
            message="sortDescending sorts nothing in this order; use order: sortedBy, or remove it",
            field="sortDescending",
        ),
        Rule(
            at="data.filters",
            rule="self.all(f, self.exists_one(g, g.type == f.type))",
            message="a filter is there already; remove one of the two",
        ),
        Rule(
            at="data.filters",
            rule="!self.exists(f, f.type == 'passRate') || self[size(self) - 1].type == 'passRate'",
            message=f"passRate {PASS_RATE_LAST}",
        ),
        Rule(
            at="data.filters[]",
            rule=f"self.type != 'passRate' || {value('min', at='data.filters[]')} <= {value('max', at='data.filters[]')}",
            message=PASS_RATE_BOUNDS,
            field="min",
        ),
        Rule(
            at="",
            rule="!has(self.data.filters) || !self.data.filters.exists(f, f.type == 'passRate') || "
            "self.rewards.exists(r, r.type in ['answer', 'function'])",
            message=PASS_RATE_VERDICTS,
            field="data.filters",
        ),
    ]


def _enough_questions() -> list[Rule]:
    """Sets of known size must have as many questions as a step asks."""
    known = "self.data.train.all(s, has(s.limit) || has(s.task) || has(s.reasoningGym))"
    limit = "s.?limit.orValue(2147483647)"
    task = f"(has(s.task) ? {value('size', at='data.train[].task', of='s.task')} : 2147483647)"
    gym = f"(has(s.reasoningGym) ? {value('size', at='data.train[].reasoningGym', of='s.reasoningGym')} : 2147483647)"
    most = f"self.data.train.map(s, [{limit}, {task}, {gym}].min()).sum()"
    prompts = value("algorithm.promptsPerStep")
    return [
        Rule(
            at="",
            rule=f"!({known}) || {prompts} <= {most}",
            message="algorithm.promptsPerStep is more than the questions that data.train has; lower it, or raise size or limit",
            expression=f"'data.train has at most %d questions, so a step of %d would ask some of them twice; lower "
            f"algorithm.promptsPerStep, or raise size or limit'.format([{most}, {prompts}])",
            field="algorithm.promptsPerStep",
        ),
        Rule(
            at="",
            rule=f"!({known}) || self.phases.all(p, !has(p.promptsPerStep) || p.promptsPerStep <= {most})",
            message="promptsPerStep of a phase is more than the questions that data.train has; lower it, or raise size or limit",
            field="phases",
        ),
    ]


def _warm_start() -> list[Rule]:
    at = "sft"
    return [
        Rule(at=at, rule="has(self.steps) || has(self.epochs)", message="the warm start has no length; give steps or epochs"),
        Rule(
            at=at,
            rule="!has(self.steps) || !has(self.epochs)",
            message="steps and epochs are both given; keep one of them",
            field="epochs",
        ),
        Rule(
            at=at,
            rule=f"!has(self.steps) || {value('warmupSteps', at=at)} < self.steps",
            message="the warm-up takes all of the steps, so the learning rate never reaches its peak; lower it",
            field="warmupSteps",
        ),
        Rule(
            at="sft.train[]",
            rule="!has(self.reasoningGym)",
            message="reasoningGym has questions and answers, but no responses to imitate; use a path, huggingFace or a task",
            field="reasoningGym",
        ),
        Rule(
            at="sft.train[]",
            rule=f"!has(self.task) || {value('responseField', at='sft.train[]')} == 'response'",
            message="a task writes its own worked responses; remove responseField",
            field="responseField",
        ),
    ]


def _evaluation() -> list[Rule]:
    here = "evaluation.benchmarks"
    return [
        Rule(
            at="",
            rule=f"{NO_BENCHMARKS} || size(self.evaluation.benchmarks) == 0 || self.rewards.exists(r, r.type == 'answer')",
            message="accuracy is the verdict of the answer reward, which this job has not; add {type: answer} to rewards (weight: 0 "
            "measures without paying)",
            field=here,
        ),
        Rule(
            at=here,
            rule="self.all(b, self.exists_one(c, c.name == b.name))",
            message="two benchmarks have the same name; their results could not be told apart",
        ),
        Rule(
            at=f"{here}[]",
            rule=f"self.name != {quoted(REWARD_METRIC)}",
            message="this name stands for the training reward in checkpoint.keepBest; use another",
            field="name",
        ),
        Rule(
            at=f"{here}[]",
            rule=f"{value('temperature', at=f'{here}[]')} > 0.0 || {value('samples', at=f'{here}[]')} == 1",
            message="at temperature 0 all samples of a question are the same; use samples: 1, or a temperature",
            field="samples",
        ),
        _held_out("self.data.train", "data.train", unless=NO_BENCHMARKS),
        _held_out("self.sft.train", "sft.train", unless=f"!has(self.sft) || {NO_BENCHMARKS}"),
    ]


def _held_out(trained: str, where: str, *, unless: str) -> Rule:
    seeds = [f"{value('seed', at='data.train[].task', of=f'{each}.task')} % {SEED_CLASSES}" for each in ("s", "b")]
    return Rule(
        at="",
        rule=f"{unless} || self.evaluation.benchmarks.all(b, {trained}.all(s, !(has(b.task) && has(s.task) && {seeds[0]} == {seeds[1]}) && "
        "!(has(b.path) && has(s.path) && b.path == s.path)))",
        message=f"a benchmark is no held-out set, because {where} has its questions: the same file, or task seeds that do not differ "
        f"modulo {SEED_CLASSES}",
        field="evaluation.benchmarks",
    )


DATA_RULES: tuple[Rule, ...] = (
    *(rule for at in SOURCES for rule in _source(at)),
    *(rule for at in PROMPTS for rule in _prompt(at)),
    *_order(),
    *_enough_questions(),
    *_warm_start(),
    *_evaluation(),
)
