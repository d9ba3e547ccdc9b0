"""Tiny random models of several families, a tokenizer of whole words, and the plain forward pass that everything is held against."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Listener
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit

from reasonrl.rl.records import Prompt, Question

VOCABULARY = 96
END = 1
ENGINE_SECONDS = 600

_SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 256,
    "initializer_range": 0.1,
    "bos_token_id": None,
    "eos_token_id": END,
    "pad_token_id": 0,
}
_CONFIGS: dict[str, Callable[[], Any]] = {
    "qwen2-tied": lambda: transformers.Qwen2Config(**_SIZES, num_key_value_heads=4, tie_word_embeddings=True),
    "qwen2-untied": lambda: transformers.Qwen2Config(**_SIZES, num_key_value_heads=2, tie_word_embeddings=False),
    "llama": lambda: transformers.LlamaConfig(**_SIZES, num_key_value_heads=2),
    "llama-scaled-rope": lambda: transformers.LlamaConfig(
        **_SIZES,
        num_key_value_heads=4,
        rope_parameters={
            "rope_type": "llama3",
            "rope_theta": 10000.0,
            "factor": 4.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    ),
    "qwen3": lambda: transformers.Qwen3Config(**_SIZES, num_key_value_heads=2, head_dim=16, tie_word_embeddings=False),
    "mistral": lambda: transformers.MistralConfig(**_SIZES, num_key_value_heads=2, sliding_window=None),
    "mistral-sliding": lambda: transformers.MistralConfig(**_SIZES, num_key_value_heads=2, sliding_window=7),
    "llama-biased": lambda: transformers.LlamaConfig(**_SIZES, num_key_value_heads=2, attention_bias=True, mlp_bias=True),
    "gemma2": lambda: transformers.Gemma2Config(**_SIZES, num_key_value_heads=2, head_dim=32, sliding_window=8, query_pre_attn_scalar=32),
    "gpt-neox": lambda: transformers.GPTNeoXConfig(**_SIZES),
    "gpt2": lambda: transformers.GPT2Config(
        vocab_size=VOCABULARY, n_embd=128, n_layer=2, n_head=4, n_positions=256, initializer_range=0.1, bos_token_id=None, eos_token_id=END
    ),
}


@pytest.fixture(scope="session")
def end_token() -> int:
    return END


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Any]:
    """`make_model(family, seed=0)`: a random float32 model with every vector parameter moved off its initial zeros and ones."""

    def make(family: str, *, seed: int = 0) -> Any:
        torch.manual_seed(seed)
        model = transformers.AutoModelForCausalLM.from_config(_CONFIGS[family]()).float().eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() == 1:
                    parameter.add_(0.2 * torch.randn_like(parameter))
        return model

    return make


@pytest.fixture(scope="session")
def tokenizer() -> Any:
    words = {"<pad>": 0, "<end>": END} | {f"w{index}": index for index in range(2, VOCABULARY)}
    built = Tokenizer(WordLevel(words, unk_token="<pad>"))
    built.pre_tokenizer = WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=built, eos_token="<end>", pad_token="<pad>")


@pytest.fixture(scope="session")
def make_prompts() -> Callable[[Sequence[int]], list[Prompt]]:
    """`make_prompts(lengths)`: prompts of random tokens, one for each length."""

    def make(lengths: Sequence[int]) -> list[Prompt]:
        random = torch.Generator().manual_seed(7)
        prompts = []
        for index, length in enumerate(lengths):
            tokens = tuple(torch.randint(2, VOCABULARY, (length,), generator=random).tolist())
            question = Question(id=f"q{index}", text="", answer="", source="test")
            prompts.append(Prompt(question=question, text=" ".join(f"w{token}" for token in tokens), tokens=tokens))
        return prompts

    return make


@pytest.fixture(scope="session")
def plain_logprobs() -> Callable[..., torch.Tensor]:
    """`plain_logprobs(model, prompt, tokens, temperature=1.0)`: log-probs `[time]` by one uncached forward pass."""

    @torch.no_grad()
    def score(model: Any, prompt: Prompt, tokens: torch.Tensor, *, temperature: float = 1.0) -> torch.Tensor:
        row = torch.cat((torch.tensor(prompt.tokens), tokens))[None]
        logits = model(input_ids=row, use_cache=False).logits[0, len(prompt.tokens) - 1 : -1].double() / temperature
        return torch.log_softmax(logits, dim=1).gather(1, tokens[:, None]).squeeze(1)

    return score


class EngineProcess:
    """The methods of `engine_process.Host`, called across a socket, each with a deadline."""

    def __init__(self, directory: Path) -> None:
        address = str(directory / "engine")
        environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
        self._log = (directory / "log").open("w+")
        with Listener(address, family="AF_UNIX") as listener:
            listener._listener._socket.settimeout(ENGINE_SECONDS)
            script = Path(__file__).with_name("engine_process.py")
            self.process = subprocess.Popen([sys.executable, str(script), address], env=environment, stdout=self._log, stderr=self._log)
            self._connection = listener.accept()

    def __getattr__(self, name):
        def call(*arguments, **options):
            self._connection.send_bytes(pickle.dumps((name, arguments, options)))
            assert self._connection.poll(ENGINE_SECONDS), f"{name} did not answer"
            kind, value = pickle.loads(self._connection.recv_bytes())
            if kind == "error":
                raise value
            return value

        return call

    def end(self):
        self._connection.close()
        self.process.wait(timeout=60)
        self._log.close()


@pytest.fixture(scope="session")
def engine_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    process = EngineProcess(tmp_path_factory.mktemp("vllm"))
    yield process
    process.end()


@pytest.fixture
def other_engine_process(tmp_path: Path) -> Iterator[EngineProcess]:
    """One that a test may kill."""
    process = EngineProcess(tmp_path)
    yield process
    process.end()
