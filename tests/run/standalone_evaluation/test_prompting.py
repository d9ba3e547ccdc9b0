"""Which prompt a model is asked with."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from reasonrl.data.templates import LONG, SHORT, TemplateName
from reasonrl.run.errors import RunInputError
from reasonrl.run.standalone_evaluation.prompting import chosen_prompt, frame_asks_for_tags, server_frame
from reasonrl.run.standalone_evaluation.setting import PromptChoice

JOB = {
    "apiVersion": "reasonrl.dev/v1alpha1",
    "kind": "ReasoningRLJob",
    "metadata": {"name": "a"},
    "spec": {
        "model": {"path": "model"},
        "prompt": {"template": "custom", "text": "Q {question} A"},
        "data": {"train": [{"path": "q.jsonl"}]},
        "rewards": [{"type": "answer"}],
        "phases": [{"name": "one", "maxResponseTokens": 10, "until": {"steps": 1}}],
    },
}


def choice(template: TemplateName | None = None, text: str | None = None, system: str | None = None) -> PromptChoice:
    return PromptChoice(template=template, text=text, system=system)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(JOB))
    return tmp_path


def test_what_is_asked_for_comes_first_then_the_run_then_the_chat_template_then_the_long_one(run: Path) -> None:
    assert chosen_prompt(choice("raw"), run=run, has_chat_template=True) == choice("raw")
    assert chosen_prompt(choice(text="{question}!"), run=run, has_chat_template=True) == choice("custom", "{question}!")
    assert chosen_prompt(choice(system="Be brief."), run=run, has_chat_template=True) == choice("chat", None, "Be brief.")
    assert chosen_prompt(choice(), run=run, has_chat_template=True) == choice("custom", "Q {question} A")
    assert chosen_prompt(choice(), run=None, has_chat_template=True) == choice("chat")
    assert chosen_prompt(choice(), run=None, has_chat_template=False) == choice("long")


def test_a_run_whose_job_cannot_be_read_is_only_in_the_way_when_its_prompt_is_needed(run: Path) -> None:
    (run / "job.yaml").write_text("kind: Nothing")
    assert chosen_prompt(choice("raw"), run=run, has_chat_template=False) == choice("raw")
    with pytest.raises(RunInputError, match="give --template yourself"):
        chosen_prompt(choice(), run=run, has_chat_template=False)


def test_a_server_gets_text_for_every_template_but_chat() -> None:
    assert server_frame(choice("chat", system="Be brief.")) is None
    assert server_frame(choice("raw")) == "{question}"
    assert (server_frame(choice("short")), server_frame(choice("long"))) == (SHORT, LONG)
    assert [frame_asks_for_tags(frame) for frame in (None, "{question}", SHORT, "{question} <think>\n")] == [False, False, True, True]
