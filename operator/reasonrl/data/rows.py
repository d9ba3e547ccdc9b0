"""From a row of any source to a `Question`.

The kinds of source differ in how rows are read; what a row must hold, and what is said when it does not, is the same for all and
lives here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice

from reasonrl.data.errors import DataError
from reasonrl.rl.records import Question

Progress = Callable[[str, int], None]
"""Called now and then while something slow goes on, with what it is and how many rows are done."""

PROGRESS_EVERY_ROWS = 10_000


def silent(_what: str, _rows: int) -> None:
    """The `Progress` of a caller that shows none."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row and where it stands in its source, as a person would look it up: `line 17`, `row 17` (counted from 1)."""

    place: str
    values: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The names of the fields that matter. A name may lead into nested values: `reward_model.ground_truth`, `prompt.0.content`."""

    question: str
    answer: str


def questions_of(
    rows: Iterable[Row], *, source: str, columns: Columns, limit: int | None = None, progress: Progress = silent
) -> Iterator[Question]:
    """Each row as a question; at most `limit` rows are read. Raises DataError that names source, row and field."""
    for row in _counted(islice(rows, limit), source=source, progress=progress):
        answer = text_of(row, columns.answer, source=source, setting="answerField")
        yield _question(row, source=source, question_field=columns.question, answer=answer.strip())


def pairs_of(
    rows: Iterable[Row], *, source: str, question_field: str, response_field: str, progress: Progress = silent
) -> Iterator[tuple[Question, str]]:
    """Each row as a question, without an answer, and the response to imitate. Raises DataError that names source, row and field."""
    for row in _counted(rows, source=source, progress=progress):
        response = text_of(row, response_field, source=source, setting="responseField")
        yield _question(row, source=source, question_field=question_field, answer=""), response


def _counted(rows: Iterable[Row], *, source: str, progress: Progress) -> Iterator[Row]:
    for number, row in enumerate(rows, start=1):
        if number % PROGRESS_EVERY_ROWS == 0:
            progress(source, number)
        yield row


def _question(row: Row, *, source: str, question_field: str, answer: str) -> Question:
    identifier = row.values.get("id")
    return Question(
        id=f"{source}#{row.place.split()[-1]}" if identifier is None else str(identifier),
        text=text_of(row, question_field, source=source, setting="questionField"),
        answer=answer,
        source=source,
        fields=dict(row.values),
    )


def text_of(row: Row, field: str, *, source: str, setting: str) -> str:
    """The field's value as text. Raises DataError when it is not there, empty, or not one text or number."""
    where = f"{source}, {row.place}"
    value = _value(row, field, where=where, setting=setting)
    if value is None or (isinstance(value, str) and not value.strip()):
        raise DataError(f"{where}: the field {field!r} is empty; every row needs one. Fix or remove the row")
    if isinstance(value, str):
        return value
    if isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return str(value)
    raise DataError(
        f"{where}: the field {field!r} is a {type(value).__name__}, but {setting} needs a text or a number. "
        "A dotted name such as reward_model.ground_truth or prompt.0.content reaches into nested values"
    )


def _value(row: Row, field: str, *, where: str, setting: str) -> object:
    if field in row.values:
        return row.values[field]
    value: object = row.values
    walked: list[str] = []
    for part in field.split("."):
        if isinstance(value, Mapping) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            raise DataError(_missing(value, field, walked, where=where, setting=setting))
        walked.append(part)
    return value


def _missing(value: object, field: str, walked: list[str], *, where: str, setting: str) -> str:
    inside = f" in {'.'.join(walked)!r}" if walked else ""
    if isinstance(value, Mapping):
        found = f"the fields{inside or ' there'} are {', '.join(map(str, value)) or 'none'}"
    elif isinstance(value, list):
        found = f"{'.'.join(walked)!r} is a list of {len(value)}"
    else:
        found = f"{'.'.join(walked)!r} is a {type(value).__name__}"
    return f"{where}: there is no field {field!r}; {found}. Set {setting} to the one that is meant"
