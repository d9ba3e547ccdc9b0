"""Reads the small files beside jobs, sweeps and checks, as strictly as a job is read: no unknown field, no text where a number is meant."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TypeVar

from pydantic import ValidationError

from reasonrl.api.contract_model import ContractModel
from reasonrl.api.parse import unfit_values
from reasonrl.api.problems import JobError, Problem

Model = TypeVar("Model", bound=ContractModel)


def parse_strictly(shape: type[Model], mapping: Mapping[str, object]) -> Model:
    """The object that `mapping`, as YAML gives it, holds. Raises JobError with everything that the schema refuses."""
    problems = list(unfit_values(mapping, ""))
    if problems:
        raise JobError(problems)
    try:
        return shape.model_validate_json(json.dumps(mapping), strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        raise JobError(_problems(shape, error)) from error


def _problems(shape: type[ContractModel], error: ValidationError) -> list[Problem]:
    known = ", ".join(str(field.alias) for field in shape.model_fields.values())
    found: dict[str, Problem] = {}
    for each in error.errors():
        path = _path(each["loc"])
        message = {
            "missing": "is required",
            "extra_forbidden": f"there is no such field; there is {known}" if "." not in path else "there is no such field",
        }.get(each["type"], each["msg"])
        found.setdefault(path, Problem(path or "the sweep", None if each["type"] == "missing" else each["input"], message))
    return list(found.values())


def _path(location: Sequence[str | int]) -> str:
    parts: list[str] = []
    for part in location:
        # pydantic adds which of several types it tried (list[…], the name of a class), and "[key]" for a key; the file has neither.
        if isinstance(part, str) and (part.startswith(("list[", "dict[", "literal[")) or part == "[key]" or part[:1].isupper()):
            continue
        parts.append(f"[{part}]" if isinstance(part, int) else f".{part}")
    return "".join(parts).removeprefix(".")
