"""Progress survives the way through its file."""

from __future__ import annotations

from pathlib import Path

from reasonrl.api.phase_trigger import StepSignals
from reasonrl.run.progress import Progress, read_progress, write_progress


def test_progress_comes_back_as_it_was(tmp_path: Path) -> None:
    signals = StepSignals(truncated_share=0.1, response_length_percentile=30.0, response_length_mean=20.0, accuracy=None)
    progress = Progress(
        step=12,
        phase_index=1,
        phase_step=4,
        cursor=48,
        adaptive_kl=0.1 + 0.2,
        reference_resets=2,
        phase_signals=[signals],
        scores={10: {"heldout": 1 / 3}},
        evaluated_step=10,
        awaiting_advance=True,
    )
    write_progress(tmp_path / "progress.json", progress)
    assert read_progress(tmp_path / "progress.json") == progress
