"""CEL rules of paths: what `validation.cluster_paths` says. A job on an API server is always one for a cluster."""

from __future__ import annotations

from reasonrl.api.crd_data_rules import SOURCES
from reasonrl.api.crd_values import Rule
from reasonrl.api.validation.cluster_paths import ON_A_VOLUME, RELATIVE


def _absolute(at: str, *, field: str, instead: str) -> Rule:
    path = f"self.{field}"
    return Rule(
        at=at,
        rule=f"!has({path}) || {path}.startsWith('/') || {path}.contains('://')",
        message=f"{RELATIVE}; use {instead}",
        field=field,
    )


PATH_RULES: tuple[Rule, ...] = (
    *(_absolute("model", field=field, instead=f"{ON_A_VOLUME}, or hf://organisation/name") for field in ("path", "tokenizer")),
    *(_absolute(at, field="path", instead=ON_A_VOLUME) for at in (*SOURCES, "rewards[]")),
)
