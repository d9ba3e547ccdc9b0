"""Runs a job and dies of SIGKILL at a place that is named: killed_run.py JOB DIRECTORY PLACE STEP.

Places: `before-update`, `after-update` (the optimizer has moved, nothing is recorded), `before-save` and `during-save` of the checkpoint of
a step, at the third file that is flushed.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    job_file, directory, place, step = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])

    from reasonrl.cli.job_file import load_job_file
    from reasonrl.run.checkpoint_keeper import CheckpointKeeper
    from reasonrl.run.local import run_on_one_machine
    from reasonrl.train.torch_engine import TorchTrainer

    if place in {"before-update", "after-update"}:
        update, calls = TorchTrainer.update, []

        def counted_update(self, updates, *, setting):
            calls.append(None)
            if len(calls) <= step:
                return update(self, updates, setting=setting)
            if place == "after-update":
                update(self, updates, setting=setting)
            return die()

        TorchTrainer.update = counted_update
    else:
        save = CheckpointKeeper.save

        def killed_save(self, progress, *, reason):
            if progress.step == step:
                if place == "before-save":
                    die()
                flush, calls = os.fsync, []

                def counted_flush(descriptor):
                    calls.append(None)
                    if len(calls) == 3:
                        die()
                    flush(descriptor)

                os.fsync = counted_flush
            save(self, progress, reason=reason)

        CheckpointKeeper.save = killed_save
    run_on_one_machine(load_job_file(job_file), directory=directory, base_directory=job_file.parent, console=None)


if __name__ == "__main__":
    main()
