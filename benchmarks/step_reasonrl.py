"""Our side of the step benchmark: the parts of a run in a process of their own, a step at a time on command."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", TOKENIZERS_PARALLELISM="false")

import torch
from transformers import AutoTokenizer, LlamaForCausalLM

from reasonrl.rl.records import Grade, GradedGroup, Group, Prompt, Question
from reasonrl.rollout.protocol import SamplingSetting
from reasonrl.rollout.torch_engine import TorchEngine
from reasonrl.run.learning_batch import BatchRules, learning_batch
from reasonrl.train.protocol import UpdateSetting
from step_settings import LEARNING_RATE, MAX_RESPONSE_TOKENS, PROMPTS_FILE, PROMPTS_PER_STEP, ROLLOUTS_PER_PROMPT, reward, setting_named
from step_trainer import trainer_for
from step_turns import Turns


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--setting", required=True)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], required=True)
    parser.add_argument("--threads", type=int, required=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    setting = setting_named(options.setting)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = LlamaForCausalLM.from_pretrained(options.model, dtype=torch.float32)
    texts = json.loads((options.model / PROMPTS_FILE).read_text())
    prompts = [
        Prompt(question=Question(id=str(n), text=text, answer="", source="x"), text=text, tokens=tuple(tokenizer(text)["input_ids"]))
        for n, text in enumerate(texts)
    ]
    trainer = trainer_for(model, vocabulary=setting.vocabulary, dtype=getattr(torch, options.dtype), tokens_per_micro_batch=4_096)
    ends = {tokenizer.eos_token_id} if setting.mean_length is not None else set()
    engine = TorchEngine(trainer.model, tokenizer, stop_token_ids=ends, max_sequences=256, dtype=torch.float32)
    rules = BatchRules(estimator="grpo", epsilon=1e-6, selection=(), updates_per_step=1, epochs=1, kl=None)
    update = UpdateSetting(
        learning_rate=LEARNING_RATE,
        temperature=1.0,
        kl_coefficient=0.0,
        entropy_coefficient=0.0,
        clip_low=0.2,
        clip_high=0.28,
        constant_length=MAX_RESPONSE_TOKENS,
    )
    turns = Turns()
    step = 0
    while turns.wait():
        start = step * PROMPTS_PER_STEP % len(prompts)
        chosen = prompts[start : start + PROMPTS_PER_STEP]
        sampled = engine.sample(
            chosen,
            responses_per_prompt=ROLLOUTS_PER_PROMPT,
            setting=SamplingSetting(max_response_tokens=MAX_RESPONSE_TOKENS, temperature=1.0, seed=step),
        )
        groups = [Group(id=f"{step}-{n}", prompt=p, responses=r) for n, (p, r) in enumerate(zip(chosen, sampled, strict=True))]
        graded = [
            GradedGroup(group=g, grades=tuple(Grade(reward=reward(r.text), correct=None, scores=()) for r in g.responses)) for g in groups
        ]
        batch = learning_batch(graded, rules, kl_coefficient=0.0, reference=None)
        trainer.update(batch.updates, setting=update)
        step += 1
        engine.load(trainer.weights(), version=step)
        turns.done(tokens=sum(r.tokens.numel() for rs in sampled for r in rs))
    turns.finish()


if __name__ == "__main__":
    main()
