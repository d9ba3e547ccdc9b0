"""What kind of question is it? The report keeps none that cannot be checked by one number: proofs, choices, several parts, open ends.

Judged by the wording alone, with expressions that ask for the instruction ("Prove that") and not for the word ("it can be proved").
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from reasonrl.data.build.spec import QuestionType
from reasonrl.data.numeric_form import is_number
from reasonrl.data.question_words import without_drawing
from reasonrl.rl.records import Question

_CLAUSE = r"(?:^|[.!?:;\n]\s*|[,$)\]]\s+|\b(?:and|then|to|also|please|you|we|must|should)\s+(?:also\s+|then\s+)?)"
_AT_INSTRUCTION = _CLAUSE + r"(?:\(?(?:[a-h]|i{1,3}|\d)[).]\s*)?"
_PROOF = re.compile(
    _AT_INSTRUCTION + r"(?:prove\b(?!n)|show\s+(?:that|the\s+(?:inequality|identity))\b|demonstrate\s+that\b|disprove\b|verify\s+that\b"
    r"|give\s+a\s+proof\b)",
    re.IGNORECASE,
)
_PASSIVE_PROOF = re.compile(
    r"(?:can|could|used|how|known|able|order|possible|trying|wants?|tries)\s+(?:you\s+|we\s+)?(?:to\s+)?(?:prove|show)", re.IGNORECASE
)

# Not P(A), f(B): a letter in front makes it a value of a function.
_CHOICES = tuple(
    re.compile(pattern, re.DOTALL)
    for pattern in (
        r"(?<![A-Za-z\\}_^])\(\s*A\s*\)(?!\s*[=+\-]).{1,400}?(?<![A-Za-z\\}_^])\(\s*B\s*\).{1,400}?(?<![A-Za-z\\}_^])\(\s*C\s*\)",
        r"\\(?:text|textbf|mathrm|mathbf|bf)\s*\{?\s*\(?A[).].{1,400}?\(?B[).].{1,400}?\(?C[).]",
        r"(?:^|\n|\s|\$)A\s?[.):．、]\s.{1,400}?(?:\n|\s|\$)B\s?[.):．、]\s.{1,400}?(?:\n|\s|\$)C\s?[.):．、]\s",
    )
)
_CHOICE_WORDS = re.compile(
    r"\bwhich\s+(?:one\s+)?of\s+the\s+(?:following|statements|options|choices)\b|\b(?:select|choose|pick|mark)\s+the\s+(?:correct|best|right)\b"
    r"|\b(?:letter|letters)\s+of\s+(?:the|all)\s+(?:correct|true|answer)|\bmultiple[- ]choice\b.{0,40}\banswer\b",
    re.IGNORECASE,
)
_LETTER_ANSWER = re.compile(r"^\$?(?:\\(?:text|textbf|mathrm|mathbf)\s*\{)?\s*\(?[A-E]\)?\s*\}?\$?\.?$")

_PART_MARKS = (
    re.compile(r"(?<![A-Za-z0-9\\}_^({])\(([a-e])\)"),
    re.compile(r"(?:^|\n|[.;?]\s+)([a-e])[).]\s"),
    re.compile(r"(?<![A-Za-z0-9\\}_^({])\((i{1,3}|iv|v)\)"),
    re.compile(r"(?:^|\n|[.;:?]\s+)\(?([1-5])[).]\s"),
    re.compile(r"(?<![A-Za-z0-9\\}_^({])\(([1-5])\)\s"),
    re.compile(r"\[b\]\s*p(\d+)", re.IGNORECASE),
    re.compile(r"\bpart\s+(\d|[a-e])\b\s*[:.)]", re.IGNORECASE),
)
_ASKS = re.compile(
    r"\?|\b(?:find|determine|compute|calculate|evaluate|prove|show|solve|what|how\s+(?:many|much|long|far|old)|express|simplify|write)\b",
    re.IGNORECASE,
)
_YES_NO_ANSWER = re.compile(r"^\W*(?:\\(?:text|textbf|mathrm)\s*\{)?\s*(?:yes|no|true|false)\b", re.IGNORECASE)
_YES_NO_QUESTION = re.compile(
    r"(?:\b(?:true\s+or\s+false|yes\s+or\s+no|is\s+it\s+(?:true|possible|always|necessarily)|does\s+there\s+exist|do\s+there\s+exist"
    r"|determine\s+(?:whether|if)|decide\s+(?:whether|if)))|(?:^|[.!?]\s+)(?:is|are|does|do|can|could|will|has|have|must)\s[^.?!]*\?\s*$",
    re.IGNORECASE,
)
_OPEN = re.compile(
    _AT_INSTRUCTION
    + r"(?:explain\b|describe\b|discuss\b|comment\s+on\b|give\s+(?:an?\s+)?(?:examples?|reasons?|interpretation|definition)\b"
    r"|construct\s+an\s+example\b|state\s+(?:the|and)\s+(?:theorem|definition|prove)|define\s+(?:the\s+(?:term|concept)|what)\b"
    r"|sketch\b|investigate\b)"
    r"|\bwhat\s+is\s+(?:meant\s+by|the\s+(?:definition|meaning|concept)\s+of)\b|\bwhat\s+can\s+you\s+say\b|\bin\s+your\s+own\s+words\b",
    re.IGNORECASE,
)
_PICTURE = re.compile(r"!\[[^\]]*\]\(|\\includegraphics|<img\b|\[img\b|\[img\]|\bfigure_?\d*\.(?:png|jpe?g|svg)\b|<image>", re.IGNORECASE)
_FIGURE = re.compile(
    r"\b(?:in|from|by|to|of|see|with|on)\s+(?:the|this|each)\s+(?:\w+\s+)?(?:figure|diagram|picture|drawing|graph|chart|sketch|illustration)s?"
    r"\s+(?:below|above|shown|at\s+(?:the\s+)?(?:right|left)|on\s+the\s+(?:right|left)|to\s+the\s+(?:right|left)|given|provided)"
    r"|\b(?:as|is|are)\s+(?:shown|depicted|drawn|pictured|illustrated|indicated|given)\s+(?:\w+\s+){0,2}?(?:below|above|in\s+(?:the|this)\s+"
    r"(?:\w+\s+)?(?:figure|diagram|picture|drawing|graph|chart|illustration)|(?:in\s+)?fig(?:ure|\.)?\s*\d)"
    r"|\bas\s+shown\s*[,.;]|\b(?:in|see|from)\s+(?:the\s+(?:figure|diagram|picture)\b|fig(?:ure|\.)\s*\d)"
    r"|\bthe\s+(?:figure|diagram|picture|drawing|graph|chart)\s+(?:below|above|shows|shown|at\s+(?:the\s+)?right|to\s+the\s+right)"
    r"|\b(?:graph|table|spinner|grid|chart|diagram)\b[^.]{0,60}\b(?:is|are)\s+shown\s+(?:below|above|here|on|to)",
    re.IGNORECASE,
)
_DRAWN_IN_TEXT = re.compile(r"\[asy\]|\\begin\{(?:asy|tikzpicture|tabular|array)\}|\|\s*-{2,}")


def is_proof(question: Question) -> str | None:
    text = without_drawing(question.text)
    match = _PROOF.search(text)
    return None if match is None or _PASSIVE_PROOF.search(text, max(0, match.start() - 12), match.end()) else _shown(match)


def is_multiple_choice(question: Question) -> str | None:
    text = without_drawing(question.text)
    if any(pattern.search(text) for pattern in _CHOICES):
        return "has options A, B, C"
    match = _CHOICE_WORDS.search(text)
    if match is not None:
        return _shown(match)
    if _LETTER_ANSWER.fullmatch(question.answer.strip()) and re.search(r"\(A\)|\bA[.)]", question.text):
        return f"the answer {question.answer.strip()} is a letter among options"
    return None


def has_parts(question: Question) -> str | None:
    """Two marked parts, each of which asks something: marked conditions alone are one question."""
    text = without_drawing(question.text)
    for pattern in _PART_MARKS:
        marks = list(pattern.finditer(text))
        if len({mark[1] for mark in marks}) < 2:
            continue
        ends = [*(mark.start() for mark in marks[1:]), len(text)]
        asking = [mark for mark, end in zip(marks, ends, strict=True) if _ASKS.search(text, mark.end(), end)]
        if len({mark[1] for mark in asking}) >= 2:
            return f"parts {_shown(asking[0])} and {_shown(asking[1])} each ask something"
    return None


def is_yes_no(question: Question) -> str | None:
    if _YES_NO_ANSWER.match(question.answer):
        return f"the answer is {question.answer.strip()[:20]}"
    match = None if is_number(question.answer) else _YES_NO_QUESTION.search(question.text)
    return None if match is None else _shown(match)


def is_open_ended(question: Question) -> str | None:
    match = _OPEN.search(without_drawing(question.text))
    return None if match is None else _shown(match)


def needs_figure(question: Question) -> str | None:
    """A picture that the text does not hold. One that is drawn in the text, as code or as a table, is part of the question."""
    picture = _PICTURE.search(question.text)
    if picture is not None:
        return _shown(picture)
    match = None if _DRAWN_IN_TEXT.search(question.text) else _FIGURE.search(question.text)
    return None if match is None else _shown(match)


TYPES: Mapping[QuestionType, Callable[[Question], str | None]] = {
    "proof": is_proof,
    "multipleChoice": is_multiple_choice,
    "multiPart": has_parts,
    "yesNo": is_yes_no,
    "openEnded": is_open_ended,
    "figure": needs_figure,
}
"""For each kind: what in the question shows that it is of that kind, or None."""


def _shown(match: re.Match[str]) -> str:
    return repr(" ".join(match[0].split()).strip("., ")[:80])
