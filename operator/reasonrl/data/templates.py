"""Prompt templates: how a question is put to the policy.

`short` and `long` are the two plain-text templates that the STILL-3 report compares (§3.1.2), in our own words; both open the thinking for
the model. `chat` is the tokenizer's own chat template, `raw` the question as it stands, `custom` any text around `{question}`. What the
rewards must know of a prompt follows from how it ends: with `<think>` the response goes on inside the thinking, so the format check must
see the tag in front of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from transformers import PreTrainedTokenizerBase

from reasonrl.data.errors import DataError
from reasonrl.data.rows import PROGRESS_EVERY_ROWS, Progress, silent
from reasonrl.rl.records import Prompt, Question

TemplateName = Literal["short", "long", "chat", "raw", "custom"]
PLACEHOLDER = "{question}"
THINK_TAG = "<think>"

SHORT = """\
Below, a User asks the Assistant a question and the Assistant solves it. Before answering, the Assistant works the problem out in its \
mind; only then does it tell the User the answer. The working goes between <think> and </think>, the answer between <answer> and \
</answer>, in this shape: <think> the working </think> <answer> the answer </answer>. Nothing but the final answer belongs in the answer \
tags, for example <answer> 12 </answer>.
User: {question}
Assistant: <think>"""

LONG = """\
Below, a User asks the Assistant a question and the Assistant solves it. Before answering, the Assistant thinks for as long as it needs, \
and its thinking is a stream of consciousness: an inner monologue, written down just as it comes to mind. Thinking and answer have this \
shape:
```
<think>
everything that goes through the Assistant's mind
</think>
<answer>
the final answer
</answer>
```
While it thinks, the Assistant may take the question apart, sum up what it knows so far, collect ideas, carry out one step after another \
and verify each, notice a mistake and repair it, or go back to an earlier step and try another way. The tone is that of a person thinking \
aloud: phrases such as "Hmm", "Wait", "Alternatively", "double check", "I wonder...", "But" and "rethink" are welcome. Once it is sure, \
the Assistant puts ONLY the final answer into the answer tags, for example <answer> 12 </answer>, and no explanation.
User: {question}
Assistant: <think>"""


@dataclass(frozen=True, slots=True)
class Template:
    """`render` makes the prompt text of a question text. `uses_tags`: the answer is to be found in `<answer>` tags first.
    `response_prefix` is what the prompt already wrote of the response: `<think>` or nothing. `adds_special_tokens`: the tokenizer is to
    add its own start token, which a chat template has written already."""

    name: TemplateName
    render: Callable[[str], str] = field(repr=False)
    uses_tags: bool
    response_prefix: str
    adds_special_tokens: bool


def make_template(
    name: TemplateName,
    tokenizer: PreTrainedTokenizerBase,
    *,
    example: str,
    text: str | None = None,
    system: str | None = None,
) -> Template:
    """The template called `name`. `example` is the text of one question: with `raw` and `chat`, only a rendered prompt shows how prompts
    end.

    Raises DataError when `custom` has no text, or text without exactly one `{question}`; when `text` or `system` is given to a template
    that would ignore it; or when `chat` meets a tokenizer without a chat template.
    """
    if text is not None and name != "custom":
        raise DataError(f"spec.prompt.text: the template {name} would ignore it; set spec.prompt.template to custom")
    if system is not None and name != "chat":
        raise DataError(f"spec.prompt.system: the template {name} would ignore it; set spec.prompt.template to chat, or use custom text")
    render = _renderer(name, tokenizer, text=text, system=system)
    rendered = render(example)
    prefix = THINK_TAG if rendered.rstrip().endswith(THINK_TAG) else ""
    return Template(
        name=name,
        render=render,
        uses_tags=bool(prefix) or "<answer>" in rendered,
        response_prefix=prefix,
        adds_special_tokens=name != "chat",
    )


def render_prompt(question: Question, template: Template, tokenizer: PreTrainedTokenizerBase) -> Prompt:
    """Raises DataError when the tokenizer cannot encode the text, or when this prompt ends unlike the template's example."""
    text = _rendered(question, template)
    return Prompt(question=question, text=text, tokens=tuple(_encoded([text], [question], template, tokenizer)[0]))


@dataclass(frozen=True, slots=True)
class FittingQuestions:
    """`questions` whose prompts fit; `dropped` counts the others, `examples` names the first few."""

    questions: tuple[Question, ...]
    dropped: int
    examples: tuple[str, ...]


def fitting_questions(
    questions: Sequence[Question],
    template: Template,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_tokens: int,
    long_prompts: Literal["drop", "error"],
    progress: Progress = silent,
) -> FittingQuestions:
    """The questions whose rendered prompts have at most `max_tokens` tokens. Prompts are counted and not kept: a large set would not fit in
    memory as tokens.

    Raises DataError for the first longer one when `long_prompts` is `error`, and when none fits.
    """
    kept: list[Question] = []
    examples: list[str] = []
    for start in range(0, len(questions), PROGRESS_EVERY_ROWS):
        part = questions[start : start + PROGRESS_EVERY_ROWS]
        if start:
            progress("counting prompt tokens", start)
        encoded = _encoded([_rendered(question, template) for question in part], part, template, tokenizer)
        for question, tokens in zip(part, encoded, strict=True):
            if len(tokens) <= max_tokens:
                kept.append(question)
                continue
            message = f"{question.id} ({question.source}) has {len(tokens)} tokens"
            if long_prompts == "error":
                raise DataError(
                    f"spec.prompt.maxTokens: the prompt of {message}, more than {max_tokens}; raise maxTokens, remove the row, or set "
                    "longPrompts to drop"
                )
            examples.append(message)
    if questions and not kept:
        raise DataError(f"spec.prompt.maxTokens: no prompt has at most {max_tokens} tokens ({examples[0]}); raise maxTokens")
    return FittingQuestions(tuple(kept), dropped=len(examples), examples=tuple(examples[:3]))


def _renderer(name: TemplateName, tokenizer: PreTrainedTokenizerBase, *, text: str | None, system: str | None) -> Callable[[str], str]:
    if name == "raw":
        return str
    if name == "chat":
        return _chat_renderer(tokenizer, system)
    if name == "custom":
        if text is None or text.count(PLACEHOLDER) != 1:
            raise DataError(f"spec.prompt.text: the template custom needs a text with {PLACEHOLDER} in it, exactly once; got {text!r}")
        frame = text
    else:
        frame = SHORT if name == "short" else LONG
    before, after = frame.split(PLACEHOLDER)
    return lambda question: f"{before}{question}{after}"


def _chat_renderer(tokenizer: PreTrainedTokenizerBase, system: str | None) -> Callable[[str], str]:
    if not tokenizer.chat_template:
        raise DataError(
            f"spec.prompt.template: the tokenizer {tokenizer.name_or_path or type(tokenizer).__name__} has no chat template (a base model, "
            "perhaps); use short, long, raw or custom"
        )
    opening = [] if system is None else [{"role": "system", "content": system}]

    def render(question: str) -> str:
        messages = [*opening, {"role": "user", "content": question}]
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))

    return render


def _rendered(question: Question, template: Template) -> str:
    text = template.render(question.text)
    if text.rstrip().endswith(THINK_TAG) != bool(template.response_prefix):
        raise DataError(
            f"spec.prompt.template {template.name}: the prompt of {question.id} ends {'without' if template.response_prefix else 'with'} "
            f"{THINK_TAG}, unlike the first one; all prompts of a run must end alike, or rewards would misread responses"
        )
    return text


def _encoded(
    texts: Sequence[str], questions: Sequence[Question], template: Template, tokenizer: PreTrainedTokenizerBase
) -> list[list[int]]:
    try:
        encoded: list[list[int]] = tokenizer(list(texts), add_special_tokens=template.adds_special_tokens, return_attention_mask=False)[
            "input_ids"
        ]
    except Exception as error:
        # tokenizers raises bare Exception when a word has no token.
        raise DataError(
            f"the prompts of {questions[0].id} … {questions[-1].id} cannot be encoded by the model's tokenizer ({error}); a model made "
            "from nothing knows only the words of its task"
        ) from error
    return encoded
