"""CEL rules of spec.selection. They say what `validation/selection.py` says."""

from __future__ import annotations

from reasonrl.api.crd_values import Rule, value
from reasonrl.api.validation.selection import AHEAD, NO_VERDICTS, NO_WINDOW, OF_VERDICTS, ONE_RESPONSE

_COMPARES = f"(has(self.selection) && self.selection.exists(s, s.type in {list(OF_VERDICTS)}))"

SELECTION_RULES: tuple[Rule, ...] = (
    Rule(
        at="selection",
        rule="self.all(s, self.exists_one(t, t.type == s.type))",
        message="a selection rule is there already, and would find nothing left to take out; remove one of them",
    ),
    Rule(
        at="selection[]",
        rule="self.type != 'accuracyWindow' || " + f"{value('above', at='selection[]')} < {value('below', at='selection[]')}",
        message=NO_WINDOW,
        field="above",
    ),
    Rule(
        at="",
        rule=f"!{_COMPARES} || self.rewards.exists(r, r.type in ['answer', 'function'])",
        message=f"a selection rule {NO_VERDICTS}",
        field="selection",
    ),
    Rule(
        at="",
        rule=f"!{_COMPARES} || {value('algorithm.rolloutsPerPrompt')} >= 2",
        message=f"a selection rule {ONE_RESPONSE}",
        field="selection",
    ),
    Rule(
        at="",
        rule="!has(self.selection) || !self.selection.exists(s, s.type == 'dynamicSampling') || "
        f"{value('rollout.maxStaleness')} == 0 || has(self.runtimeRef)",
        message=AHEAD,
        field="rollout.maxStaleness",
    ),
)
