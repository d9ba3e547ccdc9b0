"""Small tokenizers that need no download: one that knows every text, with and without a chat template."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

CHAT_TEMPLATE = (
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def byte_tokenizer(*, chat_template: str | None = None, start_token: bool = False) -> PreTrainedTokenizerFast:
    """One token a byte, plus `<eos>` and `<bos>`; `start_token` puts the latter in front, as Llama's tokenizer does."""
    vocabulary = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    backend = Tokenizer(BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<eos>", "<bos>"])
    if start_token:
        backend.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", backend.token_to_id("<bos>"))])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", bos_token="<bos>", pad_token="<eos>")
    tokenizer.chat_template = chat_template
    return tokenizer


@pytest.fixture
def plain_tokenizer() -> PreTrainedTokenizerFast:
    return byte_tokenizer()


@pytest.fixture
def starting_tokenizer() -> PreTrainedTokenizerFast:
    return byte_tokenizer(start_token=True, chat_template="<bos>" + CHAT_TEMPLATE)


@pytest.fixture
def chat_tokenizer() -> PreTrainedTokenizerFast:
    return byte_tokenizer(chat_template=CHAT_TEMPLATE)


@pytest.fixture
def thinking_tokenizer() -> PreTrainedTokenizerFast:
    """A chat template that opens the thinking, as those of distilled reasoning models do."""
    return byte_tokenizer(chat_template=CHAT_TEMPLATE.replace("<|assistant|>", "<|assistant|><think>\n"))
