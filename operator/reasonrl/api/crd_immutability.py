"""CEL rules that hold a started job to what it started with, made from `live_edits`: what may change there may change here, and nothing
else. They stand at the root of the object, where a rule sees the status beside the spec."""

from __future__ import annotations

from collections.abc import Iterator

from reasonrl.api.crd_schema import Schema, add_rule
from reasonrl.api.live_edits import LIVE_FIELDS

NOT_STARTED = "!has(oldSelf.status) || !has(oldSelf.status.startTime)"
PHASES = "spec.phases"


def add_immutability(root: Schema) -> None:
    """Adds the rules to the schema of a whole job."""
    for path in fixed_fields(root["properties"]["spec"], "spec"):
        add_rule(
            root,
            rule=f"{NOT_STARTED} || {_same(path)}",
            message=f"{path} cannot change once the job has started: the run's past and future would be two different experiments; make "
            "another job",
            field=path,
            reason="FieldValueForbidden",
        )
    for path in _parents_of_live_fields(root["properties"]["spec"], "spec"):
        add_rule(
            root,
            rule=f"{NOT_STARTED} || ({_present('self', path)}) == ({_present('oldSelf', path)})",
            message=f"{path} cannot be added or taken away once the job has started; make another job",
            field=path,
            reason="FieldValueForbidden",
        )
    _add_phases(root)


def fixed_fields(schema: Schema, path: str) -> Iterator[str]:
    """The highest fields below which nothing may change."""
    for name, child in schema["properties"].items():
        here = f"{path}.{name}"
        if here in LIVE_FIELDS or here == PHASES:
            continue
        if any(live.startswith(f"{here}.") for live in LIVE_FIELDS):
            yield from fixed_fields(child, here)
        else:
            yield here


def _parents_of_live_fields(schema: Schema, path: str) -> Iterator[str]:
    """Objects with a required field among the live ones: that there is one at all is fixed."""
    for name, child in schema.get("properties", {}).items():
        here = f"{path}.{name}"
        inside = [live for live in LIVE_FIELDS if live.startswith(f"{here}.")]
        if any(live.rpartition(".")[0] == here and live.rpartition(".")[2] in child.get("required", ()) for live in inside):
            yield here
        if inside:
            yield from _parents_of_live_fields(child, here)


def _add_phases(root: Schema) -> None:
    """Phases up to the current one are fixed, later ones are not. Without a current one the first is."""
    most = root["properties"]["spec"]["properties"]["phases"]["maxItems"]
    indices = ", ".join(map(str, range(most)))
    current = "oldSelf.status.?phaseIndex.orValue(0)"
    add_rule(
        root,
        rule=f"{NOT_STARTED} || [{indices}].all(i, i > {current} || i >= size(oldSelf.spec.phases) || "
        "(i < size(self.spec.phases) && self.spec.phases[i] == oldSelf.spec.phases[i]))",
        message="phases up to the current one cannot change once they have begun; edit those after it, or add another",
        expression="'phases up to the current one (spec.phases[%d]) cannot change once they have begun; edit those after it, or add "
        f"another'.format([{current}])",
        field=PHASES,
        reason="FieldValueForbidden",
    )


def _same(path: str) -> str:
    """Both have the field and it is equal, or neither has it. Written out: the server cannot bound the cost of comparing optionals."""
    here, there = _present("self", path), _present("oldSelf", path)
    return f"({here} ? ({there} && self.{path} == oldSelf.{path}) : !({there}))"


def _present(root: str, path: str) -> str:
    """That each part of the path is there; the spec always is."""
    parts = path.split(".")
    return " && ".join(f"has({root}.{'.'.join(parts[: end + 1])})" for end in range(1, len(parts)))
