"""The same job with vLLM as its sampler: a few steps, weights pushed after each, sampler and trainer agreeing on log-probs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REASONRL = str(Path(sys.executable).with_name("reasonrl"))


@pytest.mark.slow
@pytest.mark.vllm
def test_a_run_samples_with_vllm_and_stays_in_step_with_the_trainer(tiny_job, write_job, tmp_path: Path) -> None:
    pytest.importorskip("vllm", reason="vLLM is not installed: pip install reasonrl[cpu] or reasonrl[vllm]")
    # vLLM on a CPU has kernels for heads of 32 and more.
    tiny_job["spec"]["model"]["scratch"]["hiddenSize"] = 64
    tiny_job["spec"]["rollout"] = {"engine": "vllm", "maxSequences": 16, "keyValueCache": "64Mi"}
    tiny_job["spec"]["evaluation"]["everySteps"] = 0
    done = subprocess.run(
        [REASONRL, "run", str(write_job(tiny_job)), "--output", str(tmp_path / "run")],
        env={**os.environ, "OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    gaps = [line["sampler_gap_max"] for line in lines if line["kind"] == "step" and line["sampler_gap_max"] is not None]
    # A weight push that did not arrive would show as a gap of the size of an update, which is a hundred times this bound.
    assert gaps
    assert max(gaps) < 1e-3
    assert all(line["staleness_max"] == 0 for line in lines if line["kind"] == "step")
