"""What users may write into the chart's values, and what they are told where it is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import yaml

WRONG = {
    "unknown": ({"replica": 3}, "additional properties 'replica' not allowed"),
    "unknown below": ({"image": {"name": "x"}}, "at '/image'"),
    "no replica": ({"replicas": 0}, "at '/replicas': minimum: got 0, want 1"),
    "a word for a number": ({"operator": {"workers": "many"}}, "at '/operator/workers': got string, want integer"),
    "root": ({"runAsUser": 0}, "at '/runAsUser'"),
    "a namespace that cannot be": ({"watchNamespaces": ["Team A"]}, "at '/watchNamespaces/0'"),
    "a namespace twice": ({"watchNamespaces": ["a", "a"]}, "at '/watchNamespaces'"),
    "log level": ({"operator": {"logLevel": "chatty"}}, "at '/operator/logLevel'"),
    "a lease longer than liveness waits": ({"operator": {"leaseSeconds": 300}}, "at '/operator/leaseSeconds'"),
    "a run asked less often than it may be silent": ({"operator": {"pollSeconds": 300}}, "at '/operator/pollSeconds'"),
    "more workers than calls": ({"operator": {"workers": 32, "inFlight": 16}}, "operator.inFlight: 16 calls in flight are fewer"),
    "a name that no Service may have": ({"fullnameOverride": "1st"}, "at '/fullnameOverride'"),
    "digest": ({"image": {"digest": "abc"}}, "at '/image/digest'"),
    "a privileged port": ({"metrics": {"port": 80}}, "at '/metrics/port'"),
    "a prefix that lets others in": (
        {"admissionPolicy": {"allowedImagePrefixes": ["team"]}},
        "at '/admissionPolicy/allowedImagePrefixes/0'",
    ),
    "an action that does not exist": ({"admissionPolicy": {"validationActions": ["Refuse"]}}, "at '/admissionPolicy/validationActions/0'"),
    "monitor without service": (
        {"metrics": {"service": {"enabled": False}, "serviceMonitor": {"enabled": True}}},
        "metrics.serviceMonitor.enabled needs the Service",
    ),
    "budget that blocks drains": ({"podDisruptionBudget": {"maxUnavailable": 0}}, "keeps every node"),
    "budget of no per cent": ({"podDisruptionBudget": {"maxUnavailable": "0%"}}, "keeps every node"),
    "nobody's account": ({"serviceAccount": {"create": False}}, "default account"),
    "cluster blueprints of the whole cluster": ({"rbac": {"clusterRuntimes": True}}, "rbac.clusterRuntimes is for watchNamespaces"),
    "roles to aggregate that are not made": ({"userRoles": {"create": False}}, "userRoles.aggregate"),
    "limits without a limit": ({"admissionPolicy": {"enabled": True}}, "admissionPolicy.enabled without a limit"),
    "deny and warn": (
        {"admissionPolicy": {"enabled": True, "requireQueue": True, "validationActions": ["Deny", "Warn"]}},
        "Deny and Warn exclude each other",
    ),
    "limits in two places": (
        {
            "watchNamespaces": ["a"],
            "admissionPolicy": {"enabled": True, "requireQueue": True, "namespaceSelector": {"matchLabels": {"a": "b"}}},
        },
        "both say where the limits hold",
    ),
    "a label of the selector": ({"podLabels": {"app.kubernetes.io/name": "x"}}, "podLabels: app.kubernetes.io/name"),
    "a common label of the selector": ({"commonLabels": {"app.kubernetes.io/component": "x"}}, "commonLabels: app.kubernetes.io/component"),
}


@pytest.mark.parametrize(("values", "said"), WRONG.values(), ids=WRONG)
def test_wrong_values_are_refused_with_their_name(chart: Any, refused: type[Exception], values: Mapping[str, Any], said: str) -> None:
    with pytest.raises(refused, match=re.escape(said)):
        chart.text(values)


def test_a_release_whose_name_no_service_may_have_is_told_what_to_do(chart: Any, refused: type[Exception]) -> None:
    with pytest.raises(refused, match="set fullnameOverride"):
        chart.run("template", "1st.release", str(chart.directory))
    chart.run("template", "1st.release", str(chart.directory), values={"fullnameOverride": "first"})


def test_all_contradictions_are_told_at_once(chart: Any, refused: type[Exception]) -> None:
    with pytest.raises(refused) as told:
        chart.text({"serviceAccount": {"create": False}, "userRoles": {"create": False}, "admissionPolicy": {"enabled": True}})
    assert str(told.value).count("\n  - ") == 3


def test_the_schema_knows_each_value_and_no_other(chart: Any) -> None:
    schema = yaml.safe_load((chart.directory / "values.schema.json").read_text())
    values = yaml.safe_load((chart.directory / "values.yaml").read_text())
    given = set(leaves(values))
    known = set(known_paths(schema))
    assert given - known == set()
    # Objects whose content is Kubernetes' or the user's are described as a whole, in values.yaml by an empty object.
    unwritten = {path for path in known - given if not any(path.startswith(f"{other}.") for other in given)}
    assert unwritten == {"global"}, "`global` is Helm's own, for a chart that has this one as a dependency"


def leaves(values: Mapping[str, Any], path: str = "") -> Iterator[str]:
    for key, value in values.items():
        yield path + key
        if isinstance(value, dict):
            yield from (each for each in leaves(value, f"{path}{key}.") if path + key != "resources")


def known_paths(schema: Mapping[str, Any], path: str = "") -> Iterator[str]:
    if schema.get("type") == "object" and "properties" in schema:
        assert schema["additionalProperties"] is False, f"{path or 'the root'} takes anything"
    for key, below in schema.get("properties", {}).items():
        yield path + key
        yield from known_paths(below, f"{path}{key}.")
