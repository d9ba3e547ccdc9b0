"""What a standalone evaluation is: everything that its numbers depend on, kept beside its answers.

The same command on the same directory goes on where it ended. Another setting in the same directory would mix answers of two experiments,
so it is refused, field by field.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from reasonrl.data.templates import TemplateName
from reasonrl.run.errors import RunInputError
from reasonrl.run.telemetry.json_lines import replace_file

SETTING_FILE = "setting.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptChoice:
    """`template` None: not chosen yet. `text` is for custom, `system` for chat."""

    template: TemplateName | None
    text: str | None
    system: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GradingChoice:
    """`timeout_seconds` is for one answer."""

    require_boxed: bool
    timeout_seconds: float


def keep_setting(directory: Path, setting: Mapping[str, object]) -> bool:
    """Writes the setting down at the first start. True when there was one: these answers are gone on with.

    Raises RunInputError, naming each field, when another one is kept, or when it cannot be read.
    """
    path = directory / SETTING_FILE
    asked = json.loads(json.dumps(dict(setting)))
    if not path.exists():
        replace_file(path, json.dumps(asked, indent=1, ensure_ascii=False).encode())
        return False
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunInputError(f"{path} cannot be read ({error}); choose another --output, or put the file back") from error
    differences = _differences(kept, asked, "")
    if differences:
        raise RunInputError(
            f"--output {directory} holds answers of another evaluation: {'; '.join(differences[:6])}"
            f"{f'; and {len(differences) - 6} more' if len(differences) > 6 else ''}. Choose another directory, or repeat that command"
        )
    return True


def _differences(kept: object, asked: object, place: str) -> list[str]:
    if isinstance(kept, dict) and isinstance(asked, dict):
        keys = list(dict.fromkeys([*kept, *asked]))
        return [each for key in keys for each in _differences(kept.get(key), asked.get(key), f"{place}.{key}" if place else str(key))]
    return [] if kept == asked else [f"{place} was {_shown(kept)} and is {_shown(asked)}"]


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"
