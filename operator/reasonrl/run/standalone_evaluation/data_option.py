"""What `--data` may say, and the questions behind it.

questions.jsonl                   a file; the benchmark is called after it
NAME=questions.parquet            a file under a name; for one of the report's names, its columns are expected first
aime24                            one of the report's benchmarks, from the hub
chainedDigits:size=200,seed=3     our task, with its settings
gym:chain_sum:size=100            a task of reasoning-gym
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from pydantic import ValidationError

from reasonrl.api.data_spec import DataSource, ReasoningGymSource, TaskSource
from reasonrl.data.errors import DataError
from reasonrl.data.files import read_rows
from reasonrl.data.hub import read_hub_rows
from reasonrl.data.rows import Row, text_of
from reasonrl.data.sources import load_questions
from reasonrl.data.tasks import TASKS
from reasonrl.rl.records import Question
from reasonrl.run.errors import RunInputError
from reasonrl.run.standalone_evaluation.benchmark_table import KNOWN_BENCHMARKS, KnownBenchmark

_FILE_ENDINGS = (".jsonl", ".jsonl.gz", ".json", ".parquet")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_GYM = "gym:"
_OURS = ("size", "seed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """The columns of files and of the hub. None is the benchmark's own, or question and answer."""

    question: str | None
    answer: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """A benchmark as it was asked for and what it holds. `digest` is SHA-256 of texts and answers, in their order."""

    name: str
    option: str
    questions: Sequence[Question]
    digest: str


def load_benchmarks(options: Sequence[str], *, fields: Fields, limit: int | None) -> list[Questions]:
    """Each `--data` in turn; at most `limit` questions of each.

    Raises RunInputError for what cannot be understood and for two of one name, and DataError for data that cannot be read.
    """
    if not options:
        raise RunInputError(f"--data: nothing to ask is named; give a file, {', '.join(KNOWN_BENCHMARKS)}, {', '.join(TASKS)}, or gym:TASK")
    found = [_loaded(option, fields=fields, limit=limit) for option in options]
    names = [each.name for each in found]
    for name in names:
        if names.count(name) > 1:
            raise RunInputError(f"--data: two benchmarks are called {name}; give one another name with NAME=PATH")
    return found


def _loaded(option: str, *, fields: Fields, limit: int | None) -> Questions:
    name, place = _split(option)
    if place is not None:
        rows = read_rows(Path(place), source=place)
        questions = _of_rows(rows, source=place, known=KNOWN_BENCHMARKS.get(name), fields=fields, limit=limit)
    elif name in KNOWN_BENCHMARKS:
        known = KNOWN_BENCHMARKS[name]
        rows = _hub_rows(name, known)
        questions = _of_rows(rows, source=known.hub_name, known=known, fields=fields, limit=limit)
    else:
        name, source = _made(option)
        questions = load_questions(source.model_copy(update={"limit": limit}), base_directory=Path.cwd())
    return Questions(name=name, option=option, questions=questions, digest=_digest(questions))


def _split(option: str) -> tuple[str, str | None]:
    """Name and path; no path for what is not a file."""
    name, sign, path = option.partition("=")
    if sign and _NAME.fullmatch(name):
        if not path:
            raise RunInputError(f"--data {option}: there is no path behind the equals sign; write {name}=PATH")
        return name, path
    if option in KNOWN_BENCHMARKS:
        return option, None
    if option.endswith(_FILE_ENDINGS) or "/" in option or Path(option).exists():
        return _name_of(Path(option)), option
    return option, None


def _name_of(path: Path) -> str:
    stem = path.name
    for ending in sorted(_FILE_ENDINGS, key=len, reverse=True):
        stem = stem.removesuffix(ending)
    # Sets are often kept as aime24/test.jsonl, where the folder is the name.
    told = path.resolve().parent.name if stem in ("test", "train", "validation", "data") else stem
    return re.sub(r"[^A-Za-z0-9._-]", "-", told).lstrip("._-")[:63] or "benchmark"


def _hub_rows(name: str, known: KnownBenchmark) -> Iterator[Row]:
    try:
        yield from read_hub_rows(known.hub_name, subset=known.subset, split=known.split, revision=None)
    except DataError as error:
        raise DataError(f"--data {name}: {error}. A local copy can stand in: --data {name}=PATH") from error


def _of_rows(rows: Iterator[Row], *, source: str, known: KnownBenchmark | None, fields: Fields, limit: int | None) -> list[Question]:
    questions = []
    wanted: tuple[str, str] | None = None
    for row in islice(rows, limit):
        if wanted is None:
            wanted = _columns(row.values, known=known, fields=fields)
        identifier = row.values.get("id")
        questions.append(
            Question(
                id=f"{source}#{row.place.split()[-1]}" if identifier is None else str(identifier),
                text=text_of(row, wanted[0], source=source, setting="--question-field"),
                answer=text_of(row, wanted[1], source=source, setting="--answer-field").strip(),
                source=source,
                fields=dict(row.values),
            )
        )
    if not questions:
        raise DataError(f"{source}: holds no rows")
    return questions


def _columns(first: Mapping[str, object], *, known: KnownBenchmark | None, fields: Fields) -> tuple[str, str]:
    """A local file under a benchmark's name may keep the hub's columns or have been given the usual ones."""
    theirs = ("question", "answer") if known is None else (known.question_field, known.answer_field)
    usual = ("question", "answer")
    mine = [one if one.partition(".")[0] in first else other for one, other in zip(theirs, usual, strict=True)]
    return fields.question or mine[0], fields.answer or mine[1]


def _made(option: str) -> tuple[str, DataSource]:
    """Questions that are made: our tasks, and those of reasoning-gym."""
    gym = option.startswith(_GYM)
    name, _, text = option.removeprefix(_GYM).partition(":")
    if not gym and name not in TASKS:
        raise RunInputError(
            f"--data {option}: there is no such file, and no benchmark or task of this name; known are {', '.join(KNOWN_BENCHMARKS)}, "
            f"{', '.join(TASKS)}, and gym:TASK for reasoning-gym"
        )
    settings = _settings(text, option)
    own = {key: settings.pop(key) for key in _OURS if key in settings}
    try:
        if gym:
            source = DataSource(reasoning_gym=ReasoningGymSource.model_validate({"name": name, "size": 100, **own, "options": settings}))
        else:
            source = DataSource(task=TaskSource.model_validate({"name": name, "size": 200, **own, "options": settings}))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise RunInputError(f"--data {option}: {field} = {first['input']!r}: {first['msg']}") from error
    return re.sub(r"[^A-Za-z0-9._-]", "-", name)[:63], source


def _settings(text: str, option: str) -> dict[str, object]:
    settings: dict[str, object] = {}
    for part in filter(None, text.split(",")):
        key, sign, value = part.partition("=")
        if not sign or not key:
            raise RunInputError(f"--data {option}: {part!r} is no setting; write NAME:size=100,seed=3")
        try:
            settings[key] = json.loads(value)
        except ValueError:
            settings[key] = value
    return settings


def _digest(questions: Sequence[Question]) -> str:
    digest = hashlib.sha256()
    # Not the ids: they may hold the path, and the same questions may lie elsewhere tomorrow.
    for question in questions:
        digest.update(json.dumps([question.text, question.answer]).encode())
    return digest.hexdigest()
