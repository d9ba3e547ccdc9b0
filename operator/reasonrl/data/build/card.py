"""The data card: what a stranger has to know of a set before training on it, in one page of Markdown.

Where it comes from and under which licences, what each rule took and examples of that, which benchmarks it touched, what is left, and the
command that makes it again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from reasonrl.data.build.ledger import RULES, Ledger
from reasonrl.data.build.stages import FoundOverlaps
from reasonrl.data.ngram_overlap import Likeness, Overlap
from reasonrl.data.numeric_form import is_number
from reasonrl.rl.records import Question

_BAR = 32
_MOST_PAIRS = 10
_LENGTHS = (100, 200, 300, 500, 1000, 2000)


@dataclass(frozen=True, slots=True)
class SourceNote:
    """One source or benchmark of the card. `sha256` is that of its file, where it is one."""

    name: str
    licence: str | None
    sha256: str | None


@dataclass(slots=True)
class KeptSummary:
    """What the training file holds."""

    questions: int = 0
    by_source: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    lengths: Counter[int] = field(default_factory=Counter)

    def watch(self, questions: Iterable[Question]) -> Iterator[Question]:
        """Passes them on and counts them."""
        for question in questions:
            self.questions += 1
            self.by_source[question.source] += 1
            self.answers[answer_kind(question.answer)] += 1
            self.lengths[sum(len(question.text) > bound for bound in _LENGTHS)] += 1
            yield question


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFacts:
    """All that the card tells beside the ledger. `spec_text` is the build's file as it was read; `files` are names with their rows."""

    title: str
    command: str
    version: str
    spec_text: str
    sources: Sequence[SourceNote]
    benchmarks: Sequence[SourceNote]
    files: Sequence[tuple[str, int]]
    pass_rate_note: str | None


def answer_kind(answer: str) -> str:
    """A word for the form of an answer."""
    text = answer.strip().strip("$").replace(",", "")
    if text.lstrip("+-").isdigit():
        return "negative integer" if text.startswith("-") else "integer"
    if text.lstrip("+-").replace(".", "", 1).isdigit():
        return "decimal"
    if not is_number(answer):
        return "no number"
    plain = text.replace(" ", "")
    if plain.lstrip("+-").replace("/", "", 1).isdigit() or ("frac" in plain and not any(sign in plain for sign in ("sqrt", "pi", "^"))):
        return "fraction"
    return "percent" if plain.endswith("%") else "root, power, π or other expression"


def card(facts: CardFacts, ledger: Ledger, found: FoundOverlaps, kept: KeptSummary) -> str:
    """The page."""
    parts = [
        _head(facts, ledger, kept),
        _sources(facts, ledger, kept),
        _rules(ledger),
        _overlaps(facts, found),
        _shapes(kept),
        _examples(ledger),
        _again(facts),
    ]
    return "\n".join(part.rstrip() + "\n" for part in parts if part)


def _head(facts: CardFacts, ledger: Ledger, kept: KeptSummary) -> str:
    files = "\n".join(f"- `{name}`: {rows:,} rows" for name, rows in facts.files)
    share = kept.questions / max(ledger.total_read, 1)
    note = f"\n{facts.pass_rate_note}\n" if facts.pass_rate_note else ""
    return (
        f"# {facts.title}\n\nQuestions with answers for reinforcement learning: {ledger.total_read:,} rows read, "
        f"{ledger.total_dropped:,} dropped, {kept.questions:,} kept for training ({share:.1%}).\n\n"
        f"{files}\n- `dropped.jsonl`: {ledger.total_dropped:,} rows, each with "
        f"the rule and the reason\n{note}"
    )


def _sources(facts: CardFacts, ledger: Ledger, kept: KeptSummary) -> str:
    rows = [
        (
            source.name,
            source.licence or "not given",
            f"{ledger.read[source.name]:,}",
            f"{kept.by_source[source.name]:,}",
            source.sha256 or "—",
        )
        for source in facts.sources
    ]
    return "## Sources\n\n" + _table(("source", "licence", "rows read", "kept for training", "sha256"), rows)


def _rules(ledger: Ledger) -> str:
    left = ledger.total_read
    rows = []
    for rule, meaning in RULES.items():
        if not ledger.dropped[rule]:
            continue
        left -= ledger.dropped[rule]
        rows.append((rule, meaning, f"{ledger.dropped[rule]:,}", f"{left:,}"))
    text = "## Dropped, rule by rule\n\nA row counts under the first rule that drops it.\n\n" + _table(
        ("rule", "meaning", "dropped", "left"), rows
    )
    if ledger.other_answers:
        shown = ", ".join(f"`{first}` and `{repeat}`" for first, repeat in ledger.other_answers[:_MOST_PAIRS])
        text += (
            f"\n{len(ledger.other_answers)} repeats have another answer than the question that was kept, as text: the same value in "
            f"another form, or one of the two is wrong. Such as {shown}.\n"
        )
    return text


def _overlaps(facts: CardFacts, found: FoundOverlaps) -> str:
    if not facts.benchmarks:
        return "## Benchmarks\n\nCompared with none.\n"
    by_benchmark: dict[str, Counter[Likeness]] = {}
    for _, overlap in found.pairs:
        by_benchmark.setdefault(overlap.benchmark, Counter())[overlap.likeness] += 1
    rows = [
        (
            note.name,
            f"{found.questions[note.name]:,}",
            *(f"{by_benchmark.get(note.name, Counter())[kind]:,}" for kind in Likeness),
            note.sha256 or "—",
        )
        for note in facts.benchmarks
    ]
    text = (
        "## Benchmarks\n\nPairs of a question of the sources and one of the benchmark, found by shared runs of three words; every such "
        "question was dropped. `equal`: word by word. `same`: most of it. `otherNumbers`: its wording with other numbers.\n\n"
    ) + _table(("benchmark", "questions", *Likeness, "sha256"), rows)
    if found.pairs:
        text += "\n" + _table(
            ("dropped", "like", "how", "dropped question", "benchmark's question"),
            [
                (
                    question.id,
                    overlap.held_out.id,
                    f"{overlap.likeness} {overlap.share:.2f}",
                    _cell(question.text),
                    _cell(overlap.held_out.text),
                )
                for question, overlap in sorted(found.pairs, key=_nearest_first)[:_MOST_PAIRS]
            ],
        )
        if len(found.pairs) > _MOST_PAIRS:
            text += f"\nThe {_MOST_PAIRS} most alike of {len(found.pairs)}; all dropped questions are in `dropped.jsonl`.\n"
    return text


def _nearest_first(pair: tuple[Question, Overlap]) -> tuple[int, float]:
    return list(Likeness).index(pair[1].likeness), -pair[1].share


def _shapes(kept: KeptSummary) -> str:
    bounds = [f"up to {bound}" for bound in _LENGTHS] + [f"over {_LENGTHS[-1]}"]
    answers = _bars(kept.answers.most_common())
    lengths = _bars([(name, kept.lengths[place]) for place, name in enumerate(bounds)])
    return f"## What is kept\n\nAnswers:\n\n```\n{answers}\n```\n\nLength of the question, in characters:\n\n```\n{lengths}\n```\n"


def _examples(ledger: Ledger) -> str:
    parts = ["## Examples of what was dropped\n"]
    for rule in RULES:
        if ledger.examples.get(rule):
            rows = [(each.id, _cell(each.text) or "—", _cell(each.answer) or "—", _cell(each.reason)) for each in ledger.examples[rule]]
            parts.append(f"### {rule}\n\n{_table(('id', 'question', 'answer', 'reason'), rows)}")
    return "\n".join(parts) if len(parts) > 1 else ""


def _again(facts: CardFacts) -> str:
    return (
        f"## To make it again\n\n```\n{facts.command}\n```\n\nReasonRL {facts.version}; the same sources and the same file give the same "
        f"rows. The file:\n\n```yaml\n{facts.spec_text.rstrip()}\n```\n"
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'|'.join(' --- ' for _ in head)}|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def _cell(text: str) -> str:
    """Text that a table cell shows as it is: no line break, no bar, no formula."""
    plain = " ".join(text.split())
    cut = plain if len(plain) <= 200 else f"{plain[:199]}…"
    return "`" + cut.replace("`", "'").replace("|", "¦") + "`" if cut else ""


def _bars(counts: Sequence[tuple[str, int]]) -> str:
    most = max((count for _, count in counts), default=0)
    width = max((len(name) for name, _ in counts), default=0)
    return "\n".join(f"{name:<{width}}  {'█' * _length(count, most):<{_BAR}}  {count:,}".rstrip() for name, count in counts)


def _length(count: int, most: int) -> int:
    return 0 if not count else max(1, round(_BAR * count / most))
