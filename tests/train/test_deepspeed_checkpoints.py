"""Checkpoints of several ranks: going on is as if nothing had happened, on the same ranks, on others, and in the other engine."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

JOB = {"kl": True, "tied": False, "budget": 60, "reset": [1]}
"""With a reference that is no longer the first policy."""
BEFORE, AFTER = [1, 2], [3, 4]


def assert_close(found: Any, expected: Any, *, tolerance: float) -> None:
    for kind in ("weights", "reference"):
        pairs = found[kind].items() if kind == "weights" else enumerate(found[kind])
        for name, tensor in pairs:
            torch.testing.assert_close(
                tensor.float(), expected[kind][name].float(), rtol=tolerance, atol=tolerance, msg=lambda text, name=name: f"{name}: {text}"
            )
    for mine, theirs in zip(found["stats"], expected["stats"][-len(found["stats"]) :], strict=True):
        assert mine == pytest.approx(theirs, rel=10 * tolerance, abs=tolerance)


@pytest.mark.parametrize(
    ("stage", "dtype", "offload"),
    [
        (0, "float32", "none"),
        (1, "float32", "none"),
        (2, "float32", "none"),
        (3, "float32", "none"),
        (1, "bfloat16", "none"),
        (2, "bfloat16", "none"),
        (2, "float32", "optimizer"),
        (3, "bfloat16", "parameters"),
    ],
)
def test_the_same_ranks_go_on_bit_for_bit(on_ranks: Any, tmp_path: Path, stage: int, dtype: str, offload: str) -> None:
    job = {**JOB, "world": 2, "stage": stage, "dtype": dtype, "offload": offload}
    through = on_ranks(seeds=BEFORE + AFTER, save_after=2, save=str(tmp_path), **job)
    resumed = on_ranks(seeds=AFTER, load=str(tmp_path), model_seed=7, **job)
    for mine, theirs in zip(resumed, through, strict=True):
        assert mine["stats"] == theirs["stats"][-2:]
        assert all(torch.equal(tensor, theirs["weights"][name]) for name, tensor in mine["weights"].items())
        assert all(torch.equal(ours, other) for ours, other in zip(mine["reference"], theirs["reference"], strict=True))


def test_other_ranks_other_stages_and_the_other_engine_go_on_alike(on_ranks: Any, tmp_path: Path) -> None:
    built_in = on_ranks(engine="torch", seeds=BEFORE + AFTER, save_after=2, save=str(tmp_path / "torch"), **JOB)[0]
    on_ranks(world=4, stage=3, seeds=BEFORE, save=str(tmp_path / "four"), **JOB)
    on_ranks(world=2, stage=2, seeds=BEFORE, save=str(tmp_path / "two"), **JOB)
    for source, world, stage in (("four", 1, 0), ("four", 2, 1), ("two", 4, 3), ("torch", 2, 3), ("torch", 1, 2)):
        found = on_ranks(world=world, stage=stage, seeds=AFTER, load=str(tmp_path / source), model_seed=7, **JOB)
        assert_close(found[0], built_in, tolerance=1e-4)
    for source in ("four", "two"):
        found = on_ranks(engine="torch", seeds=AFTER, load=str(tmp_path / source), model_seed=7, **JOB)
        assert_close(found[0], built_in, tolerance=1e-4)


def test_float32_masters_and_moments_cross_between_engines_exactly(on_ranks: Any, tmp_path: Path) -> None:
    """Beside a bfloat16 policy, nothing is lost on the way through other ranks and the other engine."""
    job = {"tied": True, "dtype": "bfloat16", "seeds": []}
    on_ranks(world=2, stage=2, tied=True, dtype="bfloat16", seeds=BEFORE, save=str(tmp_path / "0"))
    for step, where in enumerate(({"world": 3, "stage": 3}, {"engine": "torch"}, {"world": 2, "stage": 1}, {"world": 1, "stage": 0})):
        on_ranks(load=str(tmp_path / str(step)), save=str(tmp_path / str(step + 1)), model_seed=step, **job, **where)
    for kind in ("optimizer", "master"):
        first, last = tensors(tmp_path / "0", kind), tensors(tmp_path / "4", kind)
        assert first.keys() == last.keys()
        assert all(torch.equal(tensor, last[name]) for name, tensor in first.items())
    assert {name for name in first if name.endswith("/step")} == set()
    steps = [float(tensor) for name, tensor in tensors(tmp_path / "0", "optimizer").items() if name.endswith("/step")]
    assert set(steps) == {2.0}


def tensors(directory: Path, kind: str) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = {}
    for file in sorted(directory.glob(f"{kind}*.safetensors")):
        part = load_file(file)
        assert not part.keys() & found.keys(), "each tensor belongs to one part"
        found.update(part)
    return found


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("stage", [2, 3])
def test_the_saved_policy_loads_in_transformers(on_ranks: Any, tmp_path: Path, stage: int, tied: bool) -> None:
    found = on_ranks(world=2, stage=stage, tied=tied, dtype="bfloat16", seeds=[1], save=str(tmp_path))[0]
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "policy")
    assert loaded.dtype == torch.bfloat16
    assert ("lm_head.weight" in found["weights"]) == (not tied)
    assert dict(loaded.named_parameters()).keys() == found["weights"].keys()
    for name, tensor in found["weights"].items():
        assert torch.equal(loaded.get_parameter(name), tensor)


def test_every_rank_writes_a_part(on_ranks: Any, tmp_path: Path) -> None:
    on_ranks(world=4, stage=3, kl=True, tied=False, seeds=[1], save=str(tmp_path))
    for kind in ("optimizer", "reference"):
        files = sorted(tmp_path.glob(f"{kind}-*.safetensors"))
        assert [file.name for file in files] == [f"{kind}-{part:05d}-of-00004.safetensors" for part in range(4)]
        sizes = [file.stat().st_size for file in files]
        assert max(sizes) < 2 * min(sizes)


def test_what_cannot_be_loaded_is_refused_on_all_ranks_and_changes_nothing(on_ranks: Any, tmp_path: Path) -> None:
    other, cut, bare, torn = (tmp_path / name for name in ("other", "cut", "bare", "torn"))
    on_ranks(world=2, stage=2, kl=True, tied=True, hidden=16, seeds=[1], save=str(other))
    on_ranks(world=2, stage=2, kl=True, seeds=[1], save=str(cut))
    shutil.copytree(cut, bare)
    shutil.copytree(cut, torn)
    (cut / "optimizer-00001-of-00002.safetensors").unlink()
    for file in bare.glob("reference*"):
        file.unlink()
    whole = (torn / "optimizer-00001-of-00002.safetensors").read_bytes()
    (torn / "optimizer-00001-of-00002.safetensors").write_bytes(whole[: len(whole) // 2])
    paths = [str(path) for path in (other, cut, bare, torn, tmp_path / "nothing")]
    job = {"world": 2, "stage": 3, "kl": True}
    found = on_ranks(do="refused", checkpoints=paths, **job)
    assert found[0]["errors"] == found[1]["errors"]
    for error, words in zip(
        found[0]["errors"],
        (
            r"should be [37, 32], found [37, 16]: another model's checkpoint?",
            "optimizer-00001-of-00002.safetensors",
            "holds no reference model",
            "cut short",
            "holds no weights",
        ),
        strict=True,
    ):
        assert words in error
    assert found[0]["stats"] == on_ranks(seeds=[1], **job)[0]["stats"][0]


@pytest.mark.parametrize("blocked", [0, 1])
def test_a_part_that_cannot_be_written_is_an_error_on_all_ranks(on_ranks: Any, tmp_path: Path, blocked: int) -> None:
    (tmp_path / f"optimizer-{blocked:05d}-of-00002.safetensors").mkdir()
    found = on_ranks(do="unwritable", world=2, stage=2, save=str(tmp_path))
    for each in found:
        assert f"rank {blocked}: the checkpoint could not be written" in each["error_text"]
        assert f"rank {1 - blocked}:" not in each["error_text"]
        assert each["stats"] == found[0]["stats"]
