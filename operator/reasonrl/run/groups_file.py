"""Sampled steps on disk: what a checkpoint keeps of responses that were written and not yet learnt from.

Tensors go into one safetensors file, and what else there is to a response into its metadata. Prompts are not written: they follow from
the cursor.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from reasonrl.api.setting import StepSetting
from reasonrl.rl.records import FinishReason, Group, Prompt, Response
from reasonrl.run.rollout_source import SampledStep

GROUPS_FILE = "groups-ahead.safetensors"
_STEPS = "steps"


@dataclass(frozen=True, slots=True, kw_only=True)
class StepAhead:
    """A sampled step, with what it was sampled for."""

    step: int
    cursor: int
    max_response_tokens: int
    temperature: float
    prompts: int
    sampled: SampledStep

    @classmethod
    def of(cls, step: int, cursor: int, setting: StepSetting, sampled: SampledStep) -> StepAhead:
        return cls(
            step=step,
            cursor=cursor,
            max_response_tokens=setting.max_response_tokens,
            temperature=setting.temperature,
            prompts=setting.prompts_per_step,
            sampled=sampled,
        )

    def serves(self, *, step: int, cursor: int, setting: StepSetting) -> bool:
        wanted = (step, cursor, setting.max_response_tokens, setting.temperature, setting.prompts_per_step)
        return (self.step, self.cursor, self.max_response_tokens, self.temperature, self.prompts) == wanted


def write_steps(path: Path, steps: Sequence[StepAhead]) -> None:
    """`steps` is not empty."""
    responses = [response for step in steps for group in step.sampled.groups for response in group.responses]
    tensors = {
        "tokens": torch.cat([response.tokens for response in responses]).to(torch.int32),
        "sampler_logprobs": torch.cat([response.sampler_logprobs for response in responses]),
    }
    save_file(tensors, path, metadata={_STEPS: json.dumps([_described(step) for step in steps])})


def read_steps(path: Path, *, take_prompts: Callable[[int, int], tuple[list[Prompt], int]]) -> list[StepAhead]:
    with safe_open(path, framework="pt") as file:
        described = json.loads(file.metadata()[_STEPS])
        tokens, logprobs = file.get_tensor("tokens").to(torch.int64), file.get_tensor("sampler_logprobs")
    place = 0
    steps = []
    for raw in described:
        prompts, following = take_prompts(raw["cursor"], raw["prompts"])
        groups = []
        for prompt, group in zip(prompts, raw["groups"], strict=True):
            responses = []
            for response in group["responses"]:
                end = place + response["length"]
                # Cloned, so that one response does not keep the whole file in memory.
                responses.append(_response(response, tokens[place:end].clone(), logprobs[place:end].clone()))
                place = end
            groups.append(Group(id=group["id"], prompt=prompt, responses=tuple(responses)))
        steps.append(
            StepAhead(
                step=raw["step"],
                cursor=raw["cursor"],
                max_response_tokens=raw["maxResponseTokens"],
                temperature=raw["temperature"],
                prompts=raw["prompts"],
                sampled=SampledStep(groups=groups, cursor=following),
            )
        )
    return steps


def _described(step: StepAhead) -> dict[str, Any]:
    return {
        "step": step.step,
        "cursor": step.cursor,
        "maxResponseTokens": step.max_response_tokens,
        "temperature": step.temperature,
        "prompts": step.prompts,
        "groups": [
            {
                "id": group.id,
                "responses": [
                    {
                        "length": int(response.tokens.numel()),
                        "finish": response.finish.value,
                        "weightVersion": response.weight_version,
                        "text": response.text,
                    }
                    for response in group.responses
                ],
            }
            for group in step.sampled.groups
        ],
    }


def _response(raw: dict[str, Any], tokens: torch.Tensor, logprobs: torch.Tensor) -> Response:
    return Response(
        tokens=tokens,
        sampler_logprobs=logprobs,
        finish=FinishReason(raw["finish"]),
        weight_version=raw["weightVersion"],
        text=raw["text"],
    )
