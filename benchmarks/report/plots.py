"""The plots of the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
from matplotlib import pyplot as plt  # noqa: E402 - the backend is chosen first

from ..harness.records import Json  # noqa: E402
from ..peers import PEERS  # noqa: E402
from .targets import best_peer, ms  # noqa: E402

# One colour and mark for each peer in every plot.
_STYLE = {
    "cython": ("#d1495b", "o"),
    "numba": ("#edae49", "s"),
    "numpy_formula": ("#8d96a3", "v"),
    "sklearn_loss": ("#00798c", "^"),
    "torch_eager": ("#66a182", "D"),
    "torch_fused": ("#2e4057", "P"),
    "jax_jit": ("#7b5ea7", "X"),
}
_SOLVER_STYLE = {
    "fastsoftmax": ("#d1495b", "o"),
    "lbfgs": ("#00798c", "^"),
    "newton-cg": ("#66a182", "D"),
    "newton-cholesky": ("#7b5ea7", "X"),
}
# Smaller gaps than this are rounding errors in float64; they are drawn at it.
_LEAST = 1e-12
_NOTE: Json = {"textcoords": "offset points", "fontsize": 8, "ha": "center", "color": "#555555"}


def draw(results: Json, folder: Path) -> list[str]:
    """Write the plots for which there are results; returns their file names."""
    folder.mkdir(parents=True, exist_ok=True)
    out = []
    if results["sections"].get("main", {}).get("cases"):
        _save(roofline_plot(results["sections"]["main"]), folder / "roofline.png", out)
    if results["sections"].get("line", {}).get("line"):
        _save(line_plot(results["sections"]["line"]["line"]), folder / "rows.png", out)
    solvers = results["sections"].get("solvers", {})
    for l2 in sorted({r["l2"] for r in solvers.get("solvers", []) if r["peers"]}):
        _save(gap_plot(solvers, l2), folder / f"gap-{l2:.0e}.png", out)
    return out


def _save(figure: Any, path: Path, names: list[str]) -> None:
    figure.savefig(path, dpi=110, bbox_inches="tight", metadata={"Software": None})
    plt.close(figure)
    names.append(path.name)


def roofline_plot(section: Json) -> Any:
    """GF/s against flops per byte of X: the roof, our backends and the fastest peer of each case."""
    figure, panels = plt.subplots(1, 2, figsize=(11, 4.4), sharey=True)
    roof = section["roof"]
    for axes, dtype in zip(panels, ("float64", "float32"), strict=True):
        records = [r for r in section["cases"] if r["dtype"] == dtype]
        intensities = [r["intensity"] for r in records]
        x = np.geomspace(min(intensities) / 2, max(intensities) * 2, 200)
        axes.plot(x, np.minimum(roof["gflops"][dtype], roof["gbytes"] * x), color="black", label="roofline")
        for name in ("cython", "numba"):
            points = [(r["intensity"], r["gflop"] / ms(r, name) * 1e3) for r in records if ms(r, name)]
            color, mark = _STYLE[name]
            axes.plot(*_columns(points), mark, color=color, label=PEERS[name].label, markersize=7)
        peers = [(r["intensity"], r["gflop"] / found[1] * 1e3) for r in records if (found := best_peer(r))]
        axes.plot(*_columns(peers), "x", color="#555555", label="fastest peer", markersize=7)
        for r in records:
            drawn = [ms(r, "cython"), ms(r, "numba"), (best_peer(r) or ("", None))[1]]
            low = r["gflop"] / max((t for t in drawn if t), default=float("inf")) * 1e3
            axes.annotate(r["case"].split("-f")[0], (r["intensity"], low), (0, -12), **_NOTE)
        axes.set(xscale="log", yscale="log", title=dtype, xlabel="flops per byte of X")
        axes.grid(alpha=0.3, which="both", linewidth=0.5)
    panels[0].set_ylabel("GF/s")
    panels[0].legend()
    return figure


def line_plot(line: Json) -> Any:
    """Time of a pass against its rows: ours on plain axes, which show a straight line, and all peers' on log axes."""
    figure, (plain, log) = plt.subplots(1, 2, figsize=(11, 4.4))
    points = line["points"]
    rows = np.array([p["m"] for p in points], float)
    for name, (color, mark) in _STYLE.items():
        pairs = [(p["m"], p["ms"][name]) for p in points if name in p["ms"]]
        if not pairs:
            continue
        x, y = _columns(pairs)
        log.plot(x, y, mark + "-", color=color, label=PEERS[name].label, linewidth=0.8, markersize=5)
        if PEERS[name].ours:
            plain.plot(x, y, mark, color=color, label=PEERS[name].label)
            for axes, first in ((plain, 0), (log, x[0])):  # the cost per row at the largest m, through the origin
                axes.plot([first, x[-1]], [y[-1] * first / x[-1], y[-1]], "--", color=color, linewidth=0.8)
    for axes in (plain, log):
        axes.plot(rows, [p["roof_ms"] for p in points], color="black", label="roofline")
        axes.set(xlabel="rows m")
        axes.grid(alpha=0.3, which="both", linewidth=0.5)
        axes.legend(fontsize=8)
    plain.set(ylabel="ms for loss and gradient", title="dashed: in proportion to m")
    log.set(xscale="log", yscale="log", title=f"n = {line['n']}, k = {line['k']}, {line['dtype']}")
    return figure


def _columns(pairs: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in pairs], [y for _, y in pairs]


def gap_plot(section: Json, l2: float) -> Any:
    """A row of panels for each set with peers: gap against passes, gap against seconds."""
    records = [r for r in section["solvers"] if r["peers"] and r["l2"] == l2]
    figure, panels = plt.subplots(len(records), 2, figsize=(11, 2.6 * len(records)), sharey=True, squeeze=False)
    for r, (by_passes, by_seconds) in zip(records, panels, strict=True):
        for name, row in {"fastsoftmax": r["ours"], **r["peers"]}.items():
            color, mark = _SOLVER_STYLE[name]
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
