"""What MODEL may be."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from reasonrl.run.checkpoint_store import CheckpointStore
from reasonrl.run.errors import RunInputError
from reasonrl.run.standalone_evaluation.model_place import find_model, fingerprint


@pytest.fixture
def run(tiny_model: Path, tmp_path: Path) -> Path:
    """A run with one checkpoint that is not finished."""
    directory = tmp_path / "my-run"
    store = CheckpointStore(directory / "checkpoints", warn=print)
    store.save(20, lambda aside: shutil.copytree(tiny_model, aside / "policy") and None, metadata={})
    (directory / "job.yaml").write_text("{}")
    return directory


def test_a_directory_of_a_model_is_itself(tiny_model: Path) -> None:
    place = find_model(tiny_model)
    assert (place.directory, place.name, place.run) == (tiny_model, "tiny", None)


def test_a_checkpoint_is_its_policy_under_the_name_of_its_run(run: Path) -> None:
    checkpoint = run / "checkpoints" / "step-000020"
    for named in (checkpoint, checkpoint / "policy"):
        place = find_model(named)
        assert (place.directory, place.name, place.run) == (checkpoint / "policy", "my-run-step-000020", run)


def test_a_run_is_its_final_model_and_before_it_is_finished_names_its_newest_checkpoint(run: Path, tiny_model: Path) -> None:
    with pytest.raises(RunInputError, match=r"not finished.*newest checkpoint is .*checkpoints/step-000020"):
        find_model(run)
    shutil.copytree(tiny_model, run / "final")
    for named in (run, run / "final"):
        place = find_model(named)
        assert (place.directory, place.name, place.run) == (run / "final", "my-run", run)


def test_a_damaged_checkpoint_is_refused(run: Path) -> None:
    weights = run / "checkpoints" / "step-000020" / "policy" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8] + b"deadbeef")
    with pytest.raises(RunInputError, match="this checkpoint is not whole"):
        find_model(run / "checkpoints" / "step-000020")


def test_what_is_no_model_says_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(RunInputError, match=r"it holds no config\.json, no job\.yaml"):
        find_model(tmp_path)
    with pytest.raises(RunInputError, match="there is no such directory"):
        find_model(tmp_path / "none")


def test_the_fingerprint_is_of_the_content(tiny_model: Path, tmp_path: Path) -> None:
    shutil.copytree(tiny_model, tmp_path / "copy")
    assert fingerprint(tmp_path / "copy") == fingerprint(tiny_model)
    assert len(fingerprint(tiny_model)) == len(hashlib.sha256().hexdigest())
    config = json.loads((tmp_path / "copy" / "config.json").read_text())
    (tmp_path / "copy" / "config.json").write_text(json.dumps({**config, "rope_theta": 7.0}))
    assert fingerprint(tmp_path / "copy") != fingerprint(tiny_model)
