"""What an answer is made of, as data: the tree that the parser builds and the comparison walks.

Plain frozen records and no behaviour, so that two trees can be compared with `==` before any mathematics is done.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Number:
    """An exact value. `places` counts the digits after the decimal point when it was written as a decimal, else None: only what was
    written as a decimal may be the rounding of something else."""

    value: Fraction
    places: int | None = None


@dataclass(frozen=True, slots=True)
class Constant:
    """`pi`, `e`, `i`, `infinity`."""

    name: str


@dataclass(frozen=True, slots=True)
class Symbol:
    """A variable: a letter with its subscript and primes, written canonically."""

    name: str


@dataclass(frozen=True, slots=True)
class Sum:
    terms: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Negative:
    operand: Node


@dataclass(frozen=True, slots=True)
class Product:
    factors: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Quotient:
    above: Node
    below: Node


@dataclass(frozen=True, slots=True)
class Power:
    base: Node
    exponent: Node


@dataclass(frozen=True, slots=True)
class Function:
    """A function by its name (`sin`, `sqrt`, `abs`, `factorial`, `binomial`, …) and its arguments."""

    name: str
    arguments: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class PlusMinus:
    """±operand, or ∓operand when `flipped`."""

    operand: Node
    flipped: bool = False


@dataclass(frozen=True, slots=True)
class Percent:
    operand: Node


@dataclass(frozen=True, slots=True)
class Degrees:
    operand: Node


@dataclass(frozen=True, slots=True)
class Based:
    """Digits with the base that they are written in: 2012₃."""

    digits: str
    base: str


@dataclass(frozen=True, slots=True)
class Quantity:
    """A value and the words after it."""

    operand: Node
    unit: str


@dataclass(frozen=True, slots=True)
class Words:
    """Text that is not mathematics, in canonical spelling."""

    text: str


@dataclass(frozen=True, slots=True)
class Choice:
    """An option of a multiple-choice question, with what is written after it."""

    letter: str
    rest: Node | None


@dataclass(frozen=True, slots=True)
class Bracket:
    """Several members between brackets: a point, a vector or an interval. `opening` and `closing` are the brackets."""

    opening: str
    members: tuple[Node, ...]
    closing: str


@dataclass(frozen=True, slots=True)
class SetOf:
    members: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class SetWhere:
    """{variable | condition}."""

    variable: Node
    condition: Node


@dataclass(frozen=True, slots=True)
class SetOperation:
    """`operator` is `union`, `intersection` or `difference`."""

    operator: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class NamedSet:
    """`R`, `Z`, `N`, `Q`, `C` or `empty`."""

    name: str


@dataclass(frozen=True, slots=True)
class Matrix:
    rows: tuple[tuple[Node, ...], ...]


@dataclass(frozen=True, slots=True)
class Ratio:
    members: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Clock:
    hours: int
    minutes: int
    seconds: int


@dataclass(frozen=True, slots=True)
class Chain:
    """`sides` with one relation between each two: `=`, `≈`, `≠`, `<`, `≤`, `>`, `≥`, `∈`, `≡`."""

    sides: tuple[Node, ...]
    relations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Listing:
    """Members without brackets. `joiner` is `or` when the word stands between any two, else `and`, else a comma."""

    members: tuple[Node, ...]
    joiner: str


Node = (
    Number
    | Constant
    | Symbol
    | Sum
    | Negative
    | Product
    | Quotient
    | Power
    | Function
    | PlusMinus
    | Percent
    | Degrees
    | Based
    | Quantity
    | Words
    | Choice
    | Bracket
    | SetOf
    | SetWhere
    | SetOperation
    | NamedSet
    | Matrix
    | Ratio
    | Clock
    | Chain
    | Listing
)


def children(node: Node) -> tuple[Node, ...]:
    """The nodes directly below."""
    found: list[Node] = []

    def note(child: Node) -> Node:
        found.append(child)
        return child

    rebuilt(node, note)
    return tuple(found)


def rebuilt(node: Node, change: Callable[[Node], Node]) -> Node:
    """The node with `change` applied to each node directly below."""
    match node:
        case Sum(terms):
            return Sum(tuple(map(change, terms)))
        case Product(factors):
            return Product(tuple(map(change, factors)))
        case Quotient(above, below):
            return Quotient(change(above), change(below))
        case Power(base, exponent):
            return Power(change(base), change(exponent))
        case Function(name, arguments):
            return Function(name, tuple(map(change, arguments)))
        case Negative(operand) | PlusMinus(operand) | Percent(operand) | Degrees(operand) | Quantity(operand):
            return replace(node, operand=change(operand))
        case Choice(letter, rest):
            return Choice(letter, None if rest is None else change(rest))
        case Bracket(_, members, _) | SetOf(members) | Ratio(members) | Listing(members):
            return replace(node, members=tuple(map(change, members)))
        case SetWhere(variable, condition):
            return SetWhere(change(variable), change(condition))
        case SetOperation(operator, left, right):
            return SetOperation(operator, change(left), change(right))
        case Matrix(rows):
            return Matrix(tuple(tuple(map(change, row)) for row in rows))
        case Chain(sides, relations):
            return Chain(tuple(map(change, sides)), relations)
        case _:
            return node


def symbols(node: Node) -> frozenset[str]:
    """The names of the variables in it."""
    if isinstance(node, Symbol):
        return frozenset((node.name,))
    return frozenset().union(*map(symbols, children(node)))


def substituted(node: Node, name: str, by: Node) -> Node:
    """The tree with another in the place of a variable."""
    if isinstance(node, Symbol):
        return by if node.name == name else node
    return rebuilt(node, lambda child: substituted(child, name, by))
