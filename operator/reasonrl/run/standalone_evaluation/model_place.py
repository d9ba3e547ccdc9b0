"""Which weights MODEL means: a Hugging Face directory, a run's final policy, or one of its checkpoints.

Of a run it is known which, and with it the prompt that the policy was trained on.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from reasonrl.api.run_files import CHECKPOINTS_DIRECTORY, FINAL_DIRECTORY, JOB_FILE
from reasonrl.run.checkpoint_store import MANIFEST, CheckpointError, CheckpointStore
from reasonrl.run.errors import RunInputError
from reasonrl.train.trainer_files import POLICY_DIRECTORY

_MODEL_FILE = "config.json"
_END_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class ModelPlace:
    """`directory` can be given to `from_pretrained`. `name` is for people and file names; `run` is the directory of its run."""

    directory: Path
    name: str
    run: Path | None


def find_model(path: Path) -> ModelPlace:
    """Raises RunInputError for what is none of the three, for a run that is not finished, and for a damaged checkpoint."""
    if not path.is_dir():
        raise RunInputError(
            f"MODEL = {str(path)!r}: there is no such directory; name a Hugging Face model directory, a run or a checkpoint of one, or use "
            "--server URL"
        )
    path = path.resolve()
    if (path / MANIFEST).exists():
        return _checkpoint(path)
    if (path / JOB_FILE).exists():
        return _run(path)
    if (path / _MODEL_FILE).exists():
        parent = path.parent
        if path.name == FINAL_DIRECTORY and (parent / JOB_FILE).exists():
            return ModelPlace(path, parent.name, parent)
        if path.name == POLICY_DIRECTORY and (parent / MANIFEST).exists():
            return _checkpoint(parent)
        return ModelPlace(path, path.name, None)
    raise RunInputError(
        f"MODEL = {str(path)!r}: it holds no {_MODEL_FILE}, no {JOB_FILE} and no {MANIFEST}, so it is neither a model nor a run nor "
        "a checkpoint"
    )


def fingerprint(directory: Path) -> str:
    """SHA-256 of the configuration and of the ends of each file of weights (a megabyte each, and the size): enough to tell two checkpoints
    apart without reading gigabytes."""
    digest = hashlib.sha256()
    for file in sorted(each for each in directory.iterdir() if each.suffix in (".safetensors", ".bin", ".json", ".jinja")):
        size = file.stat().st_size
        digest.update(f"{file.name}/{size}/".encode())
        with file.open("rb") as content:
            digest.update(content.read(_END_BYTES))
            content.seek(max(0, size - _END_BYTES))
            digest.update(content.read(_END_BYTES))
    return digest.hexdigest()


def _run(path: Path) -> ModelPlace:
    final = path / FINAL_DIRECTORY
    if (final / _MODEL_FILE).exists():
        return ModelPlace(final, path.name, path)
    checkpoints = path / CHECKPOINTS_DIRECTORY
    steps = CheckpointStore(checkpoints, warn=_ignored).steps() if checkpoints.is_dir() else []
    newest = f"; its newest checkpoint is {checkpoints / f'step-{steps[-1]:06d}'}" if steps else "; it has no checkpoint either"
    raise RunInputError(f"MODEL = {str(path)!r}: this run is not finished, so it has no final model{newest}")


def _checkpoint(path: Path) -> ModelPlace:
    run = path.parent.parent
    try:
        step = int(path.name.rpartition("-")[2])
        CheckpointStore(path.parent, warn=_ignored).verify(step)
    except (ValueError, CheckpointError) as error:
        raise RunInputError(f"MODEL = {str(path)!r}: this checkpoint is not whole: {error}; name another one") from error
    known = (run / JOB_FILE).exists()
    return ModelPlace(path / POLICY_DIRECTORY, f"{run.name}-{path.name}" if known else path.name, run if known else None)


def _ignored(_message: str) -> None:
    """What a look at the names of checkpoints may want to say is said again when one is opened."""
