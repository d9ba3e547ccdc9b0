"""The plan of a job: pods, GPUs, batch, phases, and what cannot fit or divide."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import pytest

from reasonrl.api.model_shape import ModelShape, UnknownShape
from reasonrl.api.parse import parse_job
from reasonrl.api.problems import JobError, Problem
from reasonrl.api.resource_plan import ResourcePlan, plan_resources

JobWith = Callable[[Mapping[str, object]], dict[str, Any]]

QWEN_7B = ModelShape(
    hidden_size=3584,
    layers=28,
    heads=28,
    key_value_heads=4,
    head_size=128,
    feed_forward_size=18944,
    vocabulary=152064,
    tied_embeddings=False,
    query_key_value_bias=True,
)
UNKNOWN = UnknownShape("it is not on this machine")
FIRST_PHASE = {"name": "ctx-8k", "maxResponseTokens": 8192, "until": {"truncatedShare": {}, "maxSteps": 800}}
CLUSTER: dict[str, object] = {
    "metadata": {"name": "zero-7b", "namespace": "team-a"},
    "spec.algorithm": {"promptsPerStep": 128, "rolloutsPerPrompt": 16},
    "spec.trainer": {"engine": "deepspeed", "replicas": 2, "gpusPerReplica": 8, "zeroStage": 3, "gradientCheckpointing": True},
    "spec.rollout": {"engine": "vllm", "replicas": 4, "minReplicas": 2, "gpusPerReplica": 2},
    "spec.phases": [
        FIRST_PHASE,
        {"name": "ctx-16k", "maxResponseTokens": 16384, "until": {"steps": 300}, "rollout": {"replicas": 8, "gpusPerReplica": 4}},
        {"name": "ctx-20k", "maxResponseTokens": 20480, "until": {"steps": 200}, "advance": "Manual", "promptsPerStep": 64},
    ],
}


def plan(mapping: dict[str, Any], shape: ModelShape | UnknownShape = QWEN_7B) -> ResourcePlan:
    return plan_resources(parse_job(mapping), model_shape=shape)


def problems(mapping: dict[str, Any], shape: ModelShape | UnknownShape = QWEN_7B) -> list[Problem]:
    with pytest.raises(JobError) as raised:
        plan(mapping, shape)
    return list(raised.value.problems)


def test_pods_have_the_names_that_the_operator_will_give_them(job_with: JobWith) -> None:
    found = plan(job_with(CLUSTER))
    assert [pod.name for pod in found.pods] == [
        "zero-7b-trainer-0",
        "zero-7b-trainer-1",
        "zero-7b-rollout-0",
        "zero-7b-rollout-1",
        "zero-7b-rollout-2",
        "zero-7b-rollout-3",
    ]
    assert found.pods[0].host == "zero-7b-trainer-0.zero-7b.team-a.svc"


def test_gpus_are_those_of_the_largest_phase(job_with: JobWith) -> None:
    assert plan(job_with(CLUSTER)).gpus == 2 * 8 + 8 * 4


def test_colocated_engines_take_no_pods_of_their_own_and_memory_adds(job_with: JobWith) -> None:
    edits = {**CLUSTER, "spec.phases": [FIRST_PHASE], "spec.rollout.memoryUtilization": 0.4}
    apart = plan(job_with(edits))
    together = plan(job_with({**edits, "spec.rollout.placement": "Colocated"}))
    assert {pod.role for pod in together.pods} == {"trainer"}
    assert together.gpus == 16
    assert together.memory[0].total == apart.memory[0].total + apart.memory[1].total


def test_batch_and_tokens_of_a_step(job_with: JobWith) -> None:
    first, second, third = plan(job_with(CLUSTER)).phases
    assert (first.responses_per_step, first.optimizer_updates_per_step) == (2048, 1)
    assert first.most_tokens == 2048 * (1024 + 8192)
    assert second.most_tokens == 2048 * (1024 + 16384)
    assert (third.prompts_per_step, third.responses_per_step) == (64, 1024)


def test_steps_are_exact_only_as_far_as_no_trigger_can_end_a_phase(job_with: JobWith) -> None:
    first, second, third = plan(job_with(CLUSTER)).phases
    assert (first.first_step, first.last_step, first.exact) == (0, 799, True)
    assert (second.first_step, second.last_step, second.exact) == (800, 1099, False)
    assert (third.first_step, third.last_step, third.exact, third.waits_for_a_person) == (1100, 1299, False, True)


def test_schedule_values_at_both_ends_of_a_phase(job_with: JobWith) -> None:
    found = plan(
        job_with(
            {
                "spec.algorithm.kl.schedule": {"type": "cosine", "start": 0.001, "end": 0.0, "steps": 400},
                "spec.phases": [
                    {"name": "a", "maxResponseTokens": 64, "until": {"steps": 200}},
                    {"name": "b", "maxResponseTokens": 64, "until": {"steps": 201}, "temperature": 1.2},
                ],
            }
        )
    )
    a, b = found.phases
    assert a.at_start.kl_coefficient == 0.001
    assert b.at_start.kl_coefficient == pytest.approx(0.0005)
    assert b.at_end.kl_coefficient == 0.0
    assert (a.at_end.temperature, b.at_end.temperature) == (1.0, 1.2)


@pytest.mark.parametrize(("updates", "epochs", "on_policy"), [(1, 1, True), (4, 1, False), (1, 2, False)])
def test_on_policy_is_one_update_a_step(updates: int, epochs: int, on_policy: bool, job_with: JobWith) -> None:
    found = plan(job_with({"spec.algorithm": {"updatesPerStep": updates, "epochs": epochs}}), UNKNOWN)
    assert found.on_policy is on_policy
    assert on_policy or f"= {updates * epochs} updates" in found.policy_reason


def test_an_unknown_model_has_no_estimate_and_says_why(job_with: JobWith) -> None:
    found = plan(job_with(CLUSTER), UNKNOWN)
    assert (found.memory, found.checkpoint, found.parameters) == ((), None, None)
    assert found.memory_unknown == "it is not on this machine"
    assert found.gpus == 48


def test_a_trainer_that_does_not_fit_is_refused_with_its_arithmetic(job_with: JobWith) -> None:
    (problem,) = problems(job_with({"spec.trainer": {"gpusPerReplica": 1}}))
    assert problem.field == "spec.trainer"
    assert "of 80 GiB (trainer.gpuMemory)" in problem.message
    assert "optimizer 56.7 GiB = 7,615,616,512 parameters × 8 bytes" in problem.message


def test_an_engine_whose_weights_fill_its_gpu_is_refused_with_its_arithmetic(job_with: JobWith) -> None:
    mapping = job_with(
        {"spec.rollout": {"engine": "vllm", "gpusPerReplica": 1, "memoryUtilization": 0.7}, "spec.trainer.gpuMemory": "20Gi"}
    )
    (problem,) = problems(mapping)
    assert problem.field == "spec.rollout.gpusPerReplica"
    assert "not one sequence of 3,072 tokens fits" in problem.message
    assert "7,615,616,512 parameters × 2 bytes" in problem.message


def test_a_cache_on_a_cpu_must_hold_one_sequence(job_with: JobWith) -> None:
    (problem,) = problems(job_with({"spec.rollout": {"engine": "vllm", "keyValueCache": "100Mi"}}))
    assert problem.field == "spec.rollout.keyValueCache"
    assert plan(job_with({"spec.rollout": {"engine": "vllm", "keyValueCache": "2Gi"}}))


def test_attention_heads_are_divided_among_the_gpus_of_an_engine(job_with: JobWith) -> None:
    (problem,) = problems(job_with({"spec.rollout": {"engine": "vllm", "gpusPerReplica": 8}}))
    assert (problem.field, problem.value) == ("spec.rollout.gpusPerReplica", 8)
    assert "28 attention heads" in problem.message


def test_every_rank_needs_a_response(job_with: JobWith) -> None:
    mapping = job_with({**CLUSTER, "spec.algorithm": {"promptsPerStep": 8, "rolloutsPerPrompt": 4, "updatesPerStep": 4}})
    assert {problem.field for problem in problems(mapping, UNKNOWN)} == {"spec.algorithm.promptsPerStep"}
    assert "= 8 responses for 16 trainer ranks" in problems(mapping, UNKNOWN)[0].message


def test_checkpoints_are_counted_with_the_one_being_written(job_with: JobWith) -> None:
    found = plan(job_with({"spec.checkpoint": {"keepLast": 3, "keepBest": {"metric": "reward", "count": 2}}}))
    assert found.checkpoint is not None
    assert found.checkpoint.size == 7_615_616_512 * 14
    assert found.checkpoint.kept == 6 * found.checkpoint.size


def test_a_checkpoint_that_has_no_room_is_refused(job_with: JobWith) -> None:
    (problem,) = problems(job_with({"spec.checkpoint.maxBytes": "50Gi"}))
    assert problem.field == "spec.checkpoint.maxBytes"
    assert "99.3 GiB" in problem.message


def test_a_plan_is_plain_data(job_with: JobWith) -> None:
    assert json.loads(json.dumps(asdict(plan(job_with(CLUSTER)))))["gpus"] == 48


def test_reading_on_one_machine_adds_up(job_with: JobWith) -> None:
    found = plan(job_with({}))
    assert all(estimate.limit is None for estimate in found.memory)
    assert any("On one machine" in note for note in found.notes)
