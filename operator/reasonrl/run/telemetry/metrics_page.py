"""Writes `docs/metrics.md` from the definitions that a run uses, so that the page cannot say something else.

`python -m reasonrl.run.telemetry.metrics_page` prints the page.
"""

from __future__ import annotations

from pydantic import BaseModel

from reasonrl.api.run_files import EvaluationMetrics, Event, StepMetrics, WarmStartMetrics
from reasonrl.run.telemetry.prometheus_metrics import DEFINITIONS, LENGTH_OUTCOMES, SCORING_OUTCOMES
from reasonrl.run.telemetry.rollouts_file import RolloutLine, ScoreLine

_LABELS = {
    "phase": "name of a phase of the job",
    "index": "its place among the phases, from 0",
    "max_response_tokens": "its response limit in tokens",
    "state": "`joining` (without the current weights yet), `live` or `lost`",
    "signal": "a health signal, such as `RewardCollapse`",
    "type": "`prompt` or `response`",
    "estimator": "`k1`, `k2` or `k3`",
    "category": "a category of reflection keywords",
    "rule": "`unscored` (no reward), or a selection rule of the job by its type, in order",
    "stage": "`rollout`, `grade`, `reference`, `update`, `weight_sync`, `checkpoint`, `evaluation` or `total`",
    "reason": "the reason of an event, such as `PhaseEntered` or `CheckpointSaved`",
    "benchmark": "a benchmark of the job by its name",
}


def metrics_page() -> str:
    lines = [
        "<!-- Generated: python -m reasonrl.run.telemetry.metrics_page > docs/metrics.md -->",
        "",
        "# What a run measures",
        "",
        "## Prometheus",
        "",
        "With `spec.telemetry.prometheusPort` set, a run serves these metrics at `http://<prometheusAddress>:<prometheusPort>/metrics`.",
        "On a cluster, trainer-0 serves them at port 8471 in any case.",
        "Lengths are in tokens, times in seconds, logs in nats, ratios from 0 to 1. No metric carries the job's name: the scrape adds it.",
        "A gauge of something that the last step could not measure is `NaN`; a gauge with a label that the step did not have is absent.",
        "",
        "| name | type | labels | meaning |",
        "|---|---|---|---|",
    ]
    for each in DEFINITIONS:
        name = f"{each.name}_total" if each.type == "counter" else each.name
        labels = ", ".join(f"`{label}`" for label in each.labels)
        lines.append(f"| `{name}` | {each.type} | {labels} | {each.help} |")
    used = dict.fromkeys(label for each in DEFINITIONS for label in each.labels if label not in ("outcome", "component"))
    lines += ["", "| label | values |", "|---|---|"]
    lines.append(f"| `outcome` of `reasonrl_response_length_tokens` | {', '.join(f'`{value}`' for value in LENGTH_OUTCOMES)} |")
    lines.append(f"| `outcome` of `reasonrl_scoring_attempts_total` | {', '.join(f'`{value}`' for value in SCORING_OUTCOMES)} |")
    lines.append("| `component` of `reasonrl_reward_component` | a reward of the job by its type, such as `answer` or `format` |")
    lines.append("| `component` of `reasonrl_recoveries_total` | what was replaced, such as `engine` |")
    lines += [f"| `{label}` | {_LABELS[label]} |" for label in used]
    buckets = next(each.buckets for each in DEFINITIONS if each.name == "reasonrl_response_length_tokens")
    lines += [
        "",
        f"Buckets of `reasonrl_response_length_tokens` are the powers of two from {buckets[0]:,.0f} to {buckets[-1]:,.0f}.",
        "",
        "## Files",
        "",
        "`metrics.jsonl` holds one JSON object a line, and `kind` says which of the three it is. Each step, each evaluation of a benchmark",
        "and each point of the warm start is there once: a run that resumes from a checkpoint takes back the lines of the steps that it",
        "does again.",
        "The last line of a killed run may be torn; whoever reads the file leaves it out, and the run cuts it off when it resumes.",
    ]
    for title, record in (
        ('`metrics.jsonl`, `"kind": "step"`: one training step', StepMetrics),
        ('`metrics.jsonl`, `"kind": "evaluation"`: one benchmark at one point of the run', EvaluationMetrics),
        ('`metrics.jsonl`, `"kind": "warm_start"`: one logged point of the supervised warm start', WarmStartMetrics),
        ("`events.jsonl`: what a person would want to know happened", Event),
        ("`rollouts/step-000012.jsonl` and `rollouts/evaluation-000012-<benchmark>.jsonl`: one response", RolloutLine),
        ("Each of its `scores`: one reward component", ScoreLine),
    ):
        lines += ["", f"### {title}", "", "| field | type | meaning |", "|---|---|---|"]
        lines += _fields(record)
    return "\n".join(lines) + "\n"


def _fields(record: type[BaseModel]) -> list[str]:
    return [
        f"| `{name}` | {_type_name(field.annotation)} | {field.description or ''} |"
        for name, field in record.model_fields.items()
        if name != "kind"
    ]


def _type_name(annotation: object) -> str:
    if annotation is ScoreLine:
        return "object"
    if isinstance(annotation, type) and not hasattr(annotation, "__args__"):
        return annotation.__name__
    text = str(annotation).replace("reasonrl.run.telemetry.rollouts_file.", "")
    return text.replace(" | ", " or ").replace("tuple[ScoreLine, ...]", "list of scores")


if __name__ == "__main__":
    print(metrics_page(), end="")
