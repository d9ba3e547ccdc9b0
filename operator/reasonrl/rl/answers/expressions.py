"""The grammar of expressions: sums, products, powers and what they are made of."""

from __future__ import annotations

from fractions import Fraction

from reasonrl.rl.answers.cursor import Cursor, ParseError
from reasonrl.rl.answers.groups import read_arguments, read_environment, read_group, read_list_until, read_set
from reasonrl.rl.answers.numerals import mixed_number, number_of
from reasonrl.rl.answers.syntax import (
    Based,
    Constant,
    Degrees,
    Function,
    NamedSet,
    Negative,
    Node,
    Number,
    Percent,
    PlusMinus,
    Power,
    Product,
    Quantity,
    Quotient,
    Sum,
    Symbol,
    Words,
)

_NAMED_SETS = frozenset("RZNQC")
_DOTS = ("ldots", "cdots", "dots", "dotsc", "dotsb", "vdots")
_ACCENTS = ("overline", "overrightarrow", "vec", "hat", "bar", "tilde", "widehat", "overleftrightarrow", "underline")
_FIGURES = ("angle", "triangle", "measuredangle", "odot", "square", "Delta")
_CURRENCIES = ("dollar", "euro", "pound", "yen")
_INVERSES = {"sin": "arcsin", "cos": "arccos", "tan": "arctan", "cot": "arccot", "sec": "arcsec", "csc": "arccsc"}
_ALIASES = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "lg": "log"}


def read_sum(cursor: Cursor) -> Node:
    terms = [_read_signed_term(cursor)]
    while cursor.at("+", "-") or cursor.at_command("pm", "mp"):
        terms.append(_read_signed_term(cursor))
    total = terms[0] if len(terms) == 1 else Sum(tuple(terms))
    if cursor.at_command("bmod", "mod") or (cursor.at("word") and cursor.peek().text == "mod"):
        cursor.take()
        return Function("mod", (total, _read_term(cursor)))
    return total


def _read_signed_term(cursor: Cursor) -> Node:
    if cursor.accept("-"):
        return Negative(_read_signed_term(cursor)) if cursor.at("-", "+") else Negative(_read_term(cursor))
    if cursor.accept("+"):
        return _read_signed_term(cursor) if cursor.at("-") else _read_term(cursor)
    sign = cursor.accept_command("pm", "mp")
    if sign is not None:
        return PlusMinus(_read_term(cursor), flipped=sign == "mp")
    return _read_term(cursor)


def _read_term(cursor: Cursor) -> Node:
    """Products and quotients from left to right; a product without a sign binds as one with a sign does."""
    result = _read_power(cursor)
    factors: list[Node] = [result]
    while True:
        if cursor.accept("·"):
            factors.append(_read_factor(cursor))
        elif cursor.at("/") and cursor.peek(1).kind != "word":
            cursor.take()
            factors = [Quotient(_product(factors), _read_factor(cursor))]
        elif _starts_factor(cursor):
            factors.append(_read_neighbour(cursor, factors))
        else:
            return _product(factors)


def _product(factors: list[Node]) -> Node:
    return factors[0] if len(factors) == 1 else Product(tuple(factors))


def _read_factor(cursor: Cursor) -> Node:
    if cursor.accept("-"):
        return Negative(_read_power(cursor))
    cursor.accept("+")
    return _read_power(cursor)


def _starts_factor(cursor: Cursor) -> bool:
    token = cursor.peek()
    if token.kind == "|":
        return cursor.bars == 0 and not cursor.in_set
    if token.kind == "command":
        return token.text in ("frac", "binom", "pi", "lfloor", "lceil", "infty", "boxed", "begin", "fbox", *_ACCENTS, *_FIGURES, *_DOTS)
    return token.kind in ("number", "letter", "function", "(", "{")


def _read_neighbour(cursor: Cursor, factors: list[Node]) -> Node:
    """A factor without a sign before it."""
    if cursor.at("number") and isinstance(factors[-1], Number | Symbol | Constant):
        raise ParseError("two numbers side by side")
    return _read_power(cursor)


def _mixed(cursor: Cursor, whole: Number) -> Number:
    """A whole number before a proper fraction is a mixed number and not a product; otherwise the number alone."""
    start, tokens = cursor.place, list(cursor.tokens)
    if cursor.at("number") and cursor.peek().spaced and cursor.peek(1).kind == "/" and cursor.peek(2).kind == "number":
        above = number_of(cursor.take().text)
        cursor.take()
        below = number_of(cursor.take().text)
    elif cursor.accept_command("frac"):
        numerator, denominator = _read_argument(cursor), _read_argument(cursor)
        if not (isinstance(numerator, Number) and isinstance(denominator, Number)):
            cursor.place, cursor.tokens = start, tokens
            return whole
        above, below = numerator, denominator
    else:
        return whole
    mixed = mixed_number(whole, above, below)
    if mixed is None or cursor.at("^"):
        cursor.place, cursor.tokens = start, tokens
        return whole
    return mixed


def _read_power(cursor: Cursor) -> Node:
    result = _read_atom(cursor)
    while True:
        if cursor.accept("^"):
            result = _raised(cursor, result)
        elif cursor.accept("!"):
            result = Function("double factorial" if cursor.accept("!") else "factorial", (result,))
        elif cursor.accept("%"):
            result = Percent(result)
        elif cursor.accept_command("degree"):
            result = Degrees(result)
        else:
            return result


def _raised(cursor: Cursor, base: Node) -> Node:
    group = cursor.at("{")
    if cursor.at_command("degree") or (group and cursor.peek(1).text == "degree" and cursor.peek(2).kind == "}"):
        cursor.place += 3 if group else 1
        return Degrees(base)
    if cursor.at_command("prime") or (group and cursor.peek(1).text == "prime" and cursor.peek(2).kind == "}"):
        cursor.place += 3 if group else 1
        return Symbol(f"{base.name}'") if isinstance(base, Symbol) else Function("prime", (base,))
    exponent = _read_script(cursor)
    if cursor.accept("^"):
        exponent = _raised(cursor, exponent)
    return Power(base, exponent)


def _read_script(cursor: Cursor) -> Node:
    """What is raised or lowered: a group, or one thing with its sign. Unlike TeX, all digits of a number: people write 2^10."""
    if cursor.accept("-"):
        return Negative(_read_script(cursor))
    cursor.accept("+")
    return _read_atom(cursor)


def _read_argument(cursor: Cursor) -> Node:
    """A group, or TeX's one token."""
    if cursor.at("number"):
        return number_of(cursor.split_number())
    return _read_atom(cursor)


def _read_atom(cursor: Cursor) -> Node:
    token = cursor.peek()
    if token.kind == "number":
        cursor.take()
        return _based(cursor, token.text) or _mixed(cursor, number_of(token.text))
    if token.kind == "letter":
        return read_symbol(cursor)
    if token.kind == "function":
        return _read_function(cursor)
    if token.kind in ("(", "[", "]"):
        group = read_group(cursor)
        if cursor.at("_") and isinstance(group, Number):
            return _based(cursor, str(group.value)) or group
        return group
    if token.kind == "{":
        return _read_braces(cursor)
    if token.kind == "\\{":
        return read_set(cursor)
    if token.kind == "|":
        return _read_absolute_value(cursor)
    if token.kind == "command":
        return _read_command(cursor)
    if token.kind == "word" and len(token.text) == 1:
        cursor.take()
        return Symbol(token.text)
    raise ParseError(f"{token.text or token.kind!r} where a value should be")


def _based(cursor: Cursor, digits: str) -> Node | None:
    if not cursor.accept("_"):
        return None
    return Based(digits, _read_subscript(cursor))


def read_symbol(cursor: Cursor) -> Node:
    """A letter with its subscript and primes."""
    name = cursor.take().text
    subscript = ""
    if cursor.accept("_"):
        subscript = f"_{_read_subscript(cursor)}"
    primes = 0
    while cursor.accept("'"):
        primes += 1
    if name == "C" and subscript[1:].isdigit() and cursor.at("^"):
        return _read_combinations(cursor, Number(Fraction(subscript[1:])))
    if not subscript and not primes and name in ("e", "i", "I"):
        return Constant(name.lower())
    return Symbol(name + subscript + "'" * primes)


def _read_combinations(cursor: Cursor, count: Number) -> Node:
    """C_{10}^{3}, the binomial coefficient as much of the world writes it; with anything but numbers it may be a power."""
    cursor.expect("^")
    chosen = _read_script(cursor)
    if isinstance(chosen, Number) and chosen.value.denominator == 1 and chosen.value <= count.value:
        return Function("binomial", (count, chosen))
    return Power(Symbol(f"C_{count.value}"), chosen)


def _read_subscript(cursor: Cursor) -> str:
    """A name and not a value: x_{max}, a_{n+1}, S_{\\triangle ABC}. The same signs are the same name."""
    if not cursor.at("{"):
        token = cursor.take()
        if token.kind not in ("number", "letter", "word", "function", "command"):
            raise ParseError(f"{token.text or token.kind!r} as a subscript")
        return token.text
    parts: list[str] = []
    depth = 0
    while True:
        token = cursor.take()
        depth += (token.kind == "{") - (token.kind == "}")
        if token.kind == "end":
            raise ParseError("a subscript that is not closed")
        if token.kind not in "{}":
            parts.append(token.text or token.kind)
        if depth == 0:
            return "".join(parts)


def _read_function(cursor: Cursor) -> Node:
    name = cursor.take().text
    name = _ALIASES.get(name, name)
    if name == "sqrt":
        return _read_root(cursor)
    base = None
    power = None
    while cursor.at("_", "^"):
        if cursor.accept("_"):
            base = _read_script(cursor)
        else:
            cursor.take()
            power = _read_script(cursor)
    if power in (Number(Fraction(-1)), Negative(Number(Fraction(1)))) and name in _INVERSES:
        name, power = _INVERSES[name], None
    argument = _read_function_argument(cursor)
    arguments = argument if isinstance(argument, tuple) else (argument,)
    result: Node = Function(name, arguments if base is None else (*arguments, base))
    return result if power is None else Power(result, power)


def _read_function_argument(cursor: Cursor) -> Node | tuple[Node, ...]:
    if cursor.at("("):
        return read_arguments(cursor)
    if cursor.accept("-"):
        return Negative(_read_power(cursor))
    factors = [_read_power(cursor)]
    while _starts_factor(cursor) and not cursor.at("function", "(", "["):
        factors.append(_read_neighbour(cursor, factors))
    return _product(factors)


def _read_root(cursor: Cursor) -> Node:
    degree: Node = Number(Fraction(2))
    if cursor.accept("["):
        with cursor.nested():
            degree = read_sum(cursor)
        cursor.expect("]")
    if cursor.at("{", "(", "letter", "number") or cursor.at_command("frac", "pi"):
        radicand = _read_atom(cursor)
    else:
        raise ParseError("a root of nothing")
    return Function("root", (radicand, degree))


def _read_braces(cursor: Cursor) -> Node:
    cursor.expect("{")
    with cursor.nested():
        inner = read_list_until(cursor, "}")
    cursor.expect("}")
    if cursor.at("_") and isinstance(inner, Symbol):
        cursor.take()
        return Symbol(f"{inner.name}_{_read_subscript(cursor)}")
    return inner


def _read_absolute_value(cursor: Cursor) -> Node:
    cursor.expect("|")
    with cursor.nested(bars=1):
        inner = read_sum(cursor)
    cursor.expect("|")
    return Function("abs", (inner,))


def _read_command(cursor: Cursor) -> Node:
    name = cursor.take().text
    if name == "frac":
        return Quotient(_read_argument(cursor), _read_argument(cursor))
    if name == "binom":
        return Function("binomial", (_read_argument(cursor), _read_argument(cursor)))
    if name == "pi":
        return Constant("pi")
    if name == "infty":
        return Constant("infinity")
    if name in ("lfloor", "lceil"):
        with cursor.nested():
            inner = read_sum(cursor)
        if cursor.accept_command("rfloor" if name == "lfloor" else "rceil") is None:
            raise ParseError(f"{name} without its end")
        return Function("floor" if name == "lfloor" else "ceiling", (inner,))
    if name == "langle":
        return read_group(cursor, opened="langle")
    if name == "begin":
        return read_environment(cursor)
    if name == "emptyset":
        return NamedSet("empty")
    if name in ("mathbb", "mathcal", "mathscr"):
        return _read_named_set(cursor)
    if name in _CURRENCIES:
        return Quantity(_read_power(cursor), name)
    if name in ("boxed", "fbox"):
        return _read_braces(cursor)
    if name in _DOTS:
        return Symbol("…")
    if name in _ACCENTS or name in _FIGURES:
        return Symbol(f"{name} {written(_read_figure(cursor))}")
    raise ParseError(f"the command \\{name}")


def _read_figure(cursor: Cursor) -> Node:
    """A figure's name: the letters of its corners."""
    letters: list[Node] = [_read_atom(cursor)]
    while cursor.at("letter"):
        letters.append(read_symbol(cursor))
    return _product(letters)


def _read_named_set(cursor: Cursor) -> Node:
    letter = written(_read_argument(cursor))
    if letter not in _NAMED_SETS:
        return Symbol(f"set {letter}")
    suffix = ""
    while cursor.at("^", "_"):
        sign = cursor.take().text
        suffix += sign + (cursor.take().text if cursor.at("+", "-", "·") else written(_read_script(cursor)))
    return NamedSet(letter + suffix)


def written(node: Node) -> str:
    """A name made of a tree: the same for the same tree, for subscripts and labels."""
    match node:
        case Number(value):
            return str(value)
        case Symbol(name) | Constant(name) | NamedSet(name):
            return name
        case Words(text):
            return text
        case Product(factors):
            return "".join(written(each) for each in factors)
        case Sum(terms):
            return "+".join(written(each) for each in terms)
        case Negative(operand):
            return f"-{written(operand)}"
        case _:
            return repr(node)
