"""The reference page of the job, `docs/reference/job.md`, made from the models: `python -m reasonrl.api.reference_page`.

A test fails when the page is stale.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from reasonrl.api.field_tree import FieldNode, field_tree
from reasonrl.api.support import FUTURE_FIELDS, FUTURE_VARIANTS, RELEASE

PAGE = Path("docs/reference/job.md")

_HEAD = """\
# The job, field by field

<!-- Made by `python -m reasonrl.api.reference_page` from operator/reasonrl/api. Do not edit. -->

One `ReasoningRLJob` is one file. `reasonrl validate FILE` checks it, `reasonrl plan FILE` shows what it will take, and
`reasonrl explain FIELD` prints what is below. A field that is not listed is an error. Fields without a default are required.
Sections (§) are those of the STILL-3 report (arXiv 2503.04548); "ours" marks what the report does not say.
"""


def reference_page() -> str:
    """The whole page, Markdown."""
    return "\n".join([_HEAD, *_sections(), *_future()]) + "\n"


def _sections() -> Iterator[str]:
    tree = field_tree()
    spec = next(child for child in tree.children if child.name == "spec")
    others = [child for child in tree.children if child is not spec]
    yield "## The object\n"
    yield from _table([node for other in others for node in (other, *_below(other))])
    plain = [child for child in spec.children if not child.children and not child.variants]
    yield "\n## spec\n"
    yield from _table(plain)
    for child in spec.children:
        if child not in plain:
            yield from _section(child)


def _section(node: FieldNode) -> Iterator[str]:
    yield f"\n## {node.path}{'[]' if node.is_list else ''}\n"
    yield f"{node.description} {_kind(node)}\n"
    yield from _rows(node)


def _rows(node: FieldNode) -> Iterator[str]:
    if node.variants:
        for variant in node.variants:
            yield f"\n### {node.path}{'[]' if node.is_list else ''}, type: {variant.tag}\n"
            yield f"{variant.description}\n"
            yield from _table([each for child in variant.children if child.name != "type" for each in (child, *_below(child))])
        return
    yield from _table([each for child in node.children for each in (child, *_below(child))])
    for nested in _with_variants(node.children):
        yield from _rows(nested)


def _below(node: FieldNode) -> Iterator[FieldNode]:
    for child in node.children:
        yield child
        yield from _below(child)


def _with_variants(nodes: tuple[FieldNode, ...]) -> Iterator[FieldNode]:
    for node in nodes:
        if node.variants:
            yield node
        yield from _with_variants(node.children)


def _table(nodes: list[FieldNode]) -> Iterator[str]:
    yield "| field | type | default | what it is |"
    yield "|---|---|---|---|"
    for node in nodes:
        default = "" if node.default is None else f"`{node.default}`"
        yield f"| `{node.path}` | {_type(node)} | {default} | {_cell(node.description)} |"


def _type(node: FieldNode) -> str:
    kind = ", ".join(f"`{choice}`" for choice in node.choices) if node.choices else node.type
    return _cell(kind + (f" ({node.bounds})" if node.bounds else ""))


def _kind(node: FieldNode) -> str:
    return f"Default: `{node.default}`." if node.default is not None else "Required."


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _future() -> Iterator[str]:
    yield f"\n## Refused in {RELEASE}\n"
    yield "These have a place in the contract already. A job that uses one is refused with the version that supports it.\n"
    yield "| field | supported from |"
    yield "|---|---|"
    for field in FUTURE_FIELDS:
        yield f"| `{field.field}` | {field.version} |"
    for keys, versions in FUTURE_VARIANTS.items():
        for kind, (version, _) in versions.items():
            yield f"| `spec.{'.'.join(keys)}[].type: {kind}` | {version} |"
    yield "| `spec.trainer.engine: deepspeed` (planned now) | 0.3 |"


if __name__ == "__main__":
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(reference_page(), encoding="utf-8")
