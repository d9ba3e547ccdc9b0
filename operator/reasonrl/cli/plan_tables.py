"""The plan of a job as tables for a terminal, about 100 columns wide, with the arithmetic beside each number."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

from reasonrl.api.memory import MemoryEstimate
from reasonrl.api.phase_forecast import PhaseForecast
from reasonrl.api.quantity import readable_bytes
from reasonrl.api.resource_plan import PodPlan, ResourcePlan

_SHOWN_PODS = 12


def show_plan(plan: ResourcePlan) -> None:
    console = Console(highlight=False, soft_wrap=False)
    console.print(f"[bold]{plan.job}[/]" + (f", {plan.parameters:,} parameters" if plan.parameters else ""))
    console.print()
    console.print(_pods(plan.pods))
    console.print(f"GPUs: {plan.gpus}" + ("" if plan.gpus else " (everything on CPUs)"))
    console.print()
    console.print(_phases(plan.phases))
    console.print(_schedules(plan.phases))
    console.print(f"[bold]{'On' if plan.on_policy else 'Off'}-policy[/]: {plan.policy_reason}.")
    console.print()
    if plan.memory_unknown:
        console.print(f"[yellow]Memory and checkpoints could not be estimated:[/] {plan.memory_unknown}.")
    for estimate in plan.memory:
        console.print(_memory(estimate))
    if plan.checkpoint is not None:
        console.print(f"A checkpoint has {readable_bytes(plan.checkpoint.size)} = {plan.checkpoint.arithmetic}.")
        console.print(f"Kept ones, and one being written: {readable_bytes(plan.checkpoint.kept)} at most.")
    for note in plan.notes:
        console.print(f"[dim]Note: {note}[/]")


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        numbers = column.startswith(">")
        table.add_column(column.lstrip(">"), justify="right" if numbers else "left", no_wrap=numbers, overflow="fold")
    return table


def _pods(pods: tuple[PodPlan, ...]) -> Table:
    table = _table("Pods on a cluster", "pod", ">GPUs", "host")
    for pod in pods[:_SHOWN_PODS]:
        table.add_row(pod.name, str(pod.gpus), pod.host)
    if len(pods) > _SHOWN_PODS:
        table.add_row(f"… {len(pods) - _SHOWN_PODS} more, to {pods[-1].name}", str(pods[-1].gpus), "")
    return table


def _phases(phases: tuple[PhaseForecast, ...]) -> Table:
    table = _table(
        "Phases; prompts, rollouts, updates and the most tokens are of one step",
        *("phase", ">context", ">steps", "ends", ">prompts", ">rollouts", ">updates", ">most tokens"),
    )
    for phase in phases:
        table.add_row(
            phase.name,
            f"{phase.max_response_tokens:,}",
            f"{phase.first_step if phase.exact else f'≤{phase.first_step}'}–{phase.last_step}",
            "; ".join(phase.ends) + ("; a person lets it begin" if phase.waits_for_a_person else ""),
            f"{phase.prompts_per_step:,}",
            f"{phase.responses_per_step:,}",
            str(phase.optimizer_updates_per_step),
            f"{phase.most_tokens:,}",
        )
    return table


def _schedules(phases: tuple[PhaseForecast, ...]) -> Table:
    table = _table(
        "Schedules, at a phase's first and last step", "phase", ">step", ">temperature", ">KL", ">learning rate", ">entropy", ">clip"
    )
    for phase in phases:
        for setting in (phase.at_start, phase.at_end):
            table.add_row(
                phase.name if setting is phase.at_start else "",
                f"{setting.global_step if phase.exact else f'≤{setting.global_step}'}",
                f"{setting.temperature:g}",
                f"{setting.kl_coefficient:.4g}",
                f"{setting.learning_rate:.4g}",
                f"{setting.entropy_coefficient:.4g}",
                f"−{setting.clip_low:g} +{setting.clip_high:g}",
            )
    return table


def _memory(estimate: MemoryEstimate) -> Table:
    limit = "" if estimate.limit is None else f" of {readable_bytes(estimate.limit)}"
    table = _table(f"Memory of {estimate.where}", "what", ">size", "arithmetic")
    for item in estimate.items:
        table.add_row(item.name, readable_bytes(item.bytes), item.arithmetic)
    table.add_section()
    table.add_row("total", readable_bytes(estimate.total) + limit, "")
    return table
