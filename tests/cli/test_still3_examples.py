"""The experiments of the report as files: each is valid, can be planned for its hardware, has a form for a laptop, and differs from the run
that it is held against in what the experiment changes and in nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from reasonrl.api.parse import parse_job
from reasonrl.api.support import unsupported_on_one_machine

REPOSITORY = Path(__file__).resolve().parents[2]
STILL3 = REPOSITORY / "examples" / "still3"
PLAIN = "plain-distilled"
CHANGES: Mapping[str, str] = {
    "e13-question-selection": "selection",
    "e14-response-selection": "selection",
    "e15-length-reward": "rewards",
    "e16-action-reward": "rewards",
    "e17-overlength-mask": "selection",
}
TYPE_OF = {
    "e13-question-selection": "questionSelection",
    "e14-response-selection": "responseSelection",
    "e15-length-reward": "responseLength",
    "e16-action-reward": "reasoningActions",
    "e17-overlength-mask": "overlengthMask",
}
R1_DISTILL_QWEN_1_5B = {
    "model_type": "qwen2",
    "hidden_size": 1536,
    "num_hidden_layers": 28,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "intermediate_size": 8960,
    "vocab_size": 151936,
    "tie_word_embeddings": False,
}


def spec_of(directory: Path, name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((directory / f"{name}.yaml").read_text())
    assert document["metadata"]["name"] == name
    spec: dict[str, Any] = parse_job(document).dumped()["spec"]
    return spec


@pytest.mark.parametrize("directory", [STILL3, STILL3 / "small"], ids=["real", "small"])
@pytest.mark.parametrize("name", CHANGES)
def test_an_experiment_changes_one_thing(name: str, directory: Path) -> None:
    changed, plain = spec_of(directory, name), spec_of(directory, PLAIN)
    assert {field for field in changed if changed[field] != plain.get(field)} == {CHANGES[name]}
    added = [each for each in changed[CHANGES[name]] if each not in plain[CHANGES[name]]]
    assert [each["type"] for each in added] == [TYPE_OF[name]]


@pytest.mark.parametrize("name", [PLAIN, *CHANGES])
def test_an_experiment_fits_its_hardware(name: str, reasonrl: Callable[..., Any], tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps(R1_DISTILL_QWEN_1_5B))
    answer = reasonrl("plan", STILL3 / f"{name}.yaml", "--model-config", config, "--output", "json")
    assert answer.code == 0, answer.err
    assert sum(pod["gpus"] for pod in json.loads(answer.out)["pods"]) == 8


@pytest.mark.parametrize("name", [PLAIN, *CHANGES])
def test_the_small_form_runs_on_one_machine(name: str) -> None:
    job = parse_job(yaml.safe_load((STILL3 / "small" / f"{name}.yaml").read_text()))
    assert unsupported_on_one_machine(job) == []


def test_the_documentation_names_what_there_is() -> None:
    page = (REPOSITORY / "docs" / "still3.md").read_text()
    for name in CHANGES:
        assert f"{name}.yaml" in page
    for word in page.split("`"):
        if word.startswith(("examples/", "tests/", "operator/")):
            assert (REPOSITORY / word).exists(), word
