"""Two processes that share a model: on a CPU they are slower than one, but they are the same code as on two GPUs."""

from __future__ import annotations

import importlib.util
import os
import signal
import time
from pathlib import Path

import pytest

from reasonrl.rollout.errors import RolloutError
from reasonrl.rollout.protocol import SamplingSetting, WeightLoadError
from reasonrl.rollout.task import cut_into_tasks

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("vllm") is None, reason="vLLM is not installed: pip install reasonrl[vllm] or reasonrl[cpu]"
    ),
]

SETTING = SamplingSetting(max_response_tokens=16, temperature=1.0, seed=5)
LOGPROB_BOUND = 1e-4
GONE_SECONDS = 60


def children(process):
    found = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [int(child) for child in found]


def shared_files():
    return {path.name for path in Path("/dev/shm").iterdir() if not path.name.startswith("reasonrl-")}


def wait_until(condition, what):
    due = time.monotonic() + GONE_SECONDS
    while not condition():
        assert time.monotonic() < due, what
        time.sleep(0.05)


def wait_until_gone(processes):
    wait_until(lambda: not any(alive(process) for process in processes), "the processes are gone")


def alive(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def start(engine, family, make_model, tokenizer, end_token, directory):
    make_model(family).save_pretrained(directory)
    engine.start(
        str(directory),
        tokenizer,
        stop_token_ids=[end_token],
        max_sequences=8,
        key_value_cache_bytes=16 * 2**20,
        context_tokens=128,
        tensor_parallel=2,
        random_weights=True,
        can_sleep=True,
        probe_every=1,
    )


def weights_of(model):
    return [(name, parameter.detach()) for name, parameter in model.named_parameters()]


def worst_gap(engine, model, prompts, plain_logprobs):
    groups = engine.sample(prompts, responses_per_prompt=3, setting=SETTING)
    return max(
        float((plain_logprobs(model, prompt, response.tokens) - response.sampler_logprobs).abs().max())
        for prompt, group in zip(prompts, groups, strict=True)
        for response in group
    )


def test_an_engine_of_two_processes_is_as_exact_as_one_and_they_die_with_it(
    other_engine_process, make_model, make_prompts, tokenizer, end_token, plain_logprobs, tmp_path
):
    before = shared_files()
    engine, prompts, family = other_engine_process, make_prompts((3, 17, 9)), "qwen2-tied"
    start(engine, family, make_model, tokenizer, end_token, tmp_path / "model")
    with pytest.raises(RolloutError, match="no usable weights: it started with random ones"):
        engine.sample(prompts, responses_per_prompt=1, setting=SETTING)
    models = [make_model(family, seed=seed) for seed in range(3)]
    for version, model in enumerate(models[:2], start=1):
        engine.load(weights_of(model), version=version)
        assert worst_gap(engine, model, prompts, plain_logprobs) <= LOGPROB_BOUND
    with pytest.raises(WeightLoadError, match="damaged on its way"):
        engine.load_damaged(weights_of(models[2]), version=3, announced=weights_of(models[2]), flip=True)
    engine.sleep()
    engine.wake()
    engine.load(weights_of(models[2]), version=4)
    assert worst_gap(engine, models[2], prompts, plain_logprobs) <= LOGPROB_BOUND
    tasks = cut_into_tasks(prompts, responses_per_prompt=2, setting=SETTING, prompts_per_task=1, call=1)
    assert engine.submit_and_step(tasks, steps=1) == 3
    started = children(engine.process.pid)
    # And the process in which Python keeps account of shared memory.
    assert len(started) == 3
    os.kill(engine.process.pid, signal.SIGKILL)
    wait_until_gone(started)
    wait_until(lambda: shared_files() <= before, "nothing is left in /dev/shm")


def test_heads_that_cannot_be_shared_evenly_are_refused(engine_process, make_model, tokenizer, end_token, tmp_path):
    make_model("qwen2-tied").save_pretrained(tmp_path)
    with pytest.raises(RolloutError, match=r"spec.rollout.gpusPerReplica: 3 GPUs cannot share the model's 4 attention heads"):
        engine_process.start(str(tmp_path), tokenizer, stop_token_ids=[end_token], max_sequences=4, tensor_parallel=3)
