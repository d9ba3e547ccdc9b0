"""What was set, and what the runs of a comparison set differently."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from reasonrl.report.read import RunRecord
from reasonrl.report.wording import MISSING


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingRow:
    """One field of the spec with its value in each run, in the runs' order."""

    path: str
    values: tuple[str, ...]


def differing_settings(runs: Sequence[RunRecord]) -> list[SettingRow]:
    """Fields whose values are not the same in all runs. Where a run has no such field because a whole part is null, it shows that
    null; where its job does not have it at all, a dash."""
    flat = [flattened(run.job.get("spec", {})) for run in runs]
    paths = list(dict.fromkeys(path for each in flat for path in each))
    rows = [
        SettingRow(path=path, values=tuple(_value(each, path) for each in flat))
        for path in paths
        if not any(_is_within(other, path) for other in paths)
    ]
    return [row for row in rows if len(set(row.values)) > 1]


def _is_within(path: str, part: str) -> bool:
    return path.startswith((f"{part}.", f"{part}["))


def _value(settings: Mapping[str, str], path: str) -> str:
    if path in settings:
        return settings[path]
    return next((value for part, value in settings.items() if _is_within(path, part)), MISSING)


def flattened(value: object, path: str = "") -> dict[str, str]:
    """`a.b: value` for each leaf. Items of a list go by their name, else their type, else their place, so that a phase put in front
    does not make all later ones look changed."""
    if isinstance(value, Mapping) and value:
        return {
            key: leaf for name, inner in value.items() for key, leaf in flattened(inner, f"{path}.{name}" if path else str(name)).items()
        }
    if isinstance(value, list) and any(isinstance(item, Mapping | list) for item in value):
        names = _item_names(value)
        return {key: leaf for name, item in zip(names, value, strict=True) for key, leaf in flattened(item, f"{path}[{name}]").items()}
    return {path: _leaf(value)}


def _item_names(items: Sequence[object]) -> list[str]:
    for field in ("name", "type"):
        names = [str(item[field]) for item in items if isinstance(item, Mapping) and field in item]
        if len(names) == len(items) == len(set(names)):
            return names
    return [str(index) for index in range(len(items))]


def _leaf(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(_leaf(item) for item in value) or "[]"
    return "{}" if isinstance(value, Mapping) else str(value)
