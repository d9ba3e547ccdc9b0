"""`reasonrl explain`: what a field of a job means, its type, default and children, as `kubectl explain` does."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from reasonrl.api.exit_codes import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from reasonrl.api.field_tree import FieldNode


def register(app: typer.Typer) -> None:
    app.command("explain")(explain)


def explain(
    field: Annotated[str, typer.Argument(metavar="FIELD", help="Such as spec.algorithm.kl.schedule; nothing is the whole job.")] = "",
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Show all fields below it, names and types only.")] = False,
) -> None:
    """Show what FIELD of a job means: its type, default, bounds, description and fields.

    Where a field comes in several types, name one (spec.rewards.overlong.bufferTokens) or none: spec.rewards.weight is shown for each.
    """
    from reasonrl.api.field_tree import field_tree, fields_at, fields_like
    from reasonrl.cli.problems import show_error

    found = fields_at(field_tree(), _parts(field))
    if not found:
        near = fields_like(field)
        show_error(
            f"there is no field {field}" + (f"; did you mean {' or '.join(near)}?" if near else "; reasonrl explain spec lists them")
        )
        raise typer.Exit(ExitCode.BAD_INPUT)
    lines = [line for node in found for line in _outline(node, indent="")] if recursive else _blocks(found)
    typer.echo("\n".join(lines))


def _parts(field: str) -> list[str]:
    """`spec.phases[0].until` and `.spec.phases[].until` are both spec, phases, until."""
    return [part for part in re.sub(r"\[\d*\]", "", field).split(".") if part]


def _blocks(nodes: list[FieldNode]) -> list[str]:
    """One block for each field, with an empty line between them."""
    return ["\n\n".join("\n".join(_block(node)) for node in nodes)]


def _block(node: FieldNode) -> Iterator[str]:
    yield f"FIELD:       {node.path or node.name}" + (f" (type: {node.variant})" if node.variant else "")
    yield f"TYPE:        {node.type}" + (" or null" if node.nullable else "")
    if node.choices:
        yield f"ONE OF:      {', '.join(node.choices)}"
    if node.bounds:
        yield f"BOUNDS:      {node.bounds}"
    yield "DEFAULT:     " + ("none: the field is required" if node.default is None else node.default)
    yield ""
    yield from _wrapped(node.description, indent="  ")
    if node.children:
        yield from ("", "FIELDS:", *_fields(node.children))
    for variant in node.variants:
        yield ""
        yield f"TYPE {variant.tag}:"
        yield from _wrapped(variant.description, indent="  ")
        yield from _fields(child for child in variant.children if child.name != "type")


def _fields(nodes: Iterable[FieldNode]) -> Iterator[str]:
    for node in nodes:
        default = "required" if node.default is None else f"default {node.default}"
        yield f"  {node.name}  <{node.type}>  {default}"
        yield from _wrapped(node.description, indent="      ")


def _outline(node: FieldNode, *, indent: str) -> Iterator[str]:
    yield f"{indent}{node.name}  <{node.type}>" + ("  -required-" if node.default is None else "")
    for child in node.children:
        yield from _outline(child, indent=indent + "  ")
    for variant in node.variants:
        yield f"{indent}  type: {variant.tag}"
        for child in variant.children:
            if child.name != "type":
                yield from _outline(child, indent=indent + "    ")


def _wrapped(text: str, *, indent: str) -> list[str]:
    import textwrap

    return textwrap.wrap(" ".join(text.split()), width=100, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
