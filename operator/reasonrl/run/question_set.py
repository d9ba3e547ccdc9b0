"""The questions of a run, ready to be taken: loaded, filtered, fitted to the prompt limit, in their order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from reasonrl.api.data_spec import DataSource, PassRateFilter
from reasonrl.api.job import JobSpec
from reasonrl.api.prompt_spec import PromptSpec
from reasonrl.data.filters import apply_filters
from reasonrl.data.order import QuestionStream
from reasonrl.data.overlap import shared_questions
from reasonrl.data.sources import load_questions
from reasonrl.data.templates import Template, fitting_questions, make_template, render_prompt
from reasonrl.rl.records import Prompt, Question
from reasonrl.run.evaluation import Benchmark
from reasonrl.run.seeds import derive_seed


@dataclass(frozen=True, slots=True)
class QuestionSet:
    """The training questions behind `take`, a function of the cursor alone. `questions` are all of them, in no order to rely on."""

    questions: Sequence[Question]
    stream: QuestionStream
    template: Template
    tokenizer: PreTrainedTokenizerBase

    def take(self, cursor: int, count: int) -> tuple[list[Prompt], int]:
        questions, following = self.stream.take(cursor, count)
        return [render_prompt(question, self.template, self.tokenizer) for question in questions], following


Note = Callable[[str], None]
"""Told what was dropped, in sentences."""


def training_questions(spec: JobSpec, tokenizer: PreTrainedTokenizerBase, *, base_directory: Path, note: Note) -> QuestionSet:
    """Before the filter by pass rate, which needs the policy. Raises DataError for data that cannot be used."""
    questions = _loaded(spec.data.train, base_directory=base_directory)
    questions, reports = apply_filters(questions, [each.type for each in spec.data.filters if not isinstance(each, PassRateFilter)])
    for report in reports:
        note(str(report))
    template, kept = _fitted(questions, spec.prompt, tokenizer, note=note)
    return QuestionSet(kept, _stream(kept, spec), template, tokenizer)


def restricted(questions: QuestionSet, kept: Sequence[Question], spec: JobSpec) -> QuestionSet:
    """The same with fewer questions."""
    return QuestionSet(kept, _stream(kept, spec), questions.template, questions.tokenizer)


def _stream(questions: Sequence[Question], spec: JobSpec) -> QuestionStream:
    return QuestionStream(
        questions,
        order=spec.data.order,
        seed=derive_seed(spec.seed, "order", 0),
        sort_field=spec.data.sort_field,
        sort_descending=spec.data.sort_descending,
    )


def benchmarks(
    spec: JobSpec, tokenizer: PreTrainedTokenizerBase, *, training: Sequence[Question], base_directory: Path, note: Note
) -> list[Benchmark]:
    """Raises DataError for data that cannot be used. Questions that are also in `training` are counted aloud:
    accuracy on them is memory."""
    found = []
    for each in spec.evaluation.benchmarks:
        questions = _loaded([each], base_directory=base_directory)
        template, kept = _fitted(questions, each.prompt or spec.prompt, tokenizer, note=note)
        shared = shared_questions(training, kept)
        if shared:
            note(
                f"benchmark {each.name}: {len(shared)} of its {len(kept)} questions are trained on as well, such as {shared[0][1].id} "
                f"({shared[0][0].id} in training); its accuracy is not held-out"
            )
        found.append(
            Benchmark(
                name=each.name,
                prompts=[render_prompt(question, template, tokenizer) for question in kept],
                samples=each.samples,
                temperature=each.temperature,
                top_p=each.top_p,
                max_response_tokens=each.max_response_tokens,
            )
        )
    return found


def _loaded(sources: Sequence[DataSource], *, base_directory: Path) -> list[Question]:
    return [question for source in sources for question in load_questions(source, base_directory=base_directory)]


def _fitted(
    questions: Sequence[Question], prompt: PromptSpec, tokenizer: PreTrainedTokenizerBase, *, note: Note
) -> tuple[Template, Sequence[Question]]:
    template = make_template(prompt.template, tokenizer, example=questions[0].text, text=prompt.text, system=prompt.system)
    fitting = fitting_questions(questions, template, tokenizer, max_tokens=prompt.max_tokens, long_prompts=prompt.long_prompts)
    if fitting.dropped:
        first = fitting.examples[0]
        note(f"{fitting.dropped} of {len(questions)} prompts are longer than {prompt.max_tokens} tokens and were dropped, such as {first}")
    return template, fitting.questions
