"""Lists, sets, points, vectors and matrices: when order counts, and whose labels give one.

Every function takes `same`, the comparison of two members, because members are answers themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from reasonrl.rl.answers.equations import labelled
from reasonrl.rl.answers.syntax import Bracket, Chain, Listing, Matrix, Node, SetOf, Symbol

Same = Callable[[Node, Node], bool]
CONTAINERS = (Listing, SetOf, Bracket, Matrix)
_MAX_MEMBERS = 60


def same_members(prediction: Node, gold: Node, same: Same) -> bool:
    """Whether two answers, at least one of them of several members, have the same members."""
    match prediction, gold:
        case Bracket(), Bracket():
            return _same_brackets(prediction, gold, same)
        case Matrix(rows), Matrix(others):
            shapes = [len(row) for row in rows] == [len(row) for row in others]
            return shapes and all(_in_order(row, other, same) for row, other in zip(rows, others, strict=True))
        case Matrix(), Bracket(_, others, _):
            return _in_order(_vector(prediction), others, same)
        case Bracket(_, members, _), Matrix():
            return _in_order(members, _vector(gold), same)
        case Listing(members, _), Bracket("(", others, ")"):
            return _in_order(_values(members), others, same)
        case Bracket("(", members, ")"), Listing(others, _):
            return _in_order(members, _values(others), same)
        case ((SetOf(members) | Listing(members)), (SetOf(others) | Listing(others))):
            if isinstance(prediction, SetOf) and isinstance(gold, SetOf):
                return _same_sets(members, others, same)
            return _same_lists(members, others, same)
        case SetOf((member,)), _:
            return same(member, gold)
        case _, SetOf((member,)):
            return same(prediction, member)
        case _:
            return False


def _vector(matrix: Matrix) -> Sequence[Node]:
    """A row or a column as a vector, which may stand upright or lie down; nothing for a larger matrix."""
    single = len(matrix.rows) == 1 or len(matrix.rows[0]) == 1
    return [cell for row in matrix.rows for cell in row] if single else []


def _same_brackets(prediction: Bracket, gold: Bracket, same: Same) -> bool:
    """With two members the brackets say whether an interval has its ends; a longer row is a vector in any of them."""
    alike = (prediction.opening, prediction.closing) == (gold.opening, gold.closing)
    return (alike or len(prediction.members) > 2) and _in_order(prediction.members, gold.members, same)


def _in_order(members: Sequence[Node], others: Sequence[Node], same: Same) -> bool:
    return len(members) == len(others) and all(same(one, other) for one, other in zip(members, others, strict=True))


def _same_lists(members: Sequence[Node], others: Sequence[Node], same: Same) -> bool:
    """Lists without brackets have no order, except where labels give them one."""
    labels, other_labels = _labels(members), _labels(others)
    values, other_values = _values(members), _values(others)
    if labels and other_labels:
        if set(labels) != set(other_labels):
            return False
        expected = dict(zip(other_labels, other_values, strict=True))
        return all(same(value, expected[label]) for label, value in zip(labels, values, strict=True))
    if labels or other_labels:
        ordered = _by_label(labels, values), _by_label(other_labels, other_values)
        return _in_order(values, other_values, same) or _in_order(*ordered, same)
    if len(values) != len(other_values) or len(values) > _MAX_MEMBERS:
        return False
    left = list(other_values)
    for value in values:
        match = next((index for index, other in enumerate(left) if same(value, other)), None)
        if match is None:
            return False
        del left[match]
    return True


def _same_sets(members: Sequence[Node], others: Sequence[Node], same: Same) -> bool:
    """A set has each member once, however often it is written."""
    covered = all(any(same(one, other) for other in others) for one in members)
    return covered and all(any(same(one, other) for one in members) for other in others)


def as_points(node: Node) -> Node:
    """A list in which the same labels come again and again as the points that it lists: p = 5, q = 2; p = 7, q = 2."""
    if not isinstance(node, Listing):
        return node
    said = [labelled(member) if isinstance(member, Chain) else None for member in node.members]
    labels = [each[0] for each in said if each is not None and each[0] is not None]
    size = len(dict.fromkeys(labels))
    if len(labels) != len(node.members) or not 2 <= size < len(labels) or labels != labels[:size] * (len(labels) // size):
        return node
    values = _values(node.members)
    rows = [tuple(values[start : start + size]) for start in range(0, len(values), size)]
    return Listing(tuple(Bracket("(", row, ")") for row in rows), ",")


def _labels(members: Sequence[Node]) -> list[Node]:
    """The labels of a list in which each member has one of its own; empty otherwise, and for x₁, x₂, which only number the values."""
    labels = [said[0] for member in members if isinstance(member, Chain) and (said := labelled(member)) is not None]
    named = [label for label in labels if label is not None]
    if len(named) != len(members) or len(set(named)) != len(named):
        return []
    letters = {label.name.partition("_")[0] for label in named if isinstance(label, Symbol) and "_" in label.name}
    numbered = all(isinstance(label, Symbol) and "_" in label.name for label in named) and len(letters) == 1
    return [] if numbered else named


def _by_label(labels: Sequence[Node], values: Sequence[Node]) -> Sequence[Node]:
    """In the alphabetical order of single letters: y = 2, x = 1 is the point (1, 2)."""
    names = [label.name for label in labels if isinstance(label, Symbol) and len(label.name) == 1]
    if not labels or len(names) != len(labels):
        return values
    return [values[index] for index in sorted(range(len(names)), key=names.__getitem__)]


def _values(members: Sequence[Node]) -> list[Node]:
    """Members without their labels. A label before the first alone is one for all: n = 1, 2, 3."""
    found: list[Node] = []
    for member in members:
        said = labelled(member) if isinstance(member, Chain) else None
        found.append(member if said is None else said[1])
    return found
