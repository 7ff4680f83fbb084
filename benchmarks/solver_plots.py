"""The gap to the minimum against passes and against seconds, for our solver and scikit-learn's."""

from __future__ import annotations

from typing import Any

from matplotlib import pyplot as plt

Json = dict[str, Any]
_STYLE = {
    "fastsoftmax": ("#d1495b", "o"),
    "lbfgs": ("#00798c", "^"),
    "newton-cg": ("#66a182", "D"),
    "newton-cholesky": ("#7b5ea7", "X"),
}
# Below this a float64 gap is rounding.
_LEAST = 1e-12


def gap_plot(section: Json, l2: float) -> Any:
    """A row of panels for each set with peers: gap against passes, gap against seconds."""
    records = [r for r in section["solvers"] if r["peers"] and r["l2"] == l2]
    figure, panels = plt.subplots(len(records), 2, figsize=(11, 2.6 * len(records)), sharey=True, squeeze=False)
    for r, (by_passes, by_seconds) in zip(records, panels, strict=True):
        for name, row in {"fastsoftmax": r["ours"], **r["peers"]}.items():
            color, mark = _STYLE[name]
            gaps = [max(point[2], _LEAST) for point in row["curve"]]
            style = {"color": color, "marker": mark, "markersize": 3, "linewidth": 0.9, "label": name}
            by_passes.plot([point[1] for point in row["curve"]], gaps, **style)
            by_seconds.plot([point[0] for point in row["curve"]], gaps, **style)
        for axes in (by_passes, by_seconds):
            axes.axhline(section["gap"], color="black", linewidth=0.6, linestyle=":")
            axes.set(xscale="log", yscale="log")
            axes.grid(alpha=0.3, linewidth=0.5)
        by_passes.set_ylabel("relative gap")
        by_passes.set_title(f"{r['set']} ({r['shape']}), l2 = {l2:.0e}", fontsize=9, loc="left")
    panels[0, 1].legend(fontsize=8)
    panels[-1, 0].set_xlabel("passes over X (a Hessian matrix counts as one)")
    panels[-1, 1].set_xlabel("seconds")
    figure.tight_layout()
    return figure
