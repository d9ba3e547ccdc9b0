"""`reasonrl operator` before it reaches a cluster, and what it brings into memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

MAIN = "from reasonrl.cli.app import main; main()"


def run(code: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("KUBE")}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env={**clean, "COLUMNS": "200", **environment},
    )


def test_without_the_extra_it_says_what_to_install() -> None:
    result = run(f"import sys; sys.modules['kopf'] = None; {MAIN}", "operator")
    assert result.returncode == 2
    assert result.stderr.strip() == "error: the operator needs the package kopf: pip install 'reasonrl[operator]'"


def test_without_a_cluster_it_says_how_to_name_one(tmp_path: Path) -> None:
    result = run(MAIN, "operator", "--kubeconfig", str(tmp_path / "none"), HOME=str(tmp_path))
    assert result.returncode == 2
    assert "cannot log in to a Kubernetes API server" in result.stderr
    assert "--kubeconfig" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_word_that_is_no_log_level_is_refused() -> None:
    result = run(MAIN, "operator", "--log-level", "loud")
    assert result.returncode == 2
    assert "--log-level loud" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--workers", "16", "--in-flight", "8"], ["--in-flight 8", "16 workers"]),
        (["--poll-seconds", "300"], ["--poll-seconds 300", "at most 100"]),
        (["--namespace", "a", "--namespace", "b", "--namespace", "a"], ["--namespace a", "more than once"]),
        (["--lease-seconds", "1"], ["--lease-seconds"]),
    ],
    ids=lambda value: " ".join(value[:2]),
)
def test_options_that_contradict_each_other_are_refused_with_what_to_do(arguments: list[str], words: list[str], tmp_path: Path) -> None:
    result = run(MAIN, "operator", "--kubeconfig", str(tmp_path / "none"), *arguments, HOME=str(tmp_path))
    assert result.returncode == 2
    for word in words:
        assert word in result.stderr
    assert "Traceback" not in result.stderr


def test_the_operator_brings_no_tensors_and_no_typed_models_into_memory() -> None:
    code = (
        "import sys, resource; import reasonrl.controller.operator, reasonrl.controller.plan\n"
        "print(sorted({'torch', 'numpy', 'transformers', 'ray', 'vllm'} & set(sys.modules)))\n"
        "print(sum(name.startswith('kubernetes.aio.client.models.') for name in sys.modules))\n"
    )
    heavy, typed = run(code).stdout.split("\n")[:2]
    assert heavy == "[]"
    assert int(typed) == 0
