"""What one look at a job has come to, before it is written as status and actions."""

from __future__ import annotations

from dataclasses import dataclass

from reasonrl.controller.failure_policy import Finish, Restart
from reasonrl.controller.ledger import Ledger
from reasonrl.controller.lifecycle import Hold
from reasonrl.controller.stall import Stall


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """`ledger` is what is to be recorded. `rollouts` are wanted, `new_trainers` and `new_rollouts` are created now, `doomed` are the UIDs
    of pods that are deleted now. `note` is about an edit of the running job: None where there was none, "" where it was carried out, or
    what was not and why."""

    ledger: Ledger
    hold: Hold | None = None
    verdict: Finish | Restart | None = None
    stall: Stall | None = None
    rollouts: int = 0
    new_trainers: int = 0
    new_rollouts: int = 0
    doomed: frozenset[str] = frozenset()
    note: str | None = None
