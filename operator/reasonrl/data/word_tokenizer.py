"""A tokenizer of whole words, for models made from nothing.

A task that ships its own words gets one token for each, plus an end and a padding token. It is an ordinary fast tokenizer: saved beside a
model, `AutoTokenizer.from_pretrained` loads it.
"""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerFast

END_TOKEN = "<eos>"
PADDING_TOKEN = "<pad>"


def word_tokenizer(words: Sequence[str], *, context_tokens: int) -> PreTrainedTokenizerFast:
    """Ids: padding 0, end 1, then `words` in order. There is no token for an unknown word: text that holds one cannot be encoded."""
    vocabulary = {word: number for number, word in enumerate((PADDING_TOKEN, END_TOKEN, *words))}
    backend = Tokenizer(WordLevel(vocabulary))
    backend.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token=END_TOKEN,
        pad_token=PADDING_TOKEN,
        model_max_length=context_tokens,
        clean_up_tokenization_spaces=False,
    )
