"""Questions from files: JSON Lines (plain or gzip), a JSON array, Parquet, or a directory saved by `datasets`.

JSON Lines, Parquet and saved directories are streamed: memory holds the questions, not the file. A JSON array has to be read whole.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from reasonrl.data.errors import DataError
from reasonrl.data.rows import Row

_PARQUET_BATCH_ROWS = 1024


def read_rows(path: Path, *, source: str) -> Iterator[Row]:
    """The rows of a file or saved directory. `source` is what messages call it.

    Raises DataError when it does not exist, is of no known kind, or cannot be read.
    """
    if not path.exists():
        raise DataError(f"{source}: there is no such file or directory ({path})")
    if path.is_dir():
        return _read_saved_directory(path, source)
    for ending, reader in _READERS.items():
        if path.name.endswith(ending):
            return reader(path, source)
    raise DataError(
        f"{source}: unknown kind of file; its name must end in {', '.join(_READERS)}, or it must be a directory written by "
        "datasets.save_to_disk"
    )


def _read_json_lines(path: Path, source: str) -> Iterator[Row]:
    with path.open("rb") as file:
        yield from _rows_of_lines(file, source)


def _read_gzip_json_lines(path: Path, source: str) -> Iterator[Row]:
    try:
        with gzip.open(path, "rb") as file:
            yield from _rows_of_lines(file, source)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(
            f"{source}: not a whole gzip file ({error}); copy it again, or drop .gz from its name if it is not compressed"
        ) from error


def _rows_of_lines(lines: Iterable[bytes], source: str) -> Iterator[Row]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        place = f"line {number}"
        yield Row(place, _mapping(_parsed(line, source, place), source, place))


def _read_json(path: Path, source: str) -> Iterator[Row]:
    rows = _parsed(path.read_bytes(), source, "the file")
    if not isinstance(rows, list):
        raise DataError(
            f"{source}: a .json file must hold one array of objects, this holds {_json_kind(rows)}; for one object a line use .jsonl"
        )
    for number, row in enumerate(rows, start=1):
        place = f"row {number}"
        yield Row(place, _mapping(row, source, place))


def _parsed(text: bytes, source: str, place: str) -> object:
    try:
        value: object = json.loads(text)
    except UnicodeDecodeError as error:
        raise DataError(f"{source}, {place}: not UTF-8 text ({error}); save the file as UTF-8") from error
    except json.JSONDecodeError as error:
        raise DataError(f"{source}, {place}: not valid JSON ({error}); .jsonl needs one whole object on each line") from error
    return value


def _mapping(value: object, source: str, place: str) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise DataError(f"{source}, {place}: a row must be a JSON object with named fields, this is {_json_kind(value)}")
    return value


def _json_kind(value: object) -> str:
    return {dict: "an object", list: "an array", str: "a text", bool: "true or false", type(None): "null"}.get(type(value), "a number")


def _read_parquet(path: Path, source: str) -> Iterator[Row]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_PARQUET_BATCH_ROWS):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(f"row {number}", values)
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{source}: cannot be read as Parquet after row {number} ({error}); write it again") from error


def _read_saved_directory(path: Path, source: str) -> Iterator[Row]:
    import datasets

    try:
        saved = datasets.load_from_disk(str(path))
    except (OSError, ValueError) as error:
        raise DataError(f"{source}: not a directory written by datasets.save_to_disk ({error})") from error
    if isinstance(saved, datasets.DatasetDict):
        raise DataError(
            f"{source}: this directory holds the splits {', '.join(saved)}; name one of them in the path, such as "
            f"{source}/{next(iter(saved))}"
        )
    return rows_of_dataset(saved)


def rows_of_dataset(dataset: Iterable[Mapping[str, object]]) -> Iterator[Row]:
    """The rows of a `datasets.Dataset`, which reads them from disk as they are asked for."""
    for number, values in enumerate(dataset, start=1):
        yield Row(f"row {number}", values)


_READERS: Mapping[str, Callable[[Path, str], Iterator[Row]]] = {
    ".jsonl": _read_json_lines,
    ".jsonl.gz": _read_gzip_json_lines,
    ".json": _read_json,
    ".parquet": _read_parquet,
}
