"""When a run saves, what goes into a checkpoint, and which ones stay.

A checkpoint holds the trainer's files, the tokenizer beside the policy, and `progress.json`. One is due at the start when the weights
cannot be had again (made from nothing, or warmed up), every so many steps, at each phase boundary, and at the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from reasonrl.api.checkpoint_spec import CheckpointSpec
from reasonrl.api.run_files import Event
from reasonrl.api.run_status import SavedCheckpoint
from reasonrl.run.checkpoint_store import CheckpointError, CheckpointStore
from reasonrl.run.progress import PROGRESS_FILE, Progress, read_progress, write_progress
from reasonrl.run.retention import RetentionRule, steps_to_delete
from reasonrl.run.rollback import forget_abandoned
from reasonrl.run.status.kept_checkpoints import health_metadata, kept_checkpoints
from reasonrl.train.protocol import Trainer
from reasonrl.train.trainer_files import POLICY_DIRECTORY

SAVE_ATTEMPTS = 3
"""Failed saves in a row after which the run stops: it could no longer keep what it learns."""


class CheckpointKeeper:
    """`critical` says whether the run's health is, at the moment of a save; `tell_kept` hears of all checkpoints when they change."""

    def __init__(
        self,
        store: CheckpointStore,
        *,
        trainer: Trainer,
        tokenizer: PreTrainedTokenizerBase,
        spec: CheckpointSpec,
        spec_hash: str,
        start_is_unique: bool,
        record: Callable[[Event], None],
        critical: Callable[[], bool],
        tell_kept: Callable[[Sequence[SavedCheckpoint]], None],
    ) -> None:
        self._store = store
        self._trainer = trainer
        self._tokenizer = tokenizer
        self._spec = spec
        self._spec_hash = spec_hash
        self._start_is_unique = start_is_unique
        self._record = record
        self._critical = critical
        self._tell_kept = tell_kept
        self._failures = 0
        self._saved_step: int | None = None
        self._also: list[Callable[[Path], None]] = []

    def follow(self, spec: CheckpointSpec, *, spec_hash: str) -> None:
        """From now on saves and keeps as an edited job says."""
        self._spec, self._spec_hash = spec, spec_hash

    def keep_also(self, write: Callable[[Path], None]) -> None:
        """`write(directory)` adds files of its own to each checkpoint from now on."""
        self._also.append(write)

    def save_if_due(self, progress: Progress) -> None:
        """Saves when the step asks for it. A save that fails is an event and is tried again after the next step; the third failure in
        a row raises CheckpointError."""
        reason = self._reason(progress)
        if reason is None and self._failures == 0:
            return
        try:
            self.save(progress, reason=reason or "retry")
        except CheckpointError as error:
            self._failures += 1
            self._event(progress.step, "CheckpointFailed", f"attempt {self._failures} of {SAVE_ATTEMPTS}: {error}")
            if self._failures >= SAVE_ATTEMPTS or progress.finished:
                raise
        else:
            self._failures = 0

    def save(self, progress: Progress, *, reason: str) -> None:
        """Raises CheckpointError when the disk refuses."""
        if self._saved_step == progress.step:
            return
        started = time.monotonic()

        def write(directory: Path) -> None:
            self._trainer.save(directory)
            self._tokenizer.save_pretrained(directory / POLICY_DIRECTORY)
            write_progress(directory / PROGRESS_FILE, progress)
            for write_more in self._also:
                write_more(directory)

        metadata = {"reason": reason, "specHash": self._spec_hash, **health_metadata(critical=self._critical())}
        path = self._store.save(progress.step, write, metadata=metadata)
        self._saved_step = progress.step
        size = self._store.size(progress.step)
        seconds = time.monotonic() - started
        self._event(progress.step, "CheckpointSaved", f"{path.name} ({reason}), {size / 1e6:.1f} MB in {seconds:.2f} s")
        self._retire(progress)
        forget_abandoned(self._store)
        self._tell_kept(kept_checkpoints(self._store))

    def path(self, step: int) -> Path:
        """Where the checkpoint of a step lies, if there is one."""
        return self._store.path(step)

    def restore(self, path: Path) -> Progress:
        """Loads a checkpoint that was verified into the trainer, and returns the progress that belongs to it."""
        self._trainer.load(path)
        progress = read_progress(path / PROGRESS_FILE)
        self._saved_step = progress.step
        self._tell_kept(kept_checkpoints(self._store))
        return progress

    def _reason(self, progress: Progress) -> str | None:
        every = self._spec.every_steps
        if progress.finished:
            return "end of the run"
        if progress.step == 0:
            return "start of training" if self._start_is_unique else None
        if progress.phase_step == 0:
            return "phase boundary"
        if every > 0 and progress.step % every == 0:
            return f"every {every} steps"
        return None

    def _retire(self, progress: Progress) -> None:
        steps = self._store.steps()
        best = self._spec.keep_best
        rule = RetentionRule(keep_last=self._spec.keep_last, keep_best=best.count if best else 0, max_bytes=self._spec.max_bytes)
        scores = {step: found[best.metric] for step, found in progress.scores.items() if best and best.metric in found}
        for step in steps_to_delete({step: self._store.size(step) for step in steps}, scores, rule):
            self._store.delete(step)
        kept = set(self._store.steps())
        progress.scores = {step: found for step, found in progress.scores.items() if step in kept or step == progress.step}

    def _event(self, step: int, reason: str, message: str) -> None:
        self._record(Event(time=time.time(), step=step, reason=reason, message=message))
