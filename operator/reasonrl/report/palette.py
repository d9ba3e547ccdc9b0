"""Colours that stay apart for colour-blind readers, on white and on near black."""

from __future__ import annotations

LIGHT = ("#0b62a4", "#c8500a", "#00806a", "#a83279", "#7a6a00", "#5a4fcf", "#5c5c5c", "#b3261e")
DARK = ("#64b5f6", "#ff9d5c", "#35c9a5", "#f08fc4", "#d9c44a", "#a79dff", "#b0b0b0", "#ff8a80")
"""`DARK[i]` takes the place of `LIGHT[i]` on a dark page."""

INK = "#4a4f57"
INK_ON_DARK = "#a9b0ba"
WARNING = "#b3261e"
DASHES = ("solid", "dot", "dash", "dashdot", "longdash")


def color(index: int) -> str:
    return LIGHT[index % len(LIGHT)]


def dash(index: int) -> str:
    return DASHES[index % len(DASHES)]


def on_dark() -> dict[str, str]:
    """What the page's script swaps when the reader's screen is dark."""
    return {**dict(zip(LIGHT, DARK, strict=True)), INK: INK_ON_DARK}
