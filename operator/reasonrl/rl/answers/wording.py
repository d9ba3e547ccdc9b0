"""Answers in words: one spelling for the same words, and the answer within a sentence."""

from __future__ import annotations

import re

from reasonrl.rl.answers.syntax import Constant, NamedSet, Node
from reasonrl.rl.answers.vocabulary import MEANING_WORDS, words

_TEXT_COMMAND = re.compile(r"\\(?:text|mathrm|operatorname|mathbb) ?\*?\s*\{([^{}]*)\}")
_SIGNS = re.compile(r"[\s{}$\\~\"'`.,;:!?*]+")
_ARTICLES = words("the a an")
_NOTHING = words("none empty")
_THINGS = r"(?:solutions?|roots?|values?|numbers?|integers?)"
_NO_SOLUTION = re.compile(rf"(?:there (?:is|are) )?no (?:(?:real|such|integer|possible|positive|other) )*{_THINGS}(?: exists?)?")
_INFINITELY_MANY = re.compile(
    r"(?:there are )?(?:infinitely many|an? infinite number(?: of)?|infinite)(?: (?:real |integer )?(?:solutions?|values?|numbers?))?"
)
_COPULA = re.compile(r"\b(?:is|are|was|equals)\b")
_NAMED_SUBJECT = re.compile(r"([A-Z][a-z]+) (?:will |can |must |has |have )?[a-z]+(?: [a-z]+)*\.?")
_PROSE_STARTERS = words("the this that these those there it he she they we if in on at for a an no yes any all each every both some only")
_MAX_COMPLEMENT_WORDS = 4


def plain_words(text: str) -> str:
    """Lower case, single spaces, without mark-up, punctuation and articles at the front."""
    for _ in range(3):
        text = _TEXT_COMMAND.sub(r" \1 ", text)
    parts = _SIGNS.sub(" ", text.lower()).split()
    while len(parts) > 1 and parts[0] in _ARTICLES:
        parts = parts[1:]
    return " ".join(parts)


def meaning_of(text: str) -> Node | None:
    """What fixed phrases say in mathematics: no solution, infinitely many."""
    plain = plain_words(text)
    if plain in _NOTHING or _NO_SOLUTION.fullmatch(plain) or plain == "empty set":
        return NamedSet("empty")
    if _INFINITELY_MANY.fullmatch(plain):
        return Constant("infinity")
    return None


def is_prose(text: str) -> bool:
    """Whether the answer is words: letters, with no more mathematics than a sentence may quote."""
    plain = plain_words(text)
    return any(len(word) > 2 and word.isalpha() for word in plain.split())


def answer_in_sentence(text: str) -> str | None:
    """What a sentence answers: its complement after the last "is" ("The function is odd": odd), or the person that it starts with
    ("Petya wins": petya). None when it is not such a sentence, or when the rest changes what that says ("is not odd")."""
    stripped = " ".join(_TEXT_COMMAND.sub(r" \1 ", text).replace("$", " ").split()).strip()
    parts = _COPULA.split(stripped)
    if len(parts) > 1:
        complement = plain_words(parts[-1])
        few = 0 < len(complement.split()) <= _MAX_COMPLEMENT_WORDS
        return complement if few and complement.isascii() and not _changes_meaning(complement) else None
    match = _NAMED_SUBJECT.fullmatch(stripped)
    if match is None or match[1].lower() in _PROSE_STARTERS or set(stripped.lower().split()) & (MEANING_WORDS | {"or", "and"}):
        return None
    return match[1].lower()


def _changes_meaning(complement: str) -> bool:
    found = set(complement.split())
    return bool(found & (MEANING_WORDS - {"odd", "even", "every", "any"})) and len(found) > 1
