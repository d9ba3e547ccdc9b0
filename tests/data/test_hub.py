"""Sets from the hub: without a network the message says what to do; what `datasets` loads becomes rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from reasonrl.api.data_spec import DataSource
from reasonrl.data.errors import DataError
from reasonrl.data.hub import read_hub_rows
from reasonrl.data.sources import load_questions


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The switches that HF_HUB_OFFLINE sets when the packages are first imported."""
    import datasets
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.mark.usefixtures("offline")
def test_offline_says_how_to_do_without_the_hub(tmp_path: Path) -> None:
    source = DataSource.model_validate({"huggingFace": {"name": "reasonrl-tests/no-such-set"}})
    with pytest.raises(DataError, match=r"reasonrl-tests/no-such-set: the hub cannot be reached .*save_to_disk.* use path.*HF_HUB_OFFLINE"):
        load_questions(source, base_directory=tmp_path)


@pytest.fixture
def local_set(tmp_path: Path) -> str:
    """`datasets.load_dataset` takes a local directory of files in place of a name: the same code then needs no network."""
    for split, answers in {"train": ["1", "2"], "test": ["3"]}.items():
        (tmp_path / f"{split}.jsonl").write_text("".join(json.dumps({"question": "q", "answer": answer}) + "\n" for answer in answers))
    return str(tmp_path)


def test_the_split_that_is_asked_for_is_read(local_set: str) -> None:
    rows = list(read_hub_rows(local_set, subset=None, split="test", revision=None))
    assert [(row.place, row.values["answer"]) for row in rows] == [("row 1", "3")]
    assert len(list(read_hub_rows(local_set, subset=None, split="train", revision=None))) == 2


def test_an_unknown_split_names_those_there_are(local_set: str) -> None:
    with pytest.raises(DataError, match=r"split validation, revision newest: Unknown split .validation.\. Should be one of .*train"):
        read_hub_rows(local_set, subset=None, split="validation", revision=None)


def test_an_unknown_subset_is_an_error_of_the_data(local_set: str) -> None:
    with pytest.raises(DataError, match=r"\(hard\), split train.*hard"):
        read_hub_rows(local_set, subset="hard", split="train", revision=None)
