"""Rules of spec.model and spec.prompt."""

from __future__ import annotations

from collections.abc import Iterator

from reasonrl.api.job import JobSpec
from reasonrl.api.model_spec import ScratchSpec
from reasonrl.api.problems import Problem
from reasonrl.api.prompt_spec import PromptSpec

HUB_PREFIX = "hf://"
PLACEHOLDER = "{question}"


def model_problems(spec: JobSpec) -> Iterator[Problem]:
    model = spec.model
    if model.path is None and model.scratch is None:
        yield Problem("spec.model", None, "needs a model: give path (a directory or hf://organisation/name), or scratch")
    if model.path is not None and model.scratch is not None:
        yield Problem("spec.model.scratch", None, "path and scratch are both given; keep one of them")
    if model.path is not None and model.path.startswith(HUB_PREFIX) and not _names_hub_model(model.path):
        yield Problem(
            "spec.model.path", model.path, "a model of the hub is written hf://organisation/name, and its version goes to revision"
        )
    if model.path is not None and "://" in model.path and not model.path.startswith(HUB_PREFIX):
        yield Problem(
            "spec.model.path",
            model.path,
            "only a local directory or hf://organisation/name is supported; fetch the model to a directory first",
        )
    if model.revision is not None and not (model.path or "").startswith(HUB_PREFIX):
        yield Problem("spec.model.revision", model.revision, "only a model of the hub (hf://…) has revisions; remove it")
    if model.scratch is not None and model.path is None:
        yield from _scratch(spec, model.scratch)
    yield from _reference(spec)
    yield from prompt_problems("spec.prompt", spec.prompt)


def _names_hub_model(path: str) -> bool:
    parts = path.removeprefix(HUB_PREFIX).split("/")
    return len(parts) == 2 and all(parts) and not any(mark in path for mark in "@ ")


def _scratch(spec: JobSpec, scratch: ScratchSpec) -> Iterator[Problem]:
    here = "spec.model.scratch"
    if scratch.hidden_size % (2 * scratch.heads):
        yield Problem(
            f"{here}.hiddenSize",
            scratch.hidden_size,
            f"must be a multiple of 2 × heads = {2 * scratch.heads}: each head is hiddenSize / heads wide, and rotary positions need that "
            f"to be even",
        )
    if scratch.heads % scratch.key_value_heads:
        yield Problem(f"{here}.keyValueHeads", scratch.key_value_heads, f"must divide heads ({scratch.heads})")
    longest_prompt = max(
        [spec.prompt.max_tokens, *(each.prompt.max_tokens for each in spec.evaluation.benchmarks if each.prompt is not None)]
    )
    longest = max(
        [*(phase.max_response_tokens for phase in spec.phases), *(each.max_response_tokens or 0 for each in spec.evaluation.benchmarks)]
    )
    if longest_prompt + longest > scratch.context_tokens:
        yield Problem(
            f"{here}.contextTokens",
            scratch.context_tokens,
            f"is too small: the longest prompt ({longest_prompt}) and the longest response ({longest}) make {longest_prompt + longest} "
            f"tokens; "
            "raise it, or lower prompt.maxTokens or maxResponseTokens",
        )
    if spec.model.tokenizer is not None:
        return
    if spec.data.train[0].task is None:
        yield Problem(
            here,
            None,
            "a model made from nothing takes the words of its first training source, which must then be a task; use data.train: [{task: "
            "{name: chainedDigits}}], or name a tokenizer in spec.model.tokenizer",
        )
    prompts = {
        "spec.prompt": spec.prompt,
        **{f"spec.evaluation.benchmarks[{i}].prompt": each.prompt for i, each in enumerate(spec.evaluation.benchmarks)},
    }
    for path, prompt in prompts.items():
        if prompt is not None and prompt.template != "raw":
            yield Problem(
                f"{path}.template",
                prompt.template,
                "a model made from nothing knows only the words of its task, which writes its own prompts: use template: raw",
            )


def _reference(spec: JobSpec) -> Iterator[Problem]:
    reference, kl = spec.model.reference, spec.algorithm.kl
    if kl is not None and not reference.enabled:
        yield Problem("spec.model.reference.enabled", False, "spec.algorithm.kl needs the reference model; remove this line, or remove kl")
    if reference.reset_every_steps and kl is None:
        yield Problem(
            "spec.model.reference.resetEverySteps",
            reference.reset_every_steps,
            "there is no reference to reset, because spec.algorithm.kl is off; give kl, or remove this line",
        )
    if reference.reset_optimizer and not reference.reset_every_steps:
        yield Problem(
            "spec.model.reference.resetOptimizer", True, "the reference is never reset; give resetEverySteps, or remove this line"
        )


def prompt_problems(path: str, prompt: PromptSpec) -> Iterator[Problem]:
    """Rules of one template; `path` is where it stands in the job."""
    if prompt.template == "custom" and prompt.text is None:
        yield Problem(f"{path}.text", None, f"template: custom needs a text with {PLACEHOLDER} in it")
    if prompt.template == "custom" and prompt.text is not None and prompt.text.count(PLACEHOLDER) != 1:
        times = prompt.text.count(PLACEHOLDER)
        yield Problem(
            f"{path}.text", prompt.text, f"must have {PLACEHOLDER} exactly once, where the question goes; it has it {times} times"
        )
    if prompt.template != "custom" and prompt.text is not None:
        yield Problem(f"{path}.text", prompt.text, f"template: {prompt.template} does not read it; use template: custom, or remove it")
    if prompt.template != "chat" and prompt.system is not None:
        yield Problem(
            f"{path}.system", prompt.system, f"template: {prompt.template} has no system message; use template: chat, or remove it"
        )
