"""Which questions of a file are a benchmark's? The comparison of a build on its own, for a set that somebody else made."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from reasonrl.api.data_spec import DataSource
from reasonrl.data.build.reading import read_benchmarks, read_source
from reasonrl.data.build.spec import BenchmarkSource, Overlaps
from reasonrl.data.errors import DataError
from reasonrl.data.ngram_overlap import BenchmarkIndex, Overlap
from reasonrl.rl.records import Question

Advance = Callable[[str, int], None]


def overlaps_between(
    source: DataSource, benchmarks: Sequence[BenchmarkSource], rule: Overlaps, *, base_directory: Path, advance: Advance
) -> Iterator[tuple[Question, Overlap]]:
    """Each question of `source` with each that it is like. The source is read twice; memory holds the benchmarks.

    Raises DataError for a file that cannot be read.
    """
    index = BenchmarkIndex(read_benchmarks(benchmarks, base_directory=base_directory))
    for question in _questions(source, base_directory):
        index.count(question)
    for number, question in enumerate(_questions(source, base_directory), start=1):
        advance("comparing with the benchmarks", number)
        for overlap in index.overlaps(question, same_question=rule.same_question, other_numbers=rule.other_numbers):
            yield question, overlap


def write_pairs(path: Path, pairs: Sequence[tuple[Question, Overlap]]) -> None:
    """A line for each pair. Raises DataError when it cannot be written."""
    try:
        with path.open("w", encoding="utf-8") as file:
            for question, overlap in pairs:
                row = {
                    "id": question.id,
                    "benchmark": overlap.benchmark,
                    "like": overlap.held_out.id,
                    "likeness": overlap.likeness,
                    "share": round(overlap.share, 4),
                    "question": question.text,
                    "held_out_question": overlap.held_out.text,
                }
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    except OSError as error:
        raise DataError(f"--output {path}: cannot be written: {error.strerror or error}") from error


def _questions(source: DataSource, base_directory: Path) -> Iterator[Question]:
    return (each for each in read_source(source, base_directory=base_directory) if isinstance(each, Question))
