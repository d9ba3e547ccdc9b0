"""A model made from nothing: a small Llama with random weights.

For the demo and for tests, where no pre-trained weights are wanted: with a task that ships its own tokenizer, a warm start and
reinforcement learning fit into minutes on a laptop. The architecture is a stock one, so every engine and every tool can load the result.
(Not Qwen2: beside a model of that type, transformers' AutoTokenizer loads a Qwen tokenizer, whatever class the saved one names.)
"""

from __future__ import annotations

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

from reasonrl.api.model_spec import ScratchSpec
from reasonrl.train.protocol import TrainerError


def make_scratch_model(shape: ScratchSpec, tokenizer: PreTrainedTokenizerBase, *, seed: int) -> LlamaForCausalLM:
    """A float32 Llama with a token embedding for each token of `tokenizer`. The same arguments give the same weights, and torch's global
    generator is left as it was.

    Raises TrainerError when the heads do not divide the hidden size or the key-value heads the heads, or when the tokenizer lacks an end
    token.
    """
    if shape.hidden_size % (2 * shape.heads) or shape.heads % shape.key_value_heads:
        raise TrainerError(
            f"spec.model.scratch: hiddenSize {shape.hidden_size} must be a multiple of twice heads {shape.heads} (rotary positions need "
            f"heads of even size), and heads a multiple of keyValueHeads {shape.key_value_heads}"
        )
    if tokenizer.eos_token_id is None:
        raise TrainerError("spec.model.scratch: the tokenizer has no end token, so no response could ever end")
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden_size,
        intermediate_size=shape.feed_forward_size,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads,
        max_position_embeddings=shape.context_tokens,
        initializer_range=shape.initializer_range,
        tie_word_embeddings=shape.tie_embeddings,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)
