"""The pass rate of a data set's questions under a model: the one dear step of a build, kept block by block so that it can be gone on with.

What samples and grades is what a run samples and grades with. Seeds follow from a block's place, so a build that was stopped and gone on
with finds the rates that it would have found.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from reasonrl.api.data_spec import PassRateFilter
from reasonrl.api.job import ReasoningRLJob
from reasonrl.api.parse import parse_job
from reasonrl.api.problems import JobError
from reasonrl.data.build.kept_file import KeptFile
from reasonrl.data.build.spec import PassRate
from reasonrl.data.templates import make_template, render_prompt
from reasonrl.rl.records import GradedGroup, Group, Prompt, Question
from reasonrl.rollout.protocol import RolloutEngine
from reasonrl.run.errors import RunInputError
from reasonrl.run.grading import Grader
from reasonrl.run.pass_rate import PASS_RATE_FILE, measure
from reasonrl.run.policy_source import load_model, load_tokenizer
from reasonrl.run.rollout_engine import make_engine
from reasonrl.run.seeds import derive_seed

Advance = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class QuestionRate:
    """`right` of `graded` answers; both are None for a question whose prompt is too long to be asked."""

    id: str
    right: int | None
    graded: int | None

    @property
    def share(self) -> float | None:
        """None when nothing could be graded."""
        return None if not self.graded or self.right is None else self.right / self.graded


def measured_rates(
    questions: KeptFile, rule: PassRate, *, seed: int, base_directory: Path, directory: Path, advance: Advance
) -> dict[str, QuestionRate]:
    """A rate for each question, by id, in order. What `directory` has of an earlier attempt at the same questions with the same rule is
    taken over; the model's files are not looked into for changes.

    Raises RunInputError for a model that cannot be loaded, and DataError for a template that does not fit it.
    """
    path = directory / PASS_RATE_FILE
    head = _fingerprint(questions, rule, seed)
    rates = _earlier(path, head, rule.block)
    if len(rates) < len(questions):
        with path.open("w", encoding="utf-8") as file:
            file.write(head + "\n" + "".join(_line(rate) for rate in rates))
            file.flush()
            for block in _measure(questions, rule, start=len(rates), seed=seed, base_directory=base_directory, directory=directory):
                rates.extend(block)
                file.write("".join(_line(rate) for rate in block))
                file.flush()
                advance("measuring the pass rate", len(rates))
    return {rate.id: rate for rate in rates}


def check_rule(rule: PassRate, *, seed: int, base_directory: Path) -> None:
    """Raises RunInputError for what cannot be measured, long before anything is: settings that do not fit, a model that is not there."""
    load_tokenizer(_as_job(rule, seed).spec, base_directory=base_directory)


def _measure(
    questions: KeptFile, rule: PassRate, *, start: int, seed: int, base_directory: Path, directory: Path
) -> Iterator[list[QuestionRate]]:
    job = _as_job(rule, seed)
    spec = job.spec
    (example,) = questions.pick([0])
    with ExitStack() as stack:
        tokenizer = load_tokenizer(spec, base_directory=base_directory)
        template = make_template(spec.prompt.template, tokenizer, example=example.text, text=spec.prompt.text, system=spec.prompt.system)
        grader = stack.enter_context(
            Grader(spec.rewards, uses_tags=template.uses_tags, response_prefix=template.response_prefix, base_directory=base_directory)
        )
        engine = make_engine(spec, load_model(spec, tokenizer, base_directory=base_directory), tokenizer, directory=directory)
        stack.callback(engine.close)
        for first in range(start, len(questions), rule.block):
            block = list(questions.pick(range(first, min(first + rule.block, len(questions)))))
            prompts = [render_prompt(question, template, tokenizer) for question in block]
            fitting = [prompt for prompt in prompts if len(prompt.tokens) <= spec.prompt.max_tokens]
            if len(fitting) < len(prompts) and spec.prompt.long_prompts == "error":
                raise RunInputError(
                    f"passRate.prompt: {len(prompts) - len(fitting)} prompts from {block[0].id} on are longer than "
                    f"{spec.prompt.max_tokens} tokens; raise maxTokens, or set longPrompts: drop"
                )
            yield _block_rates(block, fitting, rule, engine, grader, seed=derive_seed(seed, "data-build", first))


def _block_rates(
    block: Sequence[Question], prompts: Sequence[Prompt], rule: PassRate, engine: RolloutEngine, grader: Grader, *, seed: int
) -> list[QuestionRate]:
    def grade(groups: Sequence[Group]) -> list[GradedGroup]:
        return grader.grade(groups, max_response_tokens=rule.max_response_tokens)

    found = {
        rate.id: QuestionRate(rate.id, rate.right, rate.graded)
        for rates in measure(prompts, _as_filter(rule), engine, grade, max_response_tokens=rule.max_response_tokens, seed=seed)
        for rate in rates
    }
    return [found.get(question.id, QuestionRate(question.id, None, None)) for question in block]


def _as_job(rule: PassRate, seed: int) -> ReasoningRLJob:
    """The job that would train on these questions: engines, templates and graders are made from a job's spec."""
    given: Mapping[str, object] = {
        "apiVersion": "reasonrl.dev/v1alpha1",
        "kind": "ReasoningRLJob",
        "metadata": {"name": "data-build"},
        "spec": {
            "seed": seed,
            "model": rule.model.model_dump(mode="json", by_alias=True, exclude_defaults=True),
            "prompt": rule.prompt.model_dump(mode="json", by_alias=True, exclude_defaults=True),
            "data": {"train": [{"path": "questions.jsonl"}]},
            "rewards": [{"type": "answer", "requireBoxed": rule.require_boxed}],
            "phases": [{"name": "only", "maxResponseTokens": rule.max_response_tokens, "until": {"steps": 1}}],
            "rollout": {"engine": rule.engine, "maxSequences": rule.max_sequences},
        },
    }
    try:
        return parse_job(given)
    except JobError as error:
        told = "; ".join(f"{problem.field.replace('spec.', 'passRate.', 1)}: {problem.message}" for problem in error.problems)
        raise RunInputError(told) from error


def _as_filter(rule: PassRate) -> PassRateFilter:
    return PassRateFilter(type="passRate", min=rule.min, max=rule.max, samples=rule.samples, temperature=rule.temperature)


def _fingerprint(questions: KeptFile, rule: PassRate, seed: int) -> str:
    """What the rates are of. The bounds may change: they say what is kept, not what is measured."""
    measured = rule.model_dump_json(by_alias=True, exclude={"min", "max"})
    digest = hashlib.sha256(f"{measured} {seed}".encode())
    for question in questions:
        digest.update(json.dumps([question.id, question.text, question.answer]).encode())
    return json.dumps({"of": digest.hexdigest()})


def _earlier(path: Path, head: str, block: int) -> list[QuestionRate]:
    """Whole blocks alone: the last line may be cut, and seeds belong to blocks."""
    if not path.is_file():
        return []
    rates = []
    with path.open(encoding="utf-8", errors="replace") as file:
        if file.readline().rstrip("\n") != head:
            return []
        for line in file:
            try:
                rates.append(QuestionRate(**json.loads(line)))
            except (ValueError, TypeError):
                break
    return rates[: len(rates) // block * block]


def _line(rate: QuestionRate) -> str:
    return json.dumps({"id": rate.id, "right": rate.right, "graded": rate.graded}) + "\n"
