"""The grammar of brackets: points, intervals, sets, matrices and the members of any list."""

from __future__ import annotations

from reasonrl.rl.answers.cursor import Cursor, ParseError
from reasonrl.rl.answers.syntax import Bracket, Chain, Function, Listing, Matrix, NamedSet, Node, SetOf, SetWhere

SEPARATORS = (",", ";", "and", "or", "\\\\")
_MATRICES = ("matrix", "pmatrix", "bmatrix", "vmatrix", "Bmatrix", "smallmatrix", "array")


def read_members(cursor: Cursor, *closing: str) -> tuple[list[Node], str]:
    """Members up to a closing sign, which is left there, and how they are joined: by `or` when that word stands among them."""
    members: list[Node] = []
    joiners: set[str] = set()
    while not cursor.at(*closing):
        members.append(cursor.read_member(cursor))
        if cursor.at(*closing):
            break
        if not cursor.at(*SEPARATORS):
            raise ParseError(f"{cursor.peek().text or cursor.peek().kind!r} after a member")
        # "1, 2, and 3" has two separators in a row.
        while cursor.at(*SEPARATORS):
            joiners.add(cursor.take().kind)
    if not members:
        raise ParseError("a group without members")
    return members, next((each for each in ("or", "and") if each in joiners), ",")


def read_list_until(cursor: Cursor, closing: str) -> Node:
    """The members up to a closing sign: one of them as it is, several as a list."""
    return _joined(*read_members(cursor, closing))


def _read_condition(cursor: Cursor, variable: Node, closing: str) -> Node:
    """The set {variable | …} from behind its bar. Raises ParseError for several variables."""
    if isinstance(variable, Listing):
        raise ParseError("a set of several members with a condition")
    with cursor.nested():
        conditions, joiner = read_members(cursor, closing)
    return SetWhere(variable, _joined(_without_parameters(conditions), joiner))


def _joined(members: list[Node], joiner: str) -> Node:
    return members[0] if len(members) == 1 else Listing(tuple(members), joiner)


def _without_parameters(conditions: list[Node]) -> list[Node]:
    """Conditions without those that only say which whole numbers a parameter runs through: "…, k ∈ ℤ"."""
    return [each for each in conditions if not _is_parameter(each)] or conditions


def _is_parameter(condition: Node) -> bool:
    return isinstance(condition, Chain) and condition.relations == ("∈",) and isinstance(condition.sides[1], NamedSet)


def read_group(cursor: Cursor, *, opened: str | None = None) -> Node:
    """One member in brackets is that member; several are a point or an interval. `opened` names a bracket that is read already."""
    opening = opened or cursor.take().kind
    ends = (">", "command") if opened == "langle" else ("[", "]") if opening == "]" else (")", "]", "[")
    with cursor.nested():
        members, _ = read_members(cursor, *ends)
    closing = cursor.take()
    if closing.kind == "command" and closing.text != "rangle":
        raise ParseError(f"the command \\{closing.text} in a group")
    if len(members) == 1:
        if opening == "]" or closing.kind == "[" or (opening, closing.kind) in (("(", "]"), ("[", ")")):
            raise ParseError("an interval with one end")
        return members[0]
    if opened == "langle":
        return Bracket("(", tuple(members), ")")
    # ]a, b[ is how French books write the open interval.
    return Bracket("(" if opening == "]" else opening, tuple(members), ")" if closing.kind == "[" else closing.kind)


def read_arguments(cursor: Cursor) -> tuple[Node, ...]:
    """The arguments of a function in round brackets."""
    cursor.expect("(")
    with cursor.nested():
        members, _ = read_members(cursor, ")")
    cursor.expect(")")
    return tuple(members)


def read_set(cursor: Cursor) -> Node:
    cursor.expect("\\{")
    with cursor.nested(in_set=True):
        members, _ = read_members(cursor, "\\}", "|", ":")
        if cursor.accept("|") or cursor.accept(":"):
            found = _read_condition(cursor, _joined(members, ","), "\\}")
            cursor.expect("\\}")
            return found
    cursor.expect("\\}")
    return SetOf(tuple(members))


def read_environment(cursor: Cursor) -> Node:
    """A matrix. Other environments (cases, align) say more than one answer can."""
    name = _environment_name(cursor)
    if name == "cases":
        return _read_system(cursor)
    if name not in _MATRICES:
        raise ParseError(f"the environment {name}")
    if name == "array" and cursor.at("{"):
        while not cursor.accept("}"):
            if cursor.take().kind == "end":
                raise ParseError("an array without its end")
    rows: list[list[Node]] = [[]]
    with cursor.nested():
        while not cursor.at_command("end"):
            if cursor.accept("\\\\"):
                rows.append([])
            elif not cursor.accept("&"):
                rows[-1].append(cursor.read_member(cursor))
                if not cursor.at("&", "\\\\") and not cursor.at_command("end"):
                    raise ParseError("several values in one cell")
    cursor.take()
    if _environment_name(cursor) != name:
        raise ParseError(f"the environment {name} is not closed")
    filled = tuple(tuple(row) for row in rows if row)
    if not filled or len({len(row) for row in filled}) != 1:
        raise ParseError("a matrix with rows of different lengths")
    return Function("det", (Matrix(filled),)) if name == "vmatrix" else Matrix(filled)


def _read_system(cursor: Cursor) -> Node:
    """Relations that hold together. A function by cases, which has two columns, says more than one answer can."""
    members: list[Node] = []
    with cursor.nested():
        while not cursor.at_command("end"):
            if not cursor.accept("\\\\") and not cursor.accept(","):
                members.append(cursor.read_member(cursor))
    cursor.take()
    if _environment_name(cursor) != "cases" or not all(isinstance(each, Chain) for each in members):
        raise ParseError("cases that are no relations")
    return _joined(members, "and")


def _environment_name(cursor: Cursor) -> str:
    cursor.expect("{")
    name = ""
    while not cursor.accept("}"):
        token = cursor.take()
        if token.kind not in ("letter", "word", "·"):
            raise ParseError("the name of an environment")
        name += token.text
    return name
