"""The most important rows of the fault matrix, with real processes: what `benchmarks/fault_matrix.py` plays in full.

All of them in one run, one after the other, so that the time for a start is spent once; then that run is ended and started again.
"""

from __future__ import annotations

import pytest

pytest.importorskip("ray")

from faults.campaign import EQUAL, Played, play, undisturbed
from faults.strikes import DRAINED, ENGINE, HEAD, POD, RANK, all_rows

pytestmark = pytest.mark.slow

ROWS = ((ENGINE, "rollout"), (POD, "weightSync"), (RANK, "weightSync"), (HEAD, "rollout"), (DRAINED, "rollout"))


@pytest.fixture(scope="module")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Played]:
    expected = undisturbed(tmp_path_factory.mktemp("undisturbed"))
    every = {(row.fault, row.stage): row for row in all_rows()}
    played = play([every[row] for row in ROWS], tmp_path_factory.mktemp("hurt"), expected=expected, say=print)
    return {(row.fault, row.stage): row for row in played}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}, {row[1]}")
def test_what_follows_is_what_the_failure_table_says(matrix: dict[tuple[str, str], Played], row: tuple[str, str]) -> None:
    assert matrix[row].problems == []


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[0]}, {row[1]}")
def test_the_final_model_is_the_undisturbed_runs_bit_for_bit(matrix: dict[tuple[str, str], Played], row: tuple[str, str]) -> None:
    assert matrix[row].model == EQUAL


def test_nothing_is_left_running_and_no_file_in_shared_memory_or_scratch(matrix: dict[tuple[str, str], Played]) -> None:
    assert {(row.processes_left, row.files_left) for row in matrix.values()} == {("none", "none")}
