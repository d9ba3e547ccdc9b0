"""Models made from nothing: the shape that was asked for, the same weights from the same seed, and loadable by anyone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from reasonrl.api.model_spec import ScratchSpec
from reasonrl.train.protocol import TrainerError
from reasonrl.train.scratch_model import make_scratch_model

SMALL = ScratchSpec.model_validate(
    {"hiddenSize": 32, "layers": 2, "heads": 4, "keyValueHeads": 2, "feedForwardSize": 48, "contextTokens": 64}
)


@pytest.fixture
def tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {word: number for number, word in enumerate(["<pad>", "<eos>", *"abcdefghij"])}
    backend = Tokenizer(WordLevel(vocabulary))
    backend.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<eos>", pad_token="<pad>")


def test_the_shape_is_that_of_the_spec(tokenizer: PreTrainedTokenizerFast) -> None:
    model = make_scratch_model(SMALL, tokenizer, seed=0)
    config = model.config
    assert (config.hidden_size, config.num_hidden_layers, config.num_attention_heads, config.num_key_value_heads) == (32, 2, 4, 2)
    assert (config.intermediate_size, config.max_position_embeddings, config.vocab_size) == (48, 64, 12)
    assert (config.eos_token_id, config.pad_token_id, config.bos_token_id) == (1, 0, None)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_the_demos_model_has_two_thirds_of_a_million_weights(tokenizer: PreTrainedTokenizerFast) -> None:
    """By hand: a layer has four square projections, three feed-forward matrices and two norms; then a last norm, and the
    embeddings, which are tied."""
    layer = 4 * 128 * 128 + 3 * 128 * 384 + 2 * 128
    model = make_scratch_model(ScratchSpec(), tokenizer, seed=0)
    assert model.num_parameters() == 3 * layer + 128 + 12 * 128


def test_untied_embeddings_have_a_head_of_their_own(tokenizer: PreTrainedTokenizerFast) -> None:
    tied = make_scratch_model(SMALL, tokenizer, seed=0)
    untied = make_scratch_model(SMALL.model_copy(update={"tie_embeddings": False}), tokenizer, seed=0)
    assert tied.lm_head.weight is tied.model.embed_tokens.weight
    assert untied.lm_head.weight is not untied.model.embed_tokens.weight


def test_weights_come_from_the_seed_alone_and_the_global_generator_is_left_as_it_was(tokenizer: PreTrainedTokenizerFast) -> None:
    torch.manual_seed(123)
    expected_draw = torch.rand(3)
    torch.manual_seed(123)
    first = make_scratch_model(SMALL, tokenizer, seed=7).state_dict()
    assert torch.equal(torch.rand(3), expected_draw)
    again = make_scratch_model(SMALL, tokenizer, seed=7).state_dict()
    other = make_scratch_model(SMALL, tokenizer, seed=8).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["model.embed_tokens.weight"], other["model.embed_tokens.weight"])


def test_matrices_have_the_deviation_that_was_asked_for(tokenizer: PreTrainedTokenizerFast) -> None:
    for deviation in (0.02, 0.06):
        model = make_scratch_model(ScratchSpec(initializer_range=deviation), tokenizer, seed=0)
        weights = model.model.layers[0].mlp.up_proj.weight
        assert float(weights.detach().std()) == pytest.approx(deviation, rel=0.02)


def test_saved_it_is_loaded_by_auto_model(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    model = make_scratch_model(SMALL, tokenizer, seed=3).eval()
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    tokens = torch.tensor([[2, 3, 4, 5]])
    with torch.no_grad():
        assert torch.equal(model(tokens).logits, loaded(tokens).logits)


def test_the_tokenizer_saved_beside_it_is_loaded_by_auto_tokenizer(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    """AutoTokenizer looks at the model's type too, and for some types overrides the class that the tokenizer was saved with."""
    make_scratch_model(SMALL, tokenizer, seed=3).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded("j a c c")["input_ids"] == tokenizer("j a c c")["input_ids"] == [11, 2, 4, 4]
    assert loaded.decode([11, 2, 1], skip_special_tokens=True) == "j a"


@pytest.mark.parametrize("change", [{"heads": 3}, {"heads": 32}, {"key_value_heads": 3}])
def test_heads_that_do_not_divide_are_named(change: dict[str, int], tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(TrainerError, match=r"spec.model.scratch: hiddenSize 32 must be a multiple of twice heads"):
        make_scratch_model(SMALL.model_copy(update=change), tokenizer, seed=0)


def test_a_tokenizer_without_an_end_token_is_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.eos_token = None
    with pytest.raises(TrainerError, match="no end token"):
        make_scratch_model(SMALL, tokenizer, seed=0)
