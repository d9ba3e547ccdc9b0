"""The files that a build leaves: rows in their order, as a job's `data.train` reads them, and the questions set apart.

A row has `id`, `question`, `answer`, `source`, and the other columns of its source under their own names.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from reasonrl.data.build.kept_file import KeptFile
from reasonrl.data.build.spec import BuildSpec
from reasonrl.data.errors import DataError
from reasonrl.rl.records import Question

_OWN = ("id", "question", "answer", "source", "pass_rate")
_PARQUET_ROWS = 4096


def split_and_order(kept: KeptFile, spec: BuildSpec, *, rates: Mapping[str, float]) -> tuple[list[int], list[int]]:
    """The numbers of the training questions, in their order, and of those set apart. `rates` are shares of right answers by id.

    Raises DataError when nothing would be left to train on, and for an order field that a row lacks.
    """
    count = len(kept)
    if spec.held_out >= count:
        raise DataError(f"heldOut: {spec.held_out} questions are to be set apart and only {count} are kept; lower it, or loosen the rules")
    chosen = sorted(random.Random(f"{spec.seed} held out").sample(range(count), spec.held_out))
    apart = set(chosen)
    training = [place for place in range(count) if place not in apart]
    order = spec.order
    if order.by == "shuffled":
        random.Random(f"{spec.seed} order").shuffle(training)
    elif order.by != "given":
        keys = _sort_keys(kept, order.field, rates)
        # The easiest question has the largest share of right answers.
        down = order.descending != (order.by == "passRate")
        training.sort(key=keys.__getitem__, reverse=down)
    return training, chosen


def write_rows(
    path: Path,
    questions: Iterable[Question],
    *,
    kind: Literal["jsonl", "parquet"],
    rates: Mapping[str, float],
    columns: Mapping[str, Sequence[str]],
) -> None:
    """`columns` names, for each source, the columns that hold question and answer there, and are not written a second time."""
    rows = (_row(question, rates, columns.get(question.source, ())) for question in questions)
    try:
        if kind == "parquet":
            _write_parquet(path, rows)
            return
        with path.open("w", encoding="utf-8") as file:
            for row in rows:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror or error}") from error


def _row(question: Question, rates: Mapping[str, float], columns: Sequence[str]) -> dict[str, object]:
    row: dict[str, object] = {"id": question.id, "question": question.text, "answer": question.answer, "source": question.source}
    if question.id in rates:
        row["pass_rate"] = rates[question.id]
    more = {name: value for name, value in question.fields.items() if name not in columns and name != "id"}
    # A source's own column called `source` says where it has the row from.
    return row | {(f"origin_{name}" if name in _OWN else name): value for name, value in more.items()}


def _write_parquet(path: Path, rows: Iterator[Mapping[str, object]]) -> None:
    """Every column is text, but pass_rate: sources differ in the types of their columns, and a Parquet file has one for each."""
    import pyarrow
    import pyarrow.parquet

    aside = path.with_suffix(".rows")
    names: dict[str, None] = {}
    with aside.open("w", encoding="utf-8") as file:
        for row in rows:
            names.update(dict.fromkeys(row))
            file.write(json.dumps(row, ensure_ascii=True) + "\n")
    schema = pyarrow.schema([(name, pyarrow.float64() if name == "pass_rate" else pyarrow.string()) for name in names])
    with aside.open(encoding="utf-8") as file, pyarrow.parquet.ParquetWriter(path, schema) as writer:
        batch: list[dict[str, object]] = []
        for line in file:
            row = json.loads(line)
            batch.append({name: row.get(name) if name == "pass_rate" else _text(row.get(name)) for name in names})
            if len(batch) == _PARQUET_ROWS:
                writer.write_table(pyarrow.Table.from_pylist(batch, schema=schema))
                batch = []
        if batch:
            writer.write_table(pyarrow.Table.from_pylist(batch, schema=schema))
    aside.unlink()


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _sort_keys(kept: KeptFile, field: str | None, rates: Mapping[str, float]) -> list[tuple[int, float, str]]:
    """Numbers by value, before texts by code point."""
    if field is None:
        return [(0, rates[question.id], "") for question in kept]
    keys: list[tuple[int, float, str]] = []
    for question in kept:
        if field not in question.fields:
            raise DataError(f"order.field: {question.id} has no column {field!r}; its columns are {', '.join(question.fields)}")
        value = question.fields[field]
        try:
            keys.append((0, float(str(value)), ""))
        except ValueError:
            keys.append((1, 0.0, str(value)))
    return keys
