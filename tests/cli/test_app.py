"""The command as a whole: help, version, and how little it imports."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

Cli = Callable[..., Any]
HEAVY = ("torch", "transformers", "datasets", "vllm", "plotly", "numpy", "pydantic", "rich")


def test_help_lists_the_commands(reasonrl: Cli) -> None:
    answer = reasonrl("--help")
    assert answer.code == 0
    for command in ("validate", "plan", "explain", "run", "advance", "report"):
        assert f"\n  {command} " in answer.out


def test_the_version(reasonrl: Cli) -> None:
    assert reasonrl("--version").out == f"reasonrl {version('reasonrl')}\n"


def test_help_imports_nothing_heavy() -> None:
    """Help is instant because it loads nothing: a command imports what it needs when it is called."""
    code = f"import sys, reasonrl.cli.app; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert loaded.stdout.split() == []


def test_validate_plan_and_explain_need_no_torch() -> None:
    code = "import sys, reasonrl.cli.job_file, reasonrl.cli.plan_tables, reasonrl.api.field_tree; print('torch' in sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert loaded.stdout.split() == ["False"]


def test_an_unknown_command_is_bad_input(reasonrl: Cli) -> None:
    assert reasonrl("valdate").code == 2
