"""TRL's side of the step benchmark: GRPOTrainer in a process of its own, a step at a time on command."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

os.environ.update(HF_HUB_OFFLINE="1", HF_HUB_DISABLE_TELEMETRY="1", TOKENIZERS_PARALLELISM="false", TRL_EXPERIMENTAL_SILENCE="1")

import torch
from datasets import Dataset
from transformers import AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from step_settings import LEARNING_RATE, MAX_RESPONSE_TOKENS, PROMPTS_FILE, PROMPTS_PER_STEP, ROLLOUTS_PER_PROMPT, reward, setting_named
from step_turns import Turns


class TurnByTurn(TrainerCallback):
    """Times from the end of one step to the end of the next, less the wait for the word to go on."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.tokens = 0

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        self.turns.wait()
        return control

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
        self.turns.done(tokens=self.tokens)
        if not self.turns.wait():
            control.should_training_stop = True
        return control


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--setting", required=True)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--rows-per-batch", type=int, default=PROMPTS_PER_STEP * ROLLOUTS_PER_PROMPT)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    setting = setting_named(options.setting)
    prompts = json.loads((options.model / PROMPTS_FILE).read_text())
    rows = PROMPTS_PER_STEP * ROLLOUTS_PER_PROMPT
    config = GRPOConfig(
        output_dir=str(options.model / "trl"),
        use_cpu=True,
        bf16=options.dtype == "bfloat16",
        model_init_kwargs={"dtype": "float32", "attn_implementation": "sdpa"},
        gradient_checkpointing=False,
        per_device_train_batch_size=options.rows_per_batch,
        gradient_accumulation_steps=rows // options.rows_per_batch,
        num_generations=ROLLOUTS_PER_PROMPT,
        max_completion_length=MAX_RESPONSE_TOKENS,
        generation_kwargs={"min_new_tokens": MAX_RESPONSE_TOKENS} if setting.mean_length is None else None,
        temperature=1.0,
        top_p=1.0,
        top_k=0,
        beta=0.0,
        loss_type="dapo",
        epsilon=0.2,
        epsilon_high=0.28,
        scale_rewards="group",
        learning_rate=LEARNING_RATE,
        lr_scheduler_type="constant",
        optim="adamw_torch_fused",
        max_steps=10_000,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
        shuffle_dataset=False,
        seed=1,
    )
    turns = Turns()
    callback = TurnByTurn(turns)

    def scored(completions: list[str], completion_ids: list[list[int]], **_: Any) -> list[float]:
        callback.tokens = sum(len(ids) for ids in completion_ids)
        return [reward(text) for text in completions]

    trainer = GRPOTrainer(
        model=str(options.model),
        reward_funcs=scored,
        args=config,
        train_dataset=Dataset.from_dict({"prompt": prompts}),
        processing_class=AutoTokenizer.from_pretrained(options.model, padding_side="left"),
        callbacks=[callback],
    )
    trainer.train()
    turns.finish()


if __name__ == "__main__":
    main()
