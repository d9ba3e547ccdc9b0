"""Finding a function by module or by file, and calling it with the arguments that it takes. Runs in the worker."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType


class FunctionNotFoundError(Exception):
    """No such module, file or function."""


def load_function(*, name: str, module: str | None, file: str | None) -> Callable[..., object]:
    """Raises FunctionNotFoundError; whatever the module raises while it is imported comes through."""
    loaded = _from_file(Path(file)) if file is not None else importlib.import_module(str(module))
    function = getattr(loaded, name, None)
    if not callable(function):
        raise FunctionNotFoundError(f"{file or module} has no function {name!r}")
    return function  # type: ignore[no-any-return]


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise FunctionNotFoundError(f"there is no file {path}")
    # Files next to it may be imported from it, as when it is run as a script.
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(f"reasonrl_user_code_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise FunctionNotFoundError(f"{path} is not a Python file")
    loaded = importlib.util.module_from_spec(spec)
    # Dataclasses and pickling look a class's module up by name.
    sys.modules[spec.name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


def call_function(function: Callable[..., object], arguments: Mapping[str, object], optional: Mapping[str, object]) -> object:
    return function(**arguments, **_accepted(function, optional))


def _accepted(function: Callable[..., object], optional: Mapping[str, object]) -> Mapping[str, object]:
    if not optional:
        return {}
    parameters = inspect.signature(function).parameters
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
        return optional
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {key: value for key, value in optional.items() if key in parameters and parameters[key].kind in named}
