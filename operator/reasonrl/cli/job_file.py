"""Reading a job from a file, and looking at the files that it names. All that the contract itself, which touches no file, cannot check."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from reasonrl.api.job import ReasoningRLJob
from reasonrl.api.parse import parse_job
from reasonrl.api.problems import JobError, Problem
from reasonrl.api.validation.cluster_paths import local_paths
from reasonrl.cli.problems import JobFileError, JobInFileError

LARGEST_FILE = 1_048_576
"""Bytes. An object of a cluster may not be larger either."""
MOST_VALUES = 100_000


def load_job_file(path: Path) -> ReasoningRLJob:
    """The job in `path`. Raises JobFileError when there is none, and JobInFileError (a JobError) with everything that is wrong with it."""
    mapping = read_mapping(path)
    try:
        return parse_job(mapping)
    except JobError as error:
        raise JobInFileError(path, error.problems) from error


def read_mapping(path: Path) -> dict[str, object]:
    """The one YAML (or JSON) object in `path`. Raises JobFileError."""
    text = _text(path)
    try:
        documents = [document for document in yaml.load_all(text, Loader=_JobLoader) if document is not None]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{path}, line {mark.line + 1}, column {mark.column + 1}" if mark else str(path)
        line = f"\n    {text.splitlines()[mark.line].strip()}" if mark and mark.line < len(text.splitlines()) else ""
        raise JobFileError(f"{where}: not valid YAML: {error.problem or error.context}{line}") from error
    except yaml.YAMLError as error:
        raise JobFileError(f"{path}: not valid YAML: {error}") from error
    except RecursionError as error:
        raise JobFileError(f"{path}: is nested too deeply to be a job") from error
    if not documents:
        raise JobFileError(f"{path}: is empty; a job begins with apiVersion, kind, metadata and spec")
    if len(documents) > 1:
        raise JobFileError(f"{path}: holds {len(documents)} documents, separated by ---; put each job into a file of its own")
    (document,) = documents
    if _values_in(document, {}, path) > MOST_VALUES:
        raise JobFileError(f"{path}: its aliases (*name) unfold to more than {MOST_VALUES:,} values; write out what is meant")
    if not isinstance(document, dict):
        raise JobFileError(f"{path}: holds a {type(document).__name__}; a job is an object with apiVersion, kind, metadata and spec")
    return document


def line_of(path: Path, field: str) -> int | None:
    """Line of the file, from 1, where a field such as `spec.phases[1].name` stands; of what it is missing from, if it is not there. None
    when not even that can be found."""
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None
    line: int | None = None
    for part in re.findall(r"[^.\[\]]+|\[\d+\]", field):
        if part.startswith("[") and isinstance(node, yaml.SequenceNode) and int(part[1:-1]) < len(node.value):
            node = node.value[int(part[1:-1])]
            line = node.start_mark.line + 1
        elif isinstance(node, yaml.MappingNode):
            found = [(key, value) for key, value in node.value if key.value == part]
            if not found:
                break
            key, node = found[0]
            line = key.start_mark.line + 1
        else:
            break
    return line


def check_paths(job: ReasoningRLJob, base_directory: Path) -> list[Problem]:
    """Local files and directories that the job names and that do not exist. Relative paths are relative to `base_directory`, the job
    file's own. Names of the hub are not looked up."""
    return [
        problem for field, path, wanted in local_paths(job.spec) if (problem := _missing(field, path, wanted, base_directory)) is not None
    ]


def _values_in(value: object, known: dict[int, int | None], path: Path) -> int:
    """Values that a document unfolds to; each aliased part is looked at once. Raises JobFileError for a part that contains itself."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        known[id(value)] = None
        parts = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_values_in(part, known, path) for part in parts)
    found = known[id(value)]
    if found is None:
        raise JobFileError(f"{path}: an alias (*name) stands within what it names, so the job would never end")
    return found


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise JobFileError(f"{path}: has {path.stat().st_size:,} bytes; a job has at most {LARGEST_FILE:,}. Is it a data file?")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        near = sorted(each.name for each in path.parent.glob("*.y*ml"))[:5] if path.parent.is_dir() else []
        hint = f" Here there is {', '.join(near)}." if near else ""
        raise JobFileError(f"{path}: there is no such file.{hint}") from error
    except UnicodeDecodeError as error:
        raise JobFileError(f"{path}: is not UTF-8 text ({error.reason} at byte {error.start})") from error
    except OSError as error:
        raise JobFileError(f"{path}: cannot be read: {error.strerror}") from error


def _missing(field: str, path: str, wanted: str, base_directory: Path) -> Problem | None:
    full = base_directory / path
    if not full.exists():
        hub = " A model of the hub is written hf://organisation/name." if field.startswith("spec.model") else ""
        return Problem(field, path, f"there is no such {wanted}; looked for {full}.{hub}")
    if wanted == "directory" and not full.is_dir():
        return Problem(field, path, "is a file; name the directory with config.json, the weights and the tokenizer")
    if wanted == "directory" and field.endswith("model.path") and not (full / "config.json").is_file():
        return Problem(field, path, f"holds no config.json, so it is no model in Hugging Face format; looked in {full}")
    if wanted == "file" and not full.is_file():
        return Problem(field, path, "is a directory; name a Python file")
    return None


class _JobLoader(yaml.SafeLoader):
    """YAML as a cluster reads it: 1e-6 is a number (PyYAML wants 1.0e-6), and a key that is given twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[object] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable) and key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is given twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


_JobLoader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789"))
