"""Sums, products and determinants of matrices, so that a product written out and its result are one answer."""

from __future__ import annotations

from reasonrl.rl.answers.syntax import Function, Matrix, Negative, Node, Product, Quotient, Sum

_MAX_CELLS = 100
_MAX_DETERMINANT = 4


def multiplied_out(node: Node) -> Node:
    """The matrix that an expression of matrices is; the node itself when it is none or its shapes do not fit."""
    match node:
        case Product(factors) if any(isinstance(factor, Matrix) for factor in factors):
            result: Node | None = None
            for factor in map(multiplied_out, factors):
                result = factor if result is None else _product(result, factor)
                if result is None:
                    return node
            return node if result is None else result
        case Function("det" | "abs", (operand,)) if isinstance(inner := multiplied_out(operand), Matrix):
            return _determinant(inner.rows) if len(inner.rows) == len(inner.rows[0]) <= _MAX_DETERMINANT else node
        case Quotient(above, below) if isinstance(inner := multiplied_out(above), Matrix) and not isinstance(below, Matrix):
            return Matrix(tuple(tuple(Quotient(cell, below) for cell in row) for row in inner.rows))
        case Negative(operand) if isinstance(inner := multiplied_out(operand), Matrix):
            return Matrix(tuple(tuple(Negative(cell) for cell in row) for row in inner.rows))
        case Sum(terms):
            matrices = [multiplied_out(term) for term in terms]
            if all(isinstance(each, Matrix) for each in matrices):
                return _sum([each for each in matrices if isinstance(each, Matrix)]) or node
            return node
        case _:
            return node


def _determinant(rows: tuple[tuple[Node, ...], ...]) -> Node:
    """By the first row's cofactors."""
    if len(rows) == 1:
        return rows[0][0]
    terms: list[Node] = []
    for column, cell in enumerate(rows[0]):
        minor = _determinant(tuple(row[:column] + row[column + 1 :] for row in rows[1:]))
        terms.append(Negative(Product((cell, minor))) if column % 2 else Product((cell, minor)))
    return Sum(tuple(terms))


def _product(left: Node, right: Node) -> Node | None:
    if isinstance(left, Matrix) and isinstance(right, Matrix):
        columns = list(zip(*right.rows, strict=True))
        if len(left.rows[0]) != len(right.rows) or len(left.rows) * len(columns) > _MAX_CELLS:
            return None
        return Matrix(tuple(tuple(_dot(row, column) for column in columns) for row in left.rows))
    if isinstance(left, Matrix) or isinstance(right, Matrix):
        matrix, scalar = (left, right) if isinstance(left, Matrix) else (right, left)
        assert isinstance(matrix, Matrix)
        return Matrix(tuple(tuple(Product((scalar, cell)) for cell in row) for row in matrix.rows))
    return Product((left, right))


def _dot(row: tuple[Node, ...], column: tuple[Node, ...]) -> Node:
    return Sum(tuple(Product((one, other)) for one, other in zip(row, column, strict=True)))


def _sum(matrices: list[Matrix]) -> Matrix | None:
    if len({(len(each.rows), len(each.rows[0])) for each in matrices}) != 1:
        return None
    return Matrix(
        tuple(tuple(Sum(cells) for cells in zip(*rows, strict=True)) for rows in zip(*(each.rows for each in matrices), strict=True))
    )
