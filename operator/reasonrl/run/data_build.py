"""`reasonrl data build`: from raw sets to a training file with its card, all of it or nothing.

Everything is made in a directory beside the output, which takes the output's name at the end. A build that was stopped begins anew, but for
the pass rates, which are what takes long and are found again there.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

from reasonrl.data.build.card import CardFacts, KeptSummary, SourceNote, card
from reasonrl.data.build.kept_file import KeptFile
from reasonrl.data.build.ledger import Ledger
from reasonrl.data.build.reading import read_benchmarks, sha256_of
from reasonrl.data.build.spec import BenchmarkSource, BuildSource, BuildSpec, PassRate
from reasonrl.data.build.stages import FoundOverlaps, apart_from_benchmarks, sound_questions
from reasonrl.data.build.written_set import split_and_order, write_rows
from reasonrl.data.errors import DataError
from reasonrl.data.ngram_overlap import BenchmarkIndex
from reasonrl.data.sources import source_name
from reasonrl.rl.records import Question
from reasonrl.run.data_pass_rate import QuestionRate, check_rule, measured_rates
from reasonrl.run.pass_rate import PASS_RATE_FILE
from reasonrl.run.run_directory import locked

Advance = Callable[[str, int], None]

CARD_FILE = "card.md"
DROPPED_FILE = "dropped.jsonl"
_BUILDING = ".building"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildRequest:
    """`spec_text` and `command` are for the card; `base_directory` is what relative paths of the spec start from."""

    spec: BuildSpec
    spec_text: str
    command: str
    base_directory: Path
    output: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildResult:
    """Counts of a finished build, in questions. `dropped` is by rule; `files` are names with their rows."""

    read: int
    dropped: Counter[str]
    files: list[tuple[str, int]]
    overlaps: int


def build(request: BuildRequest, *, advance: Advance) -> BuildResult:
    """Writes `request.output`, which must not exist yet.

    Raises DataError for sources, rules or an output that cannot be used, and RunInputError for a model that cannot be loaded.
    """
    output = request.output
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise DataError(f"--output {output}: is there already; remove it or name another directory")
    if request.spec.pass_rate is not None:
        check_rule(request.spec.pass_rate, seed=request.spec.seed, base_directory=request.base_directory)
    beside = output.with_name(output.name + _BUILDING)
    with locked(beside):
        try:
            result = _built(request, beside, advance)
        except BaseException:
            # Nothing but pass rates is worth coming back to.
            if not (beside / PASS_RATE_FILE).exists():
                shutil.rmtree(beside)
            raise
        shutil.rmtree(beside)
    return result


def _built(request: BuildRequest, directory: Path, advance: Advance) -> BuildResult:
    spec, base = request.spec, request.base_directory
    made = directory / "made"
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    with (made / DROPPED_FILE).open("w", encoding="utf-8") as dropped:
        ledger, found = Ledger(dropped), FoundOverlaps()
        index = BenchmarkIndex(_benchmarks(spec, found, base_directory=base))
        sound, kept = KeptFile(directory / "sound.jsonl"), KeptFile(directory / "apart.jsonl")
        sound.write(_counted(sound_questions(spec, ledger, base_directory=base, advance=advance), index))
        _some_left(sound, ledger)
        kept.write(apart_from_benchmarks(iter(sound), index, spec.overlaps, ledger, found, advance=advance))
        _some_left(kept, ledger)
        rates: dict[str, float] = {}
        if spec.pass_rate is not None:
            measured = measured_rates(kept, spec.pass_rate, seed=spec.seed, base_directory=base, directory=directory, advance=advance)
            between = KeptFile(directory / "between.jsonl")
            between.write(_between(iter(kept), spec.pass_rate, measured, ledger))
            _some_left(between, ledger)
            kept, rates = between, {name: rate.share for name, rate in measured.items() if rate.share is not None}
    training, apart = split_and_order(kept, spec, rates=rates)
    columns = {source_name(source): (source.question_field, source.answer_field) for source in spec.sources}
    write = partial(write_rows, kind=spec.format, rates=rates, columns=columns)
    summary = KeptSummary()
    files = [(f"train.{spec.format}", len(training))]
    write(made / files[0][0], summary.watch(kept.pick(training)))
    if apart:
        files.append((f"held-out.{spec.format}", len(apart)))
        write(made / files[1][0], kept.pick(apart))
    facts = CardFacts(
        title=request.output.name,
        command=request.command,
        version=version("reasonrl"),
        spec_text=request.spec_text,
        sources=[_note(source, base) for source in spec.sources],
        benchmarks=[_note(source, base) for source in spec.benchmarks],
        files=files,
        pass_rate_note=None if spec.pass_rate is None else _pass_rate_note(spec.pass_rate),
    )
    (made / CARD_FILE).write_text(card(facts, ledger, found, summary), encoding="utf-8")
    _put_in_place(made, request.output)
    return BuildResult(read=ledger.total_read, dropped=ledger.dropped, files=files, overlaps=len(found.pairs))


def _benchmarks(spec: BuildSpec, found: FoundOverlaps, *, base_directory: Path) -> Iterator[tuple[str, list[Question]]]:
    for name, questions in read_benchmarks(spec.benchmarks, base_directory=base_directory):
        found.questions[name] = len(questions)
        yield name, questions


def _counted(questions: Iterator[Question], index: BenchmarkIndex) -> Iterator[Question]:
    for question in questions:
        index.count(question)
        yield question


def _between(questions: Iterator[Question], rule: PassRate, rates: Mapping[str, QuestionRate], ledger: Ledger) -> Iterator[Question]:
    for question in questions:
        rate = rates[question.id]
        if rate.graded is None:
            ledger.drop(question, "longPrompt", f"the prompt has more than {rule.prompt.max_tokens} tokens")
        elif rate.share is None:
            ledger.drop(question, "ungraded", f"none of {rule.samples} answers could be graded")
        elif rate.share < rule.min:
            ledger.drop(question, "tooHard", f"{rate.right} of {rate.graded} answers are right, less than {rule.min:g}")
        elif rate.share > rule.max:
            ledger.drop(question, "tooEasy", f"{rate.right} of {rate.graded} answers are right, more than {rule.max:g}")
        else:
            yield question


def _some_left(kept: KeptFile, ledger: Ledger) -> None:
    if not len(kept):
        counts = ", ".join(f"{rule} {count}" for rule, count in ledger.dropped.most_common())
        examples = next((shown for rule, _ in ledger.dropped.most_common() for shown in ledger.examples.get(rule, ())), None)
        such = "" if examples is None else f"; such as {examples.id}: {examples.reason}"
        raise DataError(
            f"the rules drop every one of {ledger.total_read} rows ({counts}{such}); loosen them, or look at the sources' fields"
        )


def _note(source: BuildSource | BenchmarkSource, base_directory: Path) -> SourceNote:
    name = (source.name if isinstance(source, BenchmarkSource) else None) or source_name(source)
    licence = source.licence if isinstance(source, BuildSource) else None
    return SourceNote(name, licence, sha256_of(source, base_directory=base_directory))


def _pass_rate_note(rule: PassRate) -> str:
    return (
        f"Pass rate: {rule.samples} answers of {rule.model.path or 'a model made from nothing'} to each question, at temperature "
        f"{rule.temperature:g} and at most {rule.max_response_tokens} tokens; kept from {rule.min:g} to {rule.max:g}. Column `pass_rate`."
    )


def _put_in_place(made: Path, output: Path) -> None:
    try:
        if output.is_dir():
            output.rmdir()
        made.rename(output)
    except OSError as error:
        raise DataError(f"--output {output}: cannot be put in place: {error.strerror}; all of it is in {made}") from error
