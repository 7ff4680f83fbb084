"""The plot of a training run: its convergence, and the curve of the loss of one sample."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from .. import reference
from ..solvers.result import Step

BLUE, ORANGE = "#1f5fa8", "#c4560a"


def save_plot(path: str | Path, history: list[Step], k: int) -> None:
    """Draw the gap to the minimum by passes over the data and by seconds, and -log p by p.

    The gap is ``gap_bound`` if all steps have one, else the gradient norm is drawn in its place.

    Parameters
    ----------
    path : str or Path
        The suffix is the format: .png, .pdf or .svg.
    history : list of Step
        The steps of the run; see `solvers.result`.
    k : int
        The number of classes: before training each has the probability 1/k.
    """
    # A Figure made without pyplot needs no display and opens no window.
    figure = Figure(figsize=(10, 4.8), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(1.25, 1))
    passes = figure.add_subplot(grid[0, 0])
    _draw_gap(passes, figure.add_subplot(grid[1, 0], sharey=passes), history)
    _draw_curve(figure.add_subplot(grid[:, 1]), history[0].value, history[-1].value, k)
    figure.savefig(path, dpi=150)


def _draw_gap(by_passes: Any, by_seconds: Any, history: list[Step]) -> None:
    """Convergence, on two axes."""
    proven = all(step.gap_bound is not None for step in history)
    gaps = [step.gap_bound if proven else step.grad_norm for step in history]
    style = {"color": BLUE, "marker": "." if len(history) < 60 else "", "linewidth": 1.2}
    by_passes.semilogy([step.n_passes for step in history], gaps, **style)
    by_seconds.semilogy([step.seconds for step in history], gaps, **style)
    by_passes.set(title="convergence", xlabel="passes over the data")
    by_seconds.set(xlabel="seconds")
    for axes in (by_passes, by_seconds):
        axes.set_ylabel("relative gap, at most" if proven else "gradient norm")
        axes.grid(alpha=0.3)


def _draw_curve(axes: Any, start: float, end: float, k: int) -> None:
    """The curve -log p, and on it the mean loss before and after training."""
    p, curve = reference.loss_curve(400, smallest=min(1e-3, math.exp(-max(start, end, 0.0))))
    axes.plot(p, curve, color=BLUE, linewidth=1.5)
    for loss, label in ((start, f"before: loss {start:.3g}"), (end, f"after: loss {end:.3g}")):
        axes.plot(math.exp(-loss), loss, "o", color=ORANGE)
        # To the right of a point near the right edge the text would be cut off.
        side, offset = ("left", (8, 10)) if math.exp(-loss) < 0.6 else ("right", (4, 36))
        axes.annotate(label, (math.exp(-loss), loss), offset, textcoords="offset points", color=ORANGE, ha=side)
    axes.axvline(1 / k, color="grey", linewidth=0.8, linestyle=":")
    axes.annotate(f"1/{k}", (1 / k, axes.get_ylim()[1]), (4, -12), textcoords="offset points", color="grey")
    axes.set(title="loss of one sample", xlabel="p, the probability given to the right class", ylabel="-log p")
    axes.set_xlim(0, 1.02)
    axes.grid(alpha=0.3)
