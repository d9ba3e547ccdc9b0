"""Curves of a run are noisy: each is drawn raw and smoothed, and long ones are thinned so that a page stays quick."""

from __future__ import annotations

from collections.abc import Container, Sequence


def smoothed(values: Sequence[float | None], window: int, *, breaks: Container[int] = ()) -> list[float | None]:
    """Exponential moving average without the pull of a starting value: at t it is Σ wᵗ⁻ⁱ·xᵢ / Σ wᵗ⁻ⁱ over the known xᵢ with i ≤ t,
    w = (window − 1)/(window + 1), so that the weights' mean age is that of a plain mean over `window` values.

    It looks only back: a point never changes as the run goes on. At each place in `breaks` it forgets what came before. Unknown
    values stay unknown. `window` 1 changes nothing.
    """
    if window < 1:
        raise ValueError(f"the smoothing window must be at least 1 step, not {window}")
    keep = (window - 1) / (window + 1)
    total = weight = 0.0
    found: list[float | None] = []
    for place, value in enumerate(values):
        total, weight = (0.0, 0.0) if place in breaks else (total * keep, weight * keep)
        if value is not None:
            total, weight = total + value, weight + 1.0
        found.append(total / weight if value is not None else None)
    return found


def default_window(steps: int) -> int:
    """A twentieth of the run, from 5 to 50 steps."""
    return min(50, max(5, steps // 20))


def thinned(values: Sequence[float | None], points: int) -> list[int]:
    """Indices of at most `points` values that draw the same picture: the least and the greatest of each equal stretch, and both
    ends. All of them when there are no more than that."""
    count = len(values)
    if count <= points:
        return list(range(count))
    stretches = max(1, (points - 2) // 2)
    kept = {0, count - 1}
    for stretch in range(stretches):
        known = [i for i in range(count * stretch // stretches, count * (stretch + 1) // stretches) if values[i] is not None]
        if known:
            kept |= {min(known, key=lambda i: values[i] or 0.0), max(known, key=lambda i: values[i] or 0.0)}
    return sorted(kept)
