"""The rows of a build's sources, one after another, each as a question or as a row that cannot be one.

A job refuses a set with a damaged row; a build is what sorts such rows out. A source of which no row can be used is still an error: then a
field has the wrong name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from reasonrl.api.data_spec import DataSource
from reasonrl.data.build.spec import BenchmarkSource
from reasonrl.data.errors import DataError
from reasonrl.data.files import read_rows
from reasonrl.data.hub import read_hub_rows
from reasonrl.data.rows import Columns, Row, questions_of
from reasonrl.data.sources import load_questions, source_name
from reasonrl.rl.records import Question


@dataclass(frozen=True, slots=True)
class Unusable:
    """A row without a question or an answer, and why."""

    source: str
    place: str
    reason: str


def read_source(source: DataSource, *, base_directory: Path) -> Iterator[Question | Unusable]:
    """Streams files and hub sets. Raises DataError for a file that cannot be read, and when no row at all can be used."""
    if source.path is None and source.hugging_face is None:
        yield from load_questions(source, base_directory=base_directory)
        return
    name = source_name(source)
    columns = Columns(question=source.question_field, answer=source.answer_field)
    first_reason = f"{name}: holds no rows"
    usable = 0
    for number, row in enumerate(islice(_rows(source, base_directory), source.limit)):
        try:
            (question,) = questions_of([row], source=name, columns=columns)
        except DataError as error:
            first_reason = str(error) if number == 0 else first_reason
            yield Unusable(name, row.place, str(error))
            continue
        if not _is_text(question):
            yield Unusable(name, row.place, "holds half of a surrogate pair, which is no character; the source was cut or decoded wrongly")
            continue
        usable += 1
        yield question
    if not usable:
        raise DataError(f"{first_reason}. No row of {name} can be used")


def read_benchmarks(sources: Sequence[BenchmarkSource], *, base_directory: Path) -> Iterator[tuple[str, list[Question]]]:
    """Name and questions of each. Raises DataError as `read_source` does, and for two of one name."""
    seen: set[str] = set()
    for source in sources:
        name = source.name or source_name(source)
        if name in seen:
            raise DataError(f"benchmarks: {name} stands there twice; give each a name of its own")
        seen.add(name)
        yield name, [each for each in read_source(source, base_directory=base_directory) if isinstance(each, Question)]


def sha256_of(source: DataSource, *, base_directory: Path) -> str | None:
    """Of a source that is a file; None for any other."""
    path = None if source.path is None else base_directory / source.path
    if path is None or not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_text(question: Question) -> bool:
    """Whether every text of the row can be written as UTF-8: JSON can escape what cannot."""
    try:
        json.dumps([question.id, question.text, question.answer, dict(question.fields)], ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        return False
    return True


def _rows(source: DataSource, base_directory: Path) -> Iterator[Row]:
    if source.hugging_face is not None:
        hub = source.hugging_face
        return read_hub_rows(hub.name, subset=hub.subset, split=hub.split, revision=hub.revision)
    assert source.path is not None
    return read_rows(base_directory / source.path, source=source.path)
