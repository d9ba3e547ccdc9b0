"""What two spellings of one mathematical question have in common: its words, numbers and signs, without the typesetting.

Sets copy from each other and set the formulas anew: `\\dfrac{1}{2}` becomes `\\frac12` or `1/2`, `$x$` becomes `\\(x\\)`, `\\leq` becomes
`≤`. Comparing questions means comparing what is left when all that is taken away.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

_THOUSANDS = re.compile(r"(?<=\d)(?:,|\{,\}|\\,|\\!|,\\!)(?=\d{3}(?!\d))")
_DRAWING = re.compile(r"\[asy\].*?(?:\[/asy\]|\Z)|\\begin\{asy\}.*?(?:\\end\{asy\}|\Z)|!\[[^\]]*\]\([^)]*\)", re.DOTALL)
_LINK = re.compile(r"\[([^\]]*)\]\(https?://[^\s()]*(?:\([^\s()]*\)[^\s()]*)?\)")
_SHORT_FRACTION = re.compile(r"(\\[dtc]?frac)\s*(\d)\s*(\d)")
_ENVIRONMENT = re.compile(r"\\(?:begin|end)\s*\{[^}]*\}(?:\{[lcr|]+\})?")
_WORD = re.compile(r"\\([a-zA-Z]+)|[^\W\d_]+|\d+(?:\.\d+)?|[+\-=<>]")
_LEADING_ZEROS = re.compile(r"^0+(?=\d)")
_LAYOUT_COMMANDS = """
    left right big bigg bigl bigr biggl biggr text textrm textbf textit emph mathrm mathbf mathit mathsf rm bf it displaystyle quad qquad 
    frac dfrac tfrac cfrac cdot times ast operatorname hspace vspace limits nolimits hline label underline overline boldsymbol bm 
    ldots cdots dots dotsc dotsb vdots hfill par noindent item
"""
_LAYOUT = frozenset(_LAYOUT_COMMANDS.split())
_SAME = {
    "leq": "<=",
    "le": "<=",
    "leqslant": "<=",
    "geq": ">=",
    "ge": ">=",
    "geqslant": ">=",
    "neq": "ne",
    "not": "ne",
    "rightarrow": "to",
    "mapsto": "to",
    "lt": "<",
    "gt": ">",
    "mid": "divides",
    "triangle": "triangle",
    "implies": "to",
}
_SYMBOLS = str.maketrans(
    {
        "−": "-",
        "–": "-",
        "—": " ",
        "’": "",
        "'": "",
        "`": "",
        "≤": r"\le ",
        "≥": r"\ge ",
        "≠": r"\ne ",
        "×": " ",
        "·": " ",
        "π": r"\pi ",
        "√": r"\sqrt ",
        "∞": r"\infty ",
        "→": r"\to ",
        "∠": r"\angle ",
        "△": r"\triangle ",
        "°": r"\circ ",
        "∈": r"\in ",
    }
)


def without_drawing(text: str) -> str:
    """The text without the code of its pictures."""
    return _DRAWING.sub(" ", text)


def drawing_of(text: str) -> str:
    """What the code of its pictures says, without spacing; empty without one."""
    return " ".join("".join(drawing.split()) for drawing in _DRAWING.findall(text))


def question_words(text: str) -> list[str]:
    """Words, numbers, names of symbols and signs + - = < > in order, in lower case. Pictures drawn in code are left out."""
    plain = unicodedata.normalize("NFC", _LINK.sub(r"\1", without_drawing(text))).translate(_SYMBOLS)
    plain = _ENVIRONMENT.sub(" ", _SHORT_FRACTION.sub(r"\1{\2}{\3}", _THOUSANDS.sub("", plain)))
    words: list[str] = []
    for match in _WORD.finditer(plain):
        word = (match[1] or match[0]).lower()
        if match[1] is None or word not in _LAYOUT:
            words.append(_SAME.get(word, word) if match[1] else word)
    return words


def is_number_word(word: str) -> bool:
    return word[0].isdigit()


def numbers_of(words: Sequence[str]) -> Counter[str]:
    """Each number and how often it stands there."""
    return Counter(word for word in words if is_number_word(word))


def without_numbers(words: Sequence[str]) -> list[str]:
    """The same with every number replaced by one and the same sign."""
    return ["#" if is_number_word(word) else word for word in words]


def plain_words(words: Sequence[str]) -> int:
    """How many of them are words: no numbers, signs or single letters."""
    return sum(len(word) > 1 and word[0].isalpha() for word in words)


def plain_answer(answer: str) -> str:
    """The answer without typesetting that says nothing: 1,000 and $1000$ are 1000, 085 is 85."""
    words = [_LEADING_ZEROS.sub("", word) for word in question_words(answer)]
    return " ".join(words) or "".join(answer.split())


def ngrams(words: Sequence[str], size: int) -> frozenset[tuple[str, ...]]:
    """All runs of `size` words; of a shorter text, the text itself."""
    if not words:
        return frozenset()
    return frozenset(tuple(words[start : start + size]) for start in range(max(1, len(words) - size + 1)))
