"""Rules of spec.sft."""

from __future__ import annotations

from collections.abc import Iterator

from reasonrl.api.job import JobSpec
from reasonrl.api.problems import Problem
from reasonrl.api.validation.data import source_problems


def warm_start_problems(spec: JobSpec) -> Iterator[Problem]:
    sft = spec.sft
    if sft is None:
        return
    if sft.steps is None and sft.epochs is None:
        yield Problem("spec.sft", None, "has no length; give steps or epochs")
    if sft.steps is not None and sft.epochs is not None:
        yield Problem("spec.sft.epochs", sft.epochs, "steps and epochs are both given; keep one of them")
    if sft.steps is not None and sft.warmup_steps >= sft.steps:
        yield Problem(
            "spec.sft.warmupSteps",
            sft.warmup_steps,
            f"the warm-up takes all of the {sft.steps} steps, so the learning rate never reaches its peak; lower it",
        )
    for index, source in enumerate(sft.train):
        path = f"spec.sft.train[{index}]"
        yield from source_problems(path, source)
        if source.reasoning_gym is not None:
            yield Problem(
                f"{path}.reasoningGym", None, "has questions and answers, but no responses to imitate; use a path, huggingFace or a task"
            )
        if source.task is not None and source.response_field != "response":
            yield Problem(f"{path}.responseField", source.response_field, "a task writes its own worked responses; remove it")
