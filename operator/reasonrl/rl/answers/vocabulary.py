"""The words that mathematics is written with: functions, numbers, connecting words; and what is a word at all.

`ab` is a product and `at` is a word; nothing but convention tells them apart, so the convention is written down here.
"""

from __future__ import annotations

from itertools import pairwise


def words(text: str) -> frozenset[str]:
    """The words of a text, for sets that are easier to read as one."""
    return frozenset(text.split())


FUNCTIONS = words(
    "sin cos tan cot sec csc arcsin arccos arctan arccot arcsec arccsc sinh cosh tanh coth asin acos atan ln log lg exp gcd lcm max min"
)
ALL_FUNCTIONS = FUNCTIONS | {"sqrt"}
PLAIN_CONSTANTS = {"pi": "pi", "infinity": "infty", "infty": "infty", "inf": "infty", "oo": "infty"}

_BELOW_TWENTY = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
)
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
NUMBER_WORDS = {
    **{word: value for value, word in enumerate(_BELOW_TWENTY.split())},
    **{word: 10 * value for value, word in enumerate(_TENS.split(), start=2)},
}

LEADING_WORDS = words(
    "the answer final is are was be equals equal to therefore thus hence so we get have value values of only about approximately approx "
    "exactly roughly result solution solutions it that number total sum product probability area length volume perimeter there "
    "all real numbers complex integers integer set ratio rs"
)
"""What may stand before an answer without changing it."""

NEGATIONS = words("not no never none neither nor except without unless least most than but")
"""Words that turn what a sentence says."""

MEANING_WORDS = words(
    "not no never none neither nor except without least most more less fewer than greater smaller larger over under above below between "
    "unless but if when for where with given such odd even or and minus plus divided half twice double dozen hundred "
    "thousand million billion trillion percent percentage pct every each any some"
)
"""What changes an answer wherever it stands: never taken for a unit, never dropped."""

RANGE_WORDS = words(
    "any all some every each is are be a an the of in for that as integer integers real reals number numbers natural naturals positive "
    "nonnegative negative non whole rational complex arbitrary constant constants parameter parameters value values"
)
"""What a condition is made of when it only says which values a letter takes."""

PROSE_WORDS = words("the a an in on at to by from it this that has have can will be is are was were appears does do its their his her")
"""Words of a sentence, which a unit of measure or the name of counted things has not."""

CONDITION_WORDS = words("where with for if when given whenever provided such since because as")
"""Words that open a condition on the answer before them."""

_SHORT_WORDS = words(
    "is it to of or if at no we pm am cm mm dm km kg mg ml ft in hr as an by on so yd lb oz us up do my km hz kw ms he be go me"
)


def is_word(run: str) -> bool:
    """Whether a run of letters in mathematics is a word and not a product of variables.

    Two letters are a product unless they are a common word or unit. Three and more are one when they are capitals (a polygon's
    corners) or neighbours in the alphabet, in its order (`abc`, `xyz`, `mnp`, and not `for` or `most`).
    """
    if len(run) < 2:
        return False
    if len(run) == 2:
        return run in _SHORT_WORDS
    if run.isupper():
        return False
    return not (len(run) <= 5 and run.islower() and all(0 < ord(second) - ord(first) <= 3 for first, second in pairwise(run)))
