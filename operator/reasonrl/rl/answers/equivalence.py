"""Whether an answer is the gold answer: text, then numbers, then mathematics, then math-verify.

Pure, and without torch: it is what the reward's worker processes load. Most answers are decided by the first two steps, in
microseconds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from functools import lru_cache

from reasonrl.rl.answers.boxes import boxes, last_run
from reasonrl.rl.answers.comparison import same
from reasonrl.rl.answers.cursor import ParseError
from reasonrl.rl.answers.normalisation import normalise
from reasonrl.rl.answers.parsing import parse
from reasonrl.rl.answers.symbolic import is_beyond_grammar, symbolically_equal
from reasonrl.rl.answers.syntax import Listing, Node
from reasonrl.rl.answers.tokens import Notation, ScanError
from reasonrl.rl.answers.wording import answer_in_sentence, is_prose, meaning_of, plain_words

MAX_ANSWER_CHARACTERS = 2_000
"""A longer answer is not read: the longest gold answers in use have a few hundred."""

_PLAIN_NUMBER = re.compile(r"[+-]?(?:\d{1,400})(?:\.\d{1,400})?")
_AMBIGUOUS_DIGITS = re.compile(r"\d(?:,|\{,\}| )\d|\.\d+\.|\d[eE][+-]?\d")


class Judgement(StrEnum):
    """What became of a comparison."""

    EQUAL = "equal"
    DIFFERENT = "different"
    UNSCORABLE = "unscorable"
    """The gold answer says nothing to compare with."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """`reason` names the rule that decided, for people who look into a single case."""

    judgement: Judgement
    reason: str


def equivalent(prediction: str, gold: str) -> Verdict:
    """Whether two final answers are the same. Raises nothing for any text; the caller limits its time."""
    prediction, gold = prediction.strip(), gold.strip()
    if not gold:
        return Verdict(Judgement.UNSCORABLE, "the gold answer is empty")
    if not prediction:
        return Verdict(Judgement.DIFFERENT, "the answer is empty")
    if prediction == gold:
        return Verdict(Judgement.EQUAL, "the same text")
    if _PLAIN_NUMBER.fullmatch(prediction) and _PLAIN_NUMBER.fullmatch(gold):
        same_value = Fraction(prediction) == Fraction(gold)
        if same_value or ("." not in prediction and "." not in gold):
            return Verdict(Judgement.EQUAL if same_value else Judgement.DIFFERENT, "numbers")
    if len(prediction) > MAX_ANSWER_CHARACTERS:
        return Verdict(Judgement.DIFFERENT, f"longer than {MAX_ANSWER_CHARACTERS} characters")
    if len(gold) > MAX_ANSWER_CHARACTERS:
        return Verdict(Judgement.UNSCORABLE, f"the gold answer has more than {MAX_ANSWER_CHARACTERS} characters")
    return _compared(prediction, gold)


def _compared(prediction: str, gold: str) -> Verdict:
    # Of a response only the last boxes are its answer; of a gold text all of them are, each once.
    my_parts = tuple(box.content for box in last_run(prediction)) or (prediction,)
    their_parts = tuple(dict.fromkeys(box.content for box in boxes(gold))) or (gold,)
    mine, theirs = _readings(my_parts), _readings(their_parts)
    try:
        if any(same(one, other) for one in mine for other in theirs):
            return Verdict(Judgement.EQUAL, "mathematics")
    except RecursionError:
        return Verdict(Judgement.DIFFERENT, "nested too deeply to compare")
    if mine and theirs:
        return Verdict(Judgement.DIFFERENT, "mathematics")
    if len(my_parts) == len(their_parts) == 1 and is_beyond_grammar(my_parts[0], their_parts[0]):
        return Verdict(Judgement.EQUAL if symbolically_equal(my_parts[0], their_parts[0]) else Judgement.DIFFERENT, "math-verify")
    same_words = _same_words(" ".join(my_parts), " ".join(their_parts))
    return Verdict(Judgement.EQUAL if same_words else Judgement.DIFFERENT, "words")


@lru_cache(maxsize=4096)
def _readings(parts: tuple[str, ...]) -> tuple[Node, ...]:
    """Every way to read the answer as mathematics: none when it is words, several where digits and commas leave a choice."""
    if len(parts) > 1:
        each = [_readings((part,)) for part in parts]
        return (Listing(tuple(readings[0] for readings in each), ","),) if all(each) else ()
    normal = normalise(parts[0])
    fixed = meaning_of(normal)
    if fixed is not None:
        return (fixed,)
    notations = tuple(Notation) if _AMBIGUOUS_DIGITS.search(normal) else (Notation.GROUPED,)
    found: list[Node] = []
    for notation in notations:
        try:
            node = parse(normal, notation)
        except (ParseError, ScanError, RecursionError):
            continue
        if node not in found:
            found.append(node)
    return tuple(found)


def _same_words(prediction: str, gold: str) -> bool:
    mine, theirs = plain_words(normalise(prediction)), plain_words(normalise(gold))
    if mine and mine == theirs:
        return True
    if not (is_prose(prediction) and is_prose(gold)):
        return False
    return mine == answer_in_sentence(gold) or theirs == answer_in_sentence(prediction)
