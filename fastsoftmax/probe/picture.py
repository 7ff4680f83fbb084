"""The picture of a sweep: log loss and accuracies by l2, each with its standard error, and the chosen value."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from .sweep import Value
from .validation import METRICS

COLORS = {"log_loss": "#1f5fa8", "top1": "#c4560a", "top5": "#2f8f5b", "mean_per_class": "#7a4fa3"}
NAMES = {"log_loss": "log loss", "top1": "top-1", "top5": "top-5", "mean_per_class": "mean per class"}


def save_picture(path: Path, values: Sequence[Value], chosen: Value) -> None:
    """Write the picture; the suffix is the format."""
    # A Figure made without pyplot needs no display and opens no window.
    figure = Figure(figsize=(7, 6), layout="constrained")
    loss, accuracy = figure.subplots(2, 1, sharex=True)
    for name in METRICS:
        _draw(loss if name == "log_loss" else accuracy, name, values)
    ended = [value for value in values if value.metrics is None]
    if ended:
        loss.plot(
            [value.l2 for value in ended],
            [value.lower_bound for value in ended],
            linestyle="",
            marker="^",
            markersize=4,
            color="grey",
            label="ended early: at least",
        )
    for axes, label in ((loss, "log loss on rows held out"), (accuracy, "accuracy on rows held out")):
        axes.axvline(chosen.l2, color="black", linewidth=0.8, linestyle="--", label=f"chosen: l2 = {chosen.l2:.3g}")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    accuracy.set_xlabel("l2 (the penalty gets weaker to the right)")
    accuracy.set_xscale("log")
    accuracy.invert_xaxis()
    figure.savefig(path, dpi=150)


def _draw(axes: Any, name: str, values: Sequence[Value]) -> None:
    """A metric by l2, with its standard error as a band."""
    scored = [(value.l2, value.metrics[name]) for value in values if value.metrics is not None]
    l2s = [l2 for l2, _ in scored]
    axes.plot(l2s, [measure.value for _, measure in scored], color=COLORS[name], marker=".", label=NAMES[name])
    low, high = ([m.value + sign * m.error for _, m in scored] for sign in (-1.0, 1.0))
    axes.fill_between(l2s, low, high, color=COLORS[name], alpha=0.2, linewidth=0)
