"""The rules of a build in their order, as two passes: one over the sources, one over what is left, against the benchmarks.

Two, because a run of words counts by how rare it is among all that is left, which is known only at the end of the first. Questions lie on
disk in between.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from reasonrl.data.build.duplicates import KnownQuestions
from reasonrl.data.build.ledger import Ledger
from reasonrl.data.build.question_types import TYPES
from reasonrl.data.build.reading import Unusable, read_source
from reasonrl.data.build.spec import BuildSpec, Overlaps
from reasonrl.data.build.text_limits import outside_limits
from reasonrl.data.filters import numeric_answer
from reasonrl.data.ngram_overlap import BenchmarkIndex, Likeness, Overlap
from reasonrl.data.sources import source_name
from reasonrl.rl.records import Question

Advance = Callable[[str, int], None]
"""Told which stage is at work and how many rows it has seen."""


@dataclass(slots=True)
class FoundOverlaps:
    """What the comparison with the benchmarks found. `pairs` are (dropped question, what it is like)."""

    pairs: list[tuple[Question, Overlap]] = field(default_factory=list)
    questions: Counter[str] = field(default_factory=Counter)
    """How many questions each benchmark has."""


def sound_questions(spec: BuildSpec, ledger: Ledger, *, base_directory: Path, advance: Advance) -> Iterator[Question]:
    """The questions of all sources that every rule keeps which looks at the training rows alone. Each gets an id of its own.

    Raises DataError for a source that cannot be read.
    """
    known = KnownQuestions(near=spec.duplicates.near) if spec.duplicates is not None else None
    ids: set[str] = set()
    seen = 0
    for source in spec.sources:
        name = source_name(source)
        for each in read_source(source, base_directory=base_directory):
            seen += 1
            advance("reading and judging rows", seen)
            ledger.read[name] += 1
            if isinstance(each, Unusable):
                ledger.drop_row(name, each.place, each.reason)
                continue
            question = each if each.id not in ids else replace(each, id=f"{name}#{each.id}")
            if question.id in ids:
                question = replace(question, id=f"{question.id}#{seen}")
            refusal = _refusal(question, spec)
            if refusal is not None:
                ledger.drop(question, *refusal)
                continue
            repeat = known.repeat_of(question) if known is not None else None
            if repeat is not None:
                rule = "duplicate" if repeat.similarity == 1.0 else "nearDuplicate"
                other = "" if repeat.same_answer else ", with another answer"
                ledger.drop(question, rule, f"repeats {repeat.first} (similarity {repeat.similarity:.2f}){other}", like=repeat.first)
                if not repeat.same_answer:
                    ledger.other_answers.append((repeat.first, question.id))
                continue
            ids.add(question.id)
            yield question


def apart_from_benchmarks(
    questions: Iterator[Question], index: BenchmarkIndex, rule: Overlaps, ledger: Ledger, found: FoundOverlaps, *, advance: Advance
) -> Iterator[Question]:
    """The questions that are like none of the benchmarks'. The index has counted all of them before."""
    for number, question in enumerate(questions, start=1):
        advance("comparing with the benchmarks", number)
        overlaps = index.overlaps(question, same_question=rule.same_question, other_numbers=rule.other_numbers)
        if not overlaps:
            yield question
            continue
        found.pairs.extend((question, overlap) for overlap in overlaps)
        nearest = overlaps[0]
        kind = "benchmarkOtherNumbers" if nearest.likeness is Likeness.OTHER_NUMBERS else "benchmark"
        ledger.drop(
            question,
            kind,
            f"{nearest.likeness} ({nearest.share:.2f}) as {nearest.held_out.id} of {nearest.benchmark}",
            like=nearest.held_out.id,
            benchmark=nearest.benchmark,
            held_out_question=nearest.held_out.text,
        )


def _refusal(question: Question, spec: BuildSpec) -> tuple[str, str] | None:
    """The first rule that does not keep the question, and why."""
    for kind in spec.drop_types:
        reason = TYPES[kind](question)
        if reason is not None:
            return kind, reason
    if spec.answers == "numeric" and not numeric_answer(question):
        return "answer", "the answer is not one number"
    limit = outside_limits(question.text, spec.text)
    return None if limit is None else ("text", limit)
