"""The lean forward pass against the library's: the same hidden states, and the same gradient of every parameter."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from reasonrl.train.lean_family import misfit
from reasonrl.train.lean_forward import lean_forward_for
from reasonrl.train.policy_forward import pack, response_hidden_states
from reasonrl.train.protocol import TrainingSequence

COMMON = {
    "vocab_size": 61,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
}


def model_of(kind: str) -> PreTrainedModel:
    torch.manual_seed(0)
    match kind:
        case "llama":
            return LlamaForCausalLM(LlamaConfig(**COMMON, num_attention_heads=4, num_key_value_heads=4, tie_word_embeddings=True))
        case "llama with grouped heads and scaled rotary":
            rope = {"rope_type": "linear", "factor": 2.0, "rope_theta": 500.0}
            return LlamaForCausalLM(LlamaConfig(**COMMON, num_attention_heads=4, num_key_value_heads=2, head_dim=16, rope_parameters=rope))
        case "qwen3 with norms of queries and keys":
            model = Qwen3ForCausalLM(Qwen3Config(**COMMON, num_attention_heads=4, num_key_value_heads=2, head_dim=16))
            for name, parameter in model.named_parameters():
                if "norm" in name:
                    torch.nn.init.uniform_(parameter, 0.5, 1.5)
            return model
        case _:
            model = Qwen2ForCausalLM(Qwen2Config(**COMMON, num_attention_heads=6, num_key_value_heads=2))
            for name, parameter in model.named_parameters():
                if name.endswith("bias"):
                    torch.nn.init.normal_(parameter)
            return model


KINDS = ["llama", "llama with grouped heads and scaled rotary", "qwen2 with biases", "qwen3 with norms of queries and keys"]


def sequences(seed: int = 1, *, groups: int = 4, longest: int = 90) -> list[TrainingSequence]:
    """Groups of three responses behind one prompt, of very different lengths, in a mixed order."""
    generator = torch.Generator().manual_seed(seed)

    def integer(high: int) -> int:
        return int(torch.randint(1, high, (), generator=generator))

    found = []
    for _ in range(groups):
        prompt = torch.randint(0, 61, (integer(40),), generator=generator)
        for _ in range(3):
            length = integer(longest)
            response = torch.randint(0, 61, (length,), generator=generator)
            found.append(
                TrainingSequence(
                    tokens=torch.cat([prompt, response]),
                    prompt_length=len(prompt),
                    advantages=torch.zeros(length),
                    mask=torch.ones(length),
                    sampler_logprobs=torch.zeros(length),
                )
            )
    order = torch.randperm(len(found), generator=generator).tolist()
    return [found[index] for index in order]


def weighed(hidden: torch.Tensor) -> torch.Tensor:
    """A loss that treats every hidden number differently."""
    return (hidden.float() * torch.randn(hidden.shape, generator=torch.Generator().manual_seed(9))).sum()


def gradients(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_states_and_gradients_are_the_librarys(kind: str) -> None:
    model = model_of(kind)
    other = copy.deepcopy(model)
    lean = lean_forward_for(model, compute_dtype=torch.float32)
    assert lean is not None
    batch = sequences()
    found = lean(batch)
    expected = response_hidden_states(other, pack(batch, device=torch.device("cpu")))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    weighed(found).backward()
    weighed(expected).backward()
    mine, theirs = gradients(model), gradients(other)
    assert mine.keys() == theirs.keys()
    for name, gradient in theirs.items():
        torch.testing.assert_close(
            mine[name], gradient, rtol=1e-3, atol=1e-4 * float(gradient.abs().max()), msg=lambda text, n=name: f"{n}: {text}"
        )


def test_long_sequences_whose_probabilities_are_computed_again() -> None:
    model = model_of("llama with grouped heads and scaled rotary")
    other = copy.deepcopy(model)
    lean = lean_forward_for(model, compute_dtype=torch.float32)
    assert lean is not None
    batch = sequences(3, groups=1, longest=460)
    found, expected = lean(batch), response_hidden_states(other, pack(batch, device=torch.device("cpu")))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    weighed(found).backward()
    weighed(expected).backward()
    for name, gradient in gradients(other).items():
        torch.testing.assert_close(gradients(model)[name], gradient, rtol=1e-2, atol=1e-3 * float(gradient.abs().max()))


def test_the_order_and_the_company_of_sequences_do_not_matter() -> None:
    lean = lean_forward_for(model_of("llama"), compute_dtype=torch.float32)
    assert lean is not None
    batch = sequences()
    together = torch.split(lean(batch), [each.response_length for each in batch])
    for sequence, hidden in zip(batch, together, strict=True):
        torch.testing.assert_close(lean([sequence]), hidden, rtol=1e-4, atol=1e-4)


def test_checkpointing_layers_gives_the_same_gradient() -> None:
    model = model_of("qwen2 with biases")
    other = copy.deepcopy(model)
    batch = sequences()
    for each, again in ((model, False), (other, True)):
        lean = lean_forward_for(each, compute_dtype=torch.float32, gradient_checkpointing=again)
        assert lean is not None
        weighed(lean(batch)).backward()
    for name, gradient in gradients(model).items():
        torch.testing.assert_close(gradients(other)[name], gradient, rtol=1e-5, atol=1e-6)


def test_bfloat16_products_stay_near_float32() -> None:
    model = model_of("llama")
    exact, rough = (lean_forward_for(model, compute_dtype=dtype) for dtype in (torch.float32, torch.bfloat16))
    assert exact is not None
    assert rough is not None
    batch = sequences()
    with torch.no_grad():
        wanted, found = exact(batch), rough(batch)
    assert found.dtype == torch.float32
    assert float((found - wanted).abs().max() / wanted.abs().max()) < 0.05
    assert not torch.equal(found, wanted)


def test_a_model_of_another_family_is_left_to_the_library() -> None:
    model = GPT2LMHeadModel(GPT2Config(vocab_size=61, n_embd=32, n_layer=1, n_head=2))
    assert lean_forward_for(model, compute_dtype=torch.float32) is None
    assert "'gpt2' is none of llama" in str(misfit(model))


def test_a_model_that_the_pass_would_get_wrong_fails_its_check() -> None:
    model = model_of("llama")
    with torch.no_grad():
        model.model.layers[0].mlp.register_forward_hook(lambda _module, _inputs, output: output * 1.5)
    assert misfit(model) is None
    assert lean_forward_for(model, compute_dtype=torch.float32) is None
