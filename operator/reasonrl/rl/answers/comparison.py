"""Whether two answers say the same, by their shape: values, quantities, lists, points, sets, equations.

A pair of shapes that has no rule is different. Refusing a right answer costs one sample; accepting a wrong one teaches it.
"""

from __future__ import annotations

from fractions import Fraction

from reasonrl.rl.answers.equations import is_label, labelled, one_side, renamed, renamed_label, same_equation, same_label, solves
from reasonrl.rl.answers.identity import (
    MIN_SIGNIFICANT_DIGITS,
    MIN_SIGNIFICANT_DIGITS_OF_GOLD,
    decimal_rounds_decimal,
    identical,
    rounds_to,
)
from reasonrl.rl.answers.matrices import multiplied_out
from reasonrl.rl.answers.members import CONTAINERS, same_members
from reasonrl.rl.answers.real_sets import is_written_as_set, real_set, same_real_set
from reasonrl.rl.answers.signs import both_signs_apart
from reasonrl.rl.answers.syntax import (
    Based,
    Bracket,
    Chain,
    Choice,
    Clock,
    Degrees,
    Function,
    Listing,
    NamedSet,
    Negative,
    Node,
    Number,
    Percent,
    Product,
    Quantity,
    Quotient,
    Ratio,
    SetOperation,
    SetWhere,
    Sum,
    Symbol,
    Words,
    children,
)
from reasonrl.rl.answers.units import conversion


def same(prediction: Node, gold: Node) -> bool:
    """Whether the prediction says what the gold answer says. Only a rounded gold answer makes a difference between the two."""
    prediction, gold = _prepared(prediction), _prepared(gold)
    if prediction == gold and isinstance(gold, Chain | SetWhere | SetOperation):
        return True
    if isinstance(prediction, Choice) or isinstance(gold, Choice):
        return _same_choice(prediction, gold)
    if is_written_as_set(prediction) or is_written_as_set(gold):
        return _same_set(prediction, gold)
    if isinstance(prediction, Chain) or isinstance(gold, Chain):
        return _same_chain(prediction, gold)
    if isinstance(prediction, CONTAINERS) or isinstance(gold, CONTAINERS):
        return same_members(prediction, gold, same)
    if isinstance(prediction, Ratio) or isinstance(gold, Ratio):
        return _same_ratio(prediction, gold)
    if isinstance(prediction, Clock) or isinstance(gold, Clock):
        return _same_clock(prediction, gold)
    if isinstance(prediction, Based) or isinstance(gold, Based):
        return _same_based(prediction, gold)
    if isinstance(prediction, NamedSet) or isinstance(gold, NamedSet):
        return prediction == gold
    return _same_quantity(prediction, gold)


def _prepared(node: Node) -> Node:
    """± becomes both values, matrices are multiplied out, a point loses its name, a list of one value is that value."""
    node = multiplied_out(both_signs_apart(node))
    match node:
        case Listing((member,), _):
            return member
        case Listing((member, *others), "or") if not isinstance(member, Chain) and all(_same_number(member, other) for other in others):
            # "0.5, or 50 %" says one thing twice.
            return member
        case Product((Symbol(name), Bracket() as point)) if name[:1].isupper():
            return point
        case _:
            return node


def _same_choice(prediction: Node, gold: Node) -> bool:
    """An option is its letter; what is written after it may stand for it, and must agree where both have it."""
    if isinstance(prediction, Choice) and isinstance(gold, Choice):
        if prediction.letter != gold.letter:
            return False
        return prediction.rest is None or gold.rest is None or same(prediction.rest, gold.rest)
    if isinstance(gold, Choice):
        return _is_letter(prediction, gold) or (gold.rest is not None and same(prediction, gold.rest))
    assert isinstance(prediction, Choice)
    return _is_letter(gold, prediction) or (prediction.rest is not None and same(prediction.rest, gold))


def _is_letter(node: Node, choice: Choice) -> bool:
    return node in (Symbol(choice.letter), Words(choice.letter.lower()))


def _same_set(prediction: Node, gold: Node) -> bool:
    sets = real_set(prediction), real_set(gold)
    if sets[0] is not None and sets[1] is not None:
        return same_real_set(sets[0], sets[1])
    match prediction, gold:
        case Chain((a, b), (relation,)), Chain((c, d), (other,)):
            return _same_relation((a, b), relation, (c, d), other)
        case Chain((label, members), ("∈",)), _ if is_label(label) and not isinstance(gold, Chain):
            return same(members, gold)
        case _, Chain((label, members), ("∈",)) if is_label(label) and not isinstance(prediction, Chain):
            return same(prediction, members)
        case SetWhere(_, mine), SetWhere(_, theirs):
            return same(mine, theirs)
        case SetOperation(operator, left, right), SetOperation(other, low, high) if operator == other:
            ordered = same(left, low) and same(right, high)
            return ordered or (operator != "difference" and same(left, high) and same(right, low))
        case _:
            return prediction == gold


def _same_relation(sides: tuple[Node, Node], relation: str, others: tuple[Node, Node], other: str) -> bool:
    """Both sides the same, in either direction: a ≤ b and b ≥ a."""
    flipped = {"<": ">", ">": "<", "≤": "≥", "≥": "≤"}.get(other, other)
    straight = relation == other and same(sides[0], others[0]) and same(sides[1], others[1])
    return straight or (relation == flipped and relation != "∈" and same(sides[0], others[1]) and same(sides[1], others[0]))


def _same_chain(prediction: Node, gold: Node) -> bool:
    if isinstance(prediction, Chain) and isinstance(gold, Chain):
        return _same_two_chains(prediction, gold)
    if isinstance(gold, Chain):
        said = labelled(gold)
        return (said is not None and same(prediction, said[1])) or _solves(gold, prediction)
    assert isinstance(prediction, Chain)
    said = labelled(prediction)
    return (said is not None and same(said[1], gold)) or _solves(prediction, gold)


def _solves(chain: Chain, value: Node) -> bool:
    """Whether an equation that is not solved for a variable gives the other side's expression for it."""
    difference = one_side(chain)
    return difference is not None and not isinstance(value, (*CONTAINERS, Symbol)) and solves(difference, value)


def _same_two_chains(prediction: Chain, gold: Chain) -> bool:
    mine, theirs = labelled(prediction), labelled(gold)
    if mine is not None and theirs is not None:
        (label, value), (other, expected) = mine, theirs
        if label is None or other is None or same_label(label, other):
            if same(value, expected):
                return True
        elif same_label(renamed_label(label, other), other) and same(renamed(label, value, other), expected):
            return True
    differences = one_side(prediction), one_side(gold)
    if differences[0] is None or differences[1] is None:
        return _same_congruence(prediction, gold)
    return same_equation(differences[0], differences[1])


def _same_congruence(prediction: Chain, gold: Chain) -> bool:
    match prediction, gold:
        case Chain((left, Function("mod", (residue, modulus))), ("≡",)), Chain((low, Function("mod", (other, same_modulus))), ("≡",)):
            difference = Function("mod", (Sum((residue, Negative(other))), modulus))
            return identical(left, low) and identical(modulus, same_modulus) and identical(difference, Number(Fraction(0)))
        case _:
            return prediction == gold


def _same_ratio(prediction: Node, gold: Node) -> bool:
    match prediction, gold:
        case Ratio(members), Ratio(others):
            return _proportional(members, others)
        case _, Ratio((above, below)):
            return _is_share(prediction, Quotient(above, below)) or (
                not _with_unit(prediction)[1] and _same_number(prediction, Quotient(above, below))
            )
        case Ratio((above, below)), _:
            return _is_share(gold, Quotient(above, below)) or (not _with_unit(gold)[1] and _same_number(Quotient(above, below), gold))
        case _:
            return False


def _proportional(members: tuple[Node, ...], others: tuple[Node, ...]) -> bool:
    if len(members) != len(others):
        return False
    first, second = members[0], others[0]
    if identical(first, Number(Fraction(0))) or identical(second, Number(Fraction(0))):
        return members == others
    pairs = zip(members[1:], others[1:], strict=True)
    return all(identical(Product((one, second)), Product((other, first))) for one, other in pairs)


def _is_share(node: Node, ratio: Node) -> bool:
    """A share in percent is a ratio as well, by its value; a number of things is not."""
    return isinstance(node, Percent) and identical(node, ratio)


def _same_clock(prediction: Node, gold: Node) -> bool:
    if isinstance(prediction, Clock) and isinstance(gold, Clock):
        return prediction == gold
    # 3:45 is also how a ratio is written.
    if isinstance(gold, Clock):
        return gold.minutes > 0 and gold.seconds == 0 and same(prediction, _as_ratio(gold))
    assert isinstance(prediction, Clock)
    return prediction.minutes > 0 and prediction.seconds == 0 and same(_as_ratio(prediction), gold)


def _as_ratio(clock: Clock) -> Ratio:
    return Ratio((Number(Fraction(clock.hours)), Number(Fraction(clock.minutes))))


def _same_based(prediction: Node, gold: Node) -> bool:
    """Digits and base are what was asked for: the same number in another base is the question, not the answer."""
    if isinstance(prediction, Based) and isinstance(gold, Based):
        return (prediction.digits.lstrip("0"), prediction.base) == (gold.digits.lstrip("0"), gold.base)
    based, other = (prediction, gold) if isinstance(prediction, Based) else (gold, prediction)
    assert isinstance(based, Based)
    if isinstance(other, Number) and other.value.denominator == 1:
        return based.digits.lstrip("0") == str(other.value)
    return isinstance(other, Symbol | Product) and _letters(other) == based.digits


def _letters(node: Node) -> str:
    if isinstance(node, Product):
        return "".join(map(_letters, children(node)))
    return node.name if isinstance(node, Symbol) else "?"


def _same_quantity(prediction: Node, gold: Node) -> bool:
    (value, unit), (other, wanted) = _with_unit(prediction), _with_unit(gold)
    if unit and wanted and unit != wanted:
        factor = conversion(unit, wanted)
        return factor is not None and _same_number(Product((value, Number(factor))), other)
    if _same_number(value, other):
        return True
    # A percentage and an angle are numbers themselves: 25 % is also 0.25, and 180° is also π.
    if {unit, wanted} in ({"%", ""}, {"degree", ""}):
        return _same_number(_by_value(value, unit), _by_value(other, wanted))
    return False


def _by_value(node: Node, unit: str) -> Node:
    return Percent(node) if unit == "%" else Degrees(node) if unit == "degree" else node


def _with_unit(node: Node) -> tuple[Node, str]:
    match node:
        case Quantity(operand, unit):
            return operand, unit
        case Percent(operand):
            return operand, "%"
        case Degrees(operand):
            return operand, "degree"
        case Negative(operand):
            inner, unit = _with_unit(operand)
            return (Negative(inner), unit) if unit else (node, "")
        case _:
            return node, ""


def _same_number(prediction: Node, gold: Node) -> bool:
    if identical(prediction, gold) or rounds_to(prediction, gold, min_digits=MIN_SIGNIFICANT_DIGITS):
        return True
    if rounds_to(gold, prediction, min_digits=MIN_SIGNIFICANT_DIGITS_OF_GOLD):
        return True
    return decimal_rounds_decimal(prediction, gold) or decimal_rounds_decimal(gold, prediction)
