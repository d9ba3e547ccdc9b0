"""Templates place the question once, end as they say, and are refused where they would silently do nothing."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from reasonrl.data.errors import DataError
from reasonrl.data.tasks import task_tokenizer
from reasonrl.data.templates import fitting_questions, make_template, render_prompt
from reasonrl.rl.records import Question

TEXT = "How many {braces} has $\\frac{1}{2}$? {question} <think>"


def question(text: str = TEXT, identifier: str = "q1") -> Question:
    return Question(id=identifier, text=text, answer="1", source="made")


@pytest.mark.parametrize("name", ["short", "long"])
def test_the_reports_templates_hold_the_question_once_and_open_the_thinking(name: str, plain_tokenizer: PreTrainedTokenizerFast) -> None:
    template = make_template(name, plain_tokenizer, example=TEXT)  # type: ignore[arg-type]
    prompt = template.render("THE QUESTION")
    assert prompt.count("THE QUESTION") == 1
    assert prompt.endswith("User: THE QUESTION\nAssistant: <think>")
    assert (template.uses_tags, template.response_prefix) == (True, "<think>")
    before = prompt.split("THE QUESTION")[0]
    for tag in ("<think>", "</think>", "<answer>", "</answer>"):
        assert tag in before
    assert "<answer> 12 </answer>" in before


def test_the_long_template_describes_what_the_report_lists(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    """STILL-3 §3.1.2: an inner monologue, a fenced example, what thinking may do, the phrases, and only the final answer in the tags."""
    prompt = make_template("long", plain_tokenizer, example=TEXT).render("?")
    for phrase in ("Hmm", "Wait", "Alternatively", "double check", "I wonder...", "But", "rethink"):
        assert f'"{phrase}"' in prompt
    assert "```\n<think>\n" in prompt
    assert "stream of consciousness" in prompt
    assert "ONLY the final answer" in prompt
    assert len(prompt) > 2 * len(make_template("short", plain_tokenizer, example=TEXT).render("?")) / 1.5


def test_the_question_is_never_taken_for_template(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    for name in ("short", "long"):
        assert f"User: {TEXT}\n" in make_template(name, plain_tokenizer, example="x").render(TEXT)  # type: ignore[arg-type]
    custom = make_template("custom", plain_tokenizer, example="x", text="{a}{question}{b}")
    assert custom.render(TEXT) == f"{{a}}{TEXT}{{b}}"


def test_raw_is_the_question_itself(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    plain = make_template("raw", plain_tokenizer, example="1 + 1 =")
    assert plain.render(TEXT) == TEXT
    assert (plain.uses_tags, plain.response_prefix) == (False, "")


def test_raw_prompts_that_open_the_thinking_are_noticed(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    """The demo's questions, and sets that store whole prompts, end in the tag."""
    stored = make_template("raw", plain_tokenizer, example="Q a 7 b + 9 : <think>")
    assert (stored.uses_tags, stored.response_prefix) == (True, "<think>")
    named = make_template("raw", plain_tokenizer, example="Answer in <answer> tags: 1 + 1")
    assert (named.uses_tags, named.response_prefix) == (True, "")


def test_raw_prompts_must_end_alike(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    template = make_template("raw", plain_tokenizer, example="one <think>")
    with pytest.raises(DataError, match="the prompt of q7 ends without <think>, unlike the first one"):
        render_prompt(question("two", "q7"), template, plain_tokenizer)


@pytest.mark.parametrize("text", [None, "no place", "{question} and {question}"])
def test_custom_needs_the_placeholder_exactly_once(text: str | None, plain_tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(DataError, match=r"spec.prompt.text: the template custom needs a text with \{question\} in it, exactly once"):
        make_template("custom", plain_tokenizer, example="x", text=text)


def test_settings_that_a_template_would_ignore_are_refused(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(DataError, match=r"spec.prompt.text: the template long would ignore it"):
        make_template("long", plain_tokenizer, example="x", text="{question}")
    with pytest.raises(DataError, match=r"spec.prompt.system: the template raw would ignore it"):
        make_template("raw", plain_tokenizer, example="x", system="Be brief.")


def test_chat_uses_the_tokenizers_template_with_and_without_system(chat_tokenizer: PreTrainedTokenizerFast) -> None:
    bare = make_template("chat", chat_tokenizer, example="x")
    assert bare.render("1+1?") == "<|user|>1+1?<|assistant|>"
    assert (bare.uses_tags, bare.response_prefix) == (False, "")
    with_system = make_template("chat", chat_tokenizer, example="x", system="Be brief.")
    assert with_system.render("1+1?") == "<|system|>Be brief.<|user|>1+1?<|assistant|>"


def test_chat_templates_that_open_the_thinking_are_noticed(thinking_tokenizer: PreTrainedTokenizerFast) -> None:
    template = make_template("chat", thinking_tokenizer, example="x")
    assert template.render("1+1?").endswith("<think>\n")
    assert template.response_prefix == "<think>"


def test_chat_without_a_chat_template_names_the_tokenizer(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    plain_tokenizer.name_or_path = "org/base-model"
    with pytest.raises(DataError, match=r"the tokenizer org/base-model has no chat template .* use short, long, raw or custom"):
        make_template("chat", plain_tokenizer, example="x")


def test_the_start_token_comes_exactly_once(starting_tokenizer: PreTrainedTokenizerFast) -> None:
    """A chat template writes it into the text; for plain text the tokenizer adds it."""
    start = starting_tokenizer.bos_token_id
    for name in ("short", "long", "raw", "chat"):
        template = make_template(name, starting_tokenizer, example="hello")  # type: ignore[arg-type]
        tokens = render_prompt(question("hello"), template, starting_tokenizer).tokens
        assert tokens.count(start) == 1
        assert tokens[0] == start


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=60))
def test_a_prompts_tokens_are_those_of_its_text(text: str, plain_tokenizer: PreTrainedTokenizerFast) -> None:
    template = make_template("short", plain_tokenizer, example="x")
    prompt = render_prompt(question(text), template, plain_tokenizer)
    assert prompt.question.text == text
    assert plain_tokenizer.decode(list(prompt.tokens)) == prompt.text == template.render(text)


def test_words_that_the_tokenizer_lacks_are_an_error_of_the_data() -> None:
    tokenizer = task_tokenizer("chainedDigits", context_tokens=64)
    template = make_template("raw", tokenizer, example="Q a 7")
    with pytest.raises(DataError, match=r"the prompts of q1 … q1 cannot be encoded"):
        render_prompt(question("hello"), template, tokenizer)


def test_long_prompts_are_dropped_and_counted(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    source = [question("x" * length, f"q{length}") for length in (5, 11, 10, 12, 1)]
    template = make_template("raw", plain_tokenizer, example="x")
    fitting = fitting_questions(source, template, plain_tokenizer, max_tokens=10, long_prompts="drop")
    assert [each.id for each in fitting.questions] == ["q5", "q10", "q1"]
    assert fitting.dropped == 2
    assert fitting.examples == ("q11 (made) has 11 tokens", "q12 (made) has 12 tokens")


def test_long_prompts_are_an_error_when_the_spec_says_so(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    template = make_template("raw", plain_tokenizer, example="x")
    with pytest.raises(DataError, match=r"spec.prompt.maxTokens: the prompt of q11 \(made\) has 11 tokens, more than 10"):
        fitting_questions([question("x" * 11, "q11")], template, plain_tokenizer, max_tokens=10, long_prompts="error")


def test_when_no_prompt_fits_the_run_does_not_start(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    template = make_template("raw", plain_tokenizer, example="x")
    with pytest.raises(DataError, match=r"no prompt has at most 3 tokens \(q1 \(made\) has 4 tokens\)"):
        fitting_questions([question("four")], template, plain_tokenizer, max_tokens=3, long_prompts="drop")


def test_the_template_counts_towards_the_limit(plain_tokenizer: PreTrainedTokenizerFast) -> None:
    template = make_template("custom", plain_tokenizer, example="x", text="12345{question}")
    fitting = fitting_questions(
        [question("x" * 5, "a"), question("x" * 6, "b")], template, plain_tokenizer, max_tokens=10, long_prompts="drop"
    )
    assert [each.id for each in fitting.questions] == ["a"]
