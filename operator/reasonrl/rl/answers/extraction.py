"""Finding the final answer in a response.

The order is fixed and each step yields one answer, so that nothing is gained by writing several: the last `<answer>` body where the
template uses tags, then the last closed `\\boxed{}`. Only where neither was asked for is a sentence looked at.
"""

from __future__ import annotations

import re

from reasonrl.rl.answers.boxes import last_run
from reasonrl.rl.answers.cursor import ParseError
from reasonrl.rl.answers.normalisation import normalise
from reasonrl.rl.answers.parsing import parse
from reasonrl.rl.answers.tokens import Notation, ScanError

_MAX_STATEMENT = 500
_END_OF_THOUGHT = "</think>"
_STATED = re.compile(
    r"(?:\b(?:answer|réponse|respuesta|antwort|risposta|resposta|ответ)|答案|答え|الجواب|الإجابة)"
    r"[\s*]*(?:is|are|est|es|ist|è|é|是|为|は|هو|هي|:|=|：)[\s*]*:?\s*(.+)",
    re.IGNORECASE,
)
_SPECIAL_TOKEN = re.compile(r"<\|[^<>|]{1,40}\|>.*", re.DOTALL)
_SENTENCE_END = re.compile(r"(?<=[.!?。])[$*)\]\\]*(?:\s+|$)|\n+|(?<=。)")
_MATHEMATICS = re.compile(r"\$\$(.+?)\$\$|\$(.+?)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]|\*\*(.+?)\*\*")
# Digits with operators between them, in a text that does not mark its mathematics.
_BARE = re.compile(r"(?<![A-Za-z0-9_./])[-−]?[\d(][\d(). ,+\-*/×÷=^%−]*(?<![ ,.+\-*/×÷=(])")
_SHORT_WORDS = 6


def final_answer(response: str, *, tags: bool, require_boxed: bool) -> str | None:
    """The final answer as it is written, or None when there is none. `tags`: the prompt asked for `<answer>` tags. `require_boxed`: only
    a box counts, in the tags if it is there."""
    body = _last_tagged(response) if tags else None
    if body is not None:
        boxed = _boxed(body)
        if boxed is not None or not require_boxed:
            return (boxed or body.strip()) or None
    boxed = _boxed(response)
    if boxed is not None or tags or require_boxed:
        return boxed or None
    text = _SPECIAL_TOKEN.sub("", response.rpartition(_END_OF_THOUGHT)[2])
    return _stated(text.strip())


def _last_tagged(response: str) -> str | None:
    lowered = response.lower()
    end = lowered.rfind("</answer>")
    start = lowered.rfind("<answer>", 0, end) if end >= 0 else -1
    return response[start + len("<answer>") : end] if start >= 0 else None


def _boxed(text: str) -> str | None:
    run = last_run(text)
    if not run:
        return None
    return run[0].content if len(run) == 1 else text[run[0].start : run[-1].end]


def _stated(text: str) -> str | None:
    """The answer of a response that marks none: the whole of it when it is one, what follows "the answer is", or the last value of its
    last sentence: what it marks as mathematics or in bold, else its last number."""
    if len(text) <= _MAX_STATEMENT and _is_answer(text):
        return text
    stated = list(_STATED.finditer(text[-_MAX_STATEMENT:]))
    if stated:
        sentence = _SENTENCE_END.split(stated[-1][1].strip())[0].strip()
        marked = _MATHEMATICS.match(sentence)
        return _inside(marked) if marked else sentence.rstrip(".。") or None
    sentences = [sentence for sentence in _SENTENCE_END.split(text[-_MAX_STATEMENT:]) if sentence.strip()]
    if not sentences:
        return None
    last = sentences[-1].strip()
    marked_values = list(_MATHEMATICS.finditer(last))
    # Numbers within what is marked are parts of it.
    behind = marked_values[-1].end() if marked_values else 0
    numbers = [match for match in _BARE.finditer(last, behind) if any(letter.isdigit() for letter in match[0])]
    if numbers:
        return numbers[-1][0].strip()
    if marked_values:
        return _inside(marked_values[-1])
    return text if len(text.split()) <= _SHORT_WORDS else None


def _inside(marked: re.Match[str]) -> str:
    return next(part for part in marked.groups() if part).strip()


def _is_answer(text: str) -> bool:
    if not text:
        return False
    try:
        parse(normalise(text), Notation.GROUPED)
    except (ParseError, ScanError, RecursionError):
        return False
    return True
