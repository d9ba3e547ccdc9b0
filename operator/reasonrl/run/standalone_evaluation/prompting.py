"""The prompt of an evaluation: what was asked for, else what the run was trained on, else what the model's tokenizer knows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from reasonrl.api.job import ReasoningRLJob
from reasonrl.data.errors import DataError
from reasonrl.data.templates import LONG, PLACEHOLDER, SHORT, THINK_TAG, Template, TemplateName, make_template, render_prompt
from reasonrl.rl.records import Prompt, Question
from reasonrl.run.errors import RunInputError
from reasonrl.run.run_directory import RunDirectoryError, kept_job
from reasonrl.run.standalone_evaluation.setting import PromptChoice

# The data package speaks of fields of a job.
_OPTIONS = (("spec.prompt.template", "--template"), ("spec.prompt.text", "--prompt-text"), ("spec.prompt.system", "--system"))


def chosen_prompt(asked: PromptChoice, *, run: Path | None, has_chat_template: bool) -> PromptChoice:
    """The whole choice: its template is never None. `run` is the directory of the run that the model comes from.

    Raises RunInputError when that run's job is needed and cannot be read.
    """
    if asked.template is not None:
        return asked
    if asked.text is not None:
        return PromptChoice(template="custom", text=asked.text, system=asked.system)
    if asked.system is not None:
        return PromptChoice(template="chat", text=None, system=asked.system)
    job = _job_of(run)
    if job is not None:
        prompt = job.spec.prompt
        return PromptChoice(template=prompt.template, text=prompt.text, system=prompt.system)
    return PromptChoice(template="chat" if has_chat_template else "long", text=None, system=None)


def _job_of(run: Path | None) -> ReasoningRLJob | None:
    try:
        return None if run is None else kept_job(run)
    except RunDirectoryError as error:
        raise RunInputError(
            f"--template: the job of the run, which says how its prompts look, cannot be read; give --template yourself. ({error})"
        ) from error


def local_template(choice: PromptChoice, tokenizer: PreTrainedTokenizerBase, *, example: str) -> Template:
    """Raises RunInputError for a template that does not fit its text, its system message or the tokenizer."""
    assert choice.template is not None
    try:
        return make_template(choice.template, tokenizer, example=example, text=choice.text, system=choice.system)
    except DataError as error:
        raise RunInputError(_in_options(error)) from error


def rendered_prompts(questions: Sequence[Question], template: Template, tokenizer: PreTrainedTokenizerBase) -> list[Prompt]:
    """Raises RunInputError for a prompt that cannot be encoded."""
    try:
        return [render_prompt(question, template, tokenizer) for question in questions]
    except DataError as error:
        raise RunInputError(_in_options(error)) from error


def server_frame(choice: PromptChoice) -> str | None:
    """The text around the question for a server's completions; None where the server's own chat template is to be used.

    Raises RunInputError for a choice that does not fit together.
    """
    name: TemplateName | None = choice.template
    if choice.system is not None and name != "chat":
        raise RunInputError(f"--system: the template {name} would ignore it; use --template chat, or put it into --prompt-text")
    if choice.text is not None and name != "custom":
        raise RunInputError(f"--prompt-text: the template {name} would ignore it; use --template custom")
    if name == "custom":
        if choice.text is None or choice.text.count(PLACEHOLDER) != 1:
            raise RunInputError(f"--prompt-text = {choice.text!r}: the template custom needs a text with {PLACEHOLDER} in it, exactly once")
        return choice.text
    frames = {"raw": PLACEHOLDER, "short": SHORT, "long": LONG}
    return None if name is None else frames.get(name)


def frame_asks_for_tags(frame: str | None) -> bool:
    return frame is not None and (frame.rstrip().endswith(THINK_TAG) or "<answer>" in frame)


def _in_options(error: DataError) -> str:
    message = str(error)
    for field, option in _OPTIONS:
        message = message.replace(field, option)
    return message
