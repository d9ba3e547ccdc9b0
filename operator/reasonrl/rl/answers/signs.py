"""± and ∓: one expression that is two values."""

from __future__ import annotations

from reasonrl.rl.answers.syntax import Listing, Negative, Node, PlusMinus, SetOf, children, rebuilt


def both_signs_apart(node: Node) -> Node:
    """An answer with ± as the list of both values, in a list or a set as two members; without one, the answer as it is."""
    match node:
        case Listing(members, joiner):
            return Listing(_apart(members), joiner)
        case SetOf(members):
            return SetOf(_apart(members))
        case _:
            return Listing(_both(node), "or") if _has_sign(node) else node


def _apart(members: tuple[Node, ...]) -> tuple[Node, ...]:
    return tuple(each for member in members for each in (_both(member) if _has_sign(member) else (member,)))


def _has_sign(node: Node) -> bool:
    return isinstance(node, PlusMinus) or any(map(_has_sign, children(node)))


def _both(node: Node) -> tuple[Node, Node]:
    """All signs of one expression change together: upper with upper, lower with lower."""
    return _signed(node, up=True), _signed(node, up=False)


def _signed(node: Node, *, up: bool) -> Node:
    if isinstance(node, PlusMinus):
        inner = _signed(node.operand, up=up)
        return inner if up != node.flipped else Negative(inner)
    return rebuilt(node, lambda child: _signed(child, up=up))
