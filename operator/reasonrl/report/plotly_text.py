"""Text from a job inside a figure: Plotly reads tags and %{…} in it, which a name must not become."""

from __future__ import annotations


def plain(text: str) -> str:
    """The text as it is, whatever it holds."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("%", "&#37;")
