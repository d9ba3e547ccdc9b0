"""Questions on disk between two stages of a build, so that memory holds none of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from reasonrl.data.errors import DataError
from reasonrl.rl.records import Question


class KeptFile:
    """A file of questions, one a line; each is found again by its number. Memory: 8 bytes a question."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._starts: list[int] = []

    def __len__(self) -> int:
        return len(self._starts)

    def write(self, questions: Iterable[Question]) -> None:
        """Takes the place of what was there. Raises DataError when the disk refuses."""
        self._starts = []
        try:
            with self._path.open("wb") as file:
                for question in questions:
                    self._starts.append(file.tell())
                    file.write(_line(question))
        except OSError as error:
            raise DataError(f"{self._path}: cannot be written: {error.strerror or error}") from error

    def __iter__(self) -> Iterator[Question]:
        with self._path.open("rb") as file:
            for line in file:
                yield _question(line)

    def pick(self, places: Iterable[int]) -> Iterator[Question]:
        """The questions of these numbers, in this order."""
        with self._path.open("rb") as file:
            for place in places:
                file.seek(self._starts[place])
                yield _question(file.readline())


def _line(question: Question) -> bytes:
    values = {
        "id": question.id,
        "text": question.text,
        "answer": question.answer,
        "source": question.source,
        "fields": dict(question.fields),
    }
    return (json.dumps(values, ensure_ascii=False, default=str) + "\n").encode()


def _question(line: bytes) -> Question:
    return Question(**json.loads(line))
