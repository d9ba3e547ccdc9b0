"""Puts the CEL rules into the schemas: those of a job's experiment, those that a job shares with a blueprint, and those of names."""

from __future__ import annotations

from collections.abc import Iterable

from reasonrl.api.crd_cluster_rules import CLUSTER_RULES
from reasonrl.api.crd_data_rules import DATA_RULES
from reasonrl.api.crd_engine_rules import ENGINE_RULES
from reasonrl.api.crd_experiment_rules import EXPERIMENT_RULES
from reasonrl.api.crd_path_rules import PATH_RULES
from reasonrl.api.crd_phase_rules import PHASE_RULES
from reasonrl.api.crd_schema import Schema, add_rule, at_path, quoted
from reasonrl.api.crd_selection_rules import SELECTION_RULES
from reasonrl.api.crd_values import Rule
from reasonrl.api.support import FUTURE_VARIANTS, RELEASE
from reasonrl.api.validation.job import LONGEST_NAME


def add_job_rules(spec: Schema) -> None:
    """Rules of a job's spec that a blueprint has no part in."""
    _add(spec, [*EXPERIMENT_RULES, *DATA_RULES, *PHASE_RULES, *SELECTION_RULES, *ENGINE_RULES, *PATH_RULES])
    _add_future_variants(spec)


def add_shared_rules(spec: Schema) -> None:
    """Rules of what a job and a blueprint may both say, each within one section, so that they hold before the two are merged."""
    _add(spec, (rule for rule in CLUSTER_RULES if at_path(spec, rule.at) is not None))


def add_name_rules(root: Schema) -> None:
    """A job's pods are named after it, so its name must fit into a host name."""
    add_rule(
        root,
        rule=f"size(self.metadata.name) <= {LONGEST_NAME}",
        message=f"metadata.name has too many characters: at most {LONGEST_NAME}, because the job's pods are named after it",
    )
    add_rule(
        root,
        rule="self.metadata.name.matches('^[a-z]')",
        message="metadata.name must begin with a letter, because the job's Service is named after it",
    )
    add_rule(
        root,
        rule="!self.metadata.name.contains('.')",
        message="metadata.name must have no dots: the job's pods and its Service are named after it",
    )


def _add(spec: Schema, rules: Iterable[Rule]) -> None:
    for each in rules:
        node = at_path(spec, each.at)
        if node is None:
            raise LookupError(f"a rule is meant for spec.{each.at}, and there is no such field")
        if each.field and at_path(node, each.field) is None:
            raise LookupError(f"a rule names the field {each.field} of spec.{each.at}, and there is no such field")
        add_rule(node, rule=each.rule, message=each.message, field=each.field, expression=each.expression)


def _add_future_variants(spec: Schema) -> None:
    """Types of a later version are known by name, so that the refusal can say the version."""
    for keys, versions in FUTURE_VARIANTS.items():
        item = at_path(spec, ".".join(keys) + "[]")
        if item is None:
            raise LookupError(f"there is no list spec.{'.'.join(keys)}")
        item["properties"]["type"]["enum"] += list(versions)
        for tag, (version, what) in versions.items():
            add_rule(
                item,
                rule=f"self.type != {quoted(tag)}",
                message=f"{what} is supported from version {version}; this is {RELEASE}; remove it",
                field="type",
            )
