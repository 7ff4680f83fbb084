"""The parts of a CPU's page: for each section its heading, what to know before reading it, and its tables."""

from __future__ import annotations

from ..harness.records import Json
from ..peers import PEERS
from ..sections import dense
from . import accuracy, targets
from .tables import drop_in, hosts, phases, precision, scale, solvers, sparse, sweeps
from .targets import best_peer, ms
from .text import absent, number, table, times


def peers_table(section: Json) -> str:
    """Milliseconds of all peers, and our times over the roofline and over the fastest peer's."""
    records = section["cases"]
    names = [name for name in PEERS if any("ms" in r["rivals"].get(name, {}) for r in records)]
    ours = [name for name in names if PEERS[name].ours]
    head = ["case (m × n, k)", "roof"]
    head += [PEERS[name].label for name in names]
    head += [f"{name}, × roof" for name in ours] + [f"{name}, × best peer" for name in ours]
    rows = []
    for r in records:
        peer = best_peer(r)
        row = [f"{r['case']} ({r['shape']})", number(r["roof_ms"])]
        row += [f"**{number(ms(r, n))}**" if peer and n == peer[0] else number(ms(r, n)) for n in names]
        row += [times(targets.ratio(ms(r, name), r["roof_ms"])) for name in ours]
        row += [times(targets.ratio(peer[1] if peer else None, ms(r, name))) for name in ours]
        rows.append(row)
    return table(head, rows) + absent(records)


def ours_table(section: Json) -> str:
    """Our backends alone, over the roofline and over the first case timed in the same rounds."""
    records = section["cases"]
    names = [name for name in dense.OURS if any("ms" in r["rivals"].get(name, {}) for r in records)]
    by_case = {r["case"]: r for r in records}
    head = ["case (m × n, k)", "roof"]
    for name in names:
        head += [f"{name}, ms", "× roof", "× first"]
    rows = []
    for r in records:
        row = [f"{r['case']} ({r['shape']})", number(r["roof_ms"])]
        for name in names:
            mine, first = ms(r, name), ms(by_case[r["beside"]], name)
            row += [number(mine), times(targets.ratio(mine, r["roof_ms"])), times(targets.ratio(mine, first))]
        rows.append(row)
    return table(head, rows) + absent(records)


def phases_text(section: Json) -> str:
    """The phases, and what the gaps over the roof are made of."""
    records = section["phases"]
    parts = [table(*phases.phase_rows(records))]
    if all(phases.gap(r) is None for r in records):
        return parts[0] + "\n\nThe phases are not measured: this system cannot keep an X of so many rows in cache."
    if phases.explained(records):
        parts += [
            "### What the gap over the roof is made of",
            "Nanoseconds a row. What a pass takes over its roof is the sum of four parts, less the room: where reading"
            " X takes longer than the arithmetic, so much computing would fit beside it.",
            table(*phases.gap_rows(records)),
            phases.gap_text(records),
        ]
    return "\n\n".join(parts)


def accuracy_table(section: Json) -> str:
    """Relative error of the gradient against the float64 truth."""
    records = section["cases"]
    names = [n for n in PEERS if any("relative_error" in r["rivals"].get(n, {}) for r in records)]
    rows = []
    for r in records:
        errors = [r["rivals"].get(name, {}).get("relative_error") for name in names]
        rows.append([r["case"], *("–" if e is None else f"{e:.1e}" for e in errors)])
    return table(["case", *(PEERS[name].label for name in names)], rows)


def memory_table(section: Json) -> str:
    """MB above what was in use before the pass."""
    records = section["memory"]
    names = [n for n in PEERS if any("extra_mb" in r["rivals"].get(n, {}) for r in records)]
    rows = []
    for r in records:
        extras = [r["rivals"].get(name, {}).get("extra_mb") for name in names]
        rows.append([f"{r['case']} ({r['shape']})", number(r["x_mb"]), *(number(extra) for extra in extras)])
    return table(["case", "X", *(PEERS[name].label for name in names)], rows) + absent(records)


def line_table(section: Json) -> str:
    """Nanoseconds for each row, for growing m."""
    points = section["line"]["points"]
    names = [name for name in PEERS if any(name in p["ms"] for p in points)]
    rows = []
    for p in points:
        each = [p["ms"].get(name) for name in names]
        rows.append([f"{p['m']:,}", *("–" if t is None else f"{1e6 * t / p['m']:.3g}" for t in [p["roof_ms"], *each])])
    slopes = [targets.straightness(points, name) for name in names]
    rows.append(["p in cost ~ mᵖ", "", *("–" if p is None else f"{p:.3f}" for p in slopes)])
    return table(["rows m", "roof", *(PEERS[name].label for name in names)], rows)


def calls_table(section: Json) -> str:
    rows = []
    for call in section["calls"]:
        seconds = [call.get("seconds"), call.get("import_seconds")]
        rows.append([call["case"], call["cache"], *("–" if s is None else f"{s:.2f} s" for s in seconds)])
    return table(["case", "cache", "first call", "import of Numba, before it"], rows)


def solvers_text(section: Json) -> str:
    """When each solver arrives at the gap; our own stop; l1; the path."""
    parts = [table(*solvers.peer_rows(section)), "### Our own stop"]
    parts += [
        "Passes and time until the gap is 1e-6, and until our own rule ends the run: where the gap is proven to be at"
        " most 1e-6, or the gradient norm is. The proof is weak where a penalty hardly reaches columns of tiny units.",
        table(*solvers.ours_rows(section)),
        "### l1, and a path",
        "Exact zeros: both to a gap of 1e-6; the last columns are ours to its own stop.",
        table(*solvers.l1_rows(section)),
        solvers.path_text(section),
    ]
    return "\n\n".join(parts)


def sparse_text(section: Json) -> str:
    """Times and memory of passes, and a fit."""
    parts = []
    if section.get("cases"):
        parts.append(table(*sparse.case_rows(section)) + absent(section["cases"]))
    if section.get("memory"):
        parts += [
            "### Memory of a pass",
            "MB above what was in use before. Gradients: the plan's own, in float64, and the one handed over where that"
            " is another array.",
            table(*sparse.memory_rows(section)),
        ]
    if section.get("fit"):
        parts += [
            f"### A fit of {section['fit']['case']} to the end",
            "scikit-learn's LogisticRegression with default tol against SoftmaxRegression with the same penalty,"
            " which is run with smaller and smaller tol until it ends at no higher a value and with no larger an"
            " element of the gradient. Values and gradients of both are computed by the same code.",
            table(*sparse.fit_rows(section)),
            sparse.fit_text(section),
        ]
    return "\n\n".join(part for part in parts if part)


def drop_in_text(section: Json) -> str:
    """Times before and after."""
    return table(*drop_in.rows(section))


def scale_text(section: Json) -> str:
    """Times and memory of passes over files."""
    return section["skipped"] if "skipped" in section else table(*scale.rows(section))


def sweeps_text(section: Json) -> str:
    """Whole sweeps, bootstrap fits and the estimate."""
    parts = [table(*sweeps.probe_rows(section)), sweeps.notes(section)] if section["probes"] else []
    parts += [table(*sweeps.model_rows(section))] if "models" in section else []
    parts += [sweeps.bootstrap_text(section)] if "bootstrap" in section else []
    parts += [sweeps.imagenet_text(section)] if "imagenet" in section else []
    return "\n\n".join(parts)


# For each part of the page: section of the results, heading, what to know before reading it, function that renders it.
PARTS = (
    (
        "main",
        "Loss and gradient",
        "Median milliseconds of a pass; the fastest peer is in bold. × best peer: its time over ours.",
        peers_table,
    ),
    (
        "phases",
        "What a pass is made of",
        "Nanoseconds a row, each the shortest of its rounds. Arithmetic: the multiply-adds of both products at the"
        " machine's peak; reading X: adding up that very array; the roof is the larger of the two, both timed beside"
        " the passes. Then what the time of a pass divides into. Up to the second product X is as large as ever but"
        " stays in cache, its addresses being mapped to the same few pages again and again"
        " (`harness/repeated.py`, with what it costs): the first product with the packing of X; softmax; the second"
        " product with the residual. Waiting for memory is what a pass over the true X takes beyond that, and less than"
        " nothing only by noise.",
        phases_text,
    ),
    ("main", "Accuracy", "Norm of the gradient's error over the gradient's norm.", accuracy_table),
    (
        "F-order",
        "Fortran order",
        "What pandas hands over. × first: over the C-order twin, timed in the same rounds.",
        ours_table,
    ),
    (
        "narrow",
        "Narrow dtypes",
        "X read as it is. × first: over float32 in the same rounds. The roof counts the narrow bytes.",
        ours_table,
    ),
    ("wide", "Many features", "", peers_table),
    ("many classes", "Many classes", "-dX: the gradient with respect to X as well.", peers_table),
    ("line", "Cost against the number of rows", "Nanoseconds for each row.", line_table),
    (
        "memory",
        "Memory",
        "MB in use at the peak of a pass, above what was in use before: X itself is not counted, the gradient is.",
        memory_table,
    ),
    ("first call", "Numba's first call", "", calls_table),
    (
        "solvers",
        "Solvers: time to the optimum",
        "From the call of fit to the first iterate whose relative gap to the minimum, known beforehand, is at most"
        " 1e-6: all at default settings, no stopping rule involved. Where a solver had not arrived in the time it got,"
        " the gap it had come to. Below: against passes and against seconds.",
        solvers_text,
    ),
    (
        "sparse",
        "Sparse X",
        "CSR with columns by Zipf's law (`harness/cases/sparse_data.py`). Median milliseconds of a pass; the fastest"
        " peer is in bold. roof: arithmetic, or X and theta read and the gradient written once.",
        sparse_text,
    ),
    (
        "drop-in",
        "Drop-in: before and after",
        "Whole fits by programs that know only scikit-learn, with default settings, plain and under"
        " `python -m fastsoftmax.accel`, each in a process of its own and in turn. Objective: that of the final model,"
        " by the same code; a gain counts only where the accelerated program ends no higher.",
        drop_in_text,
    ),
    (
        "larger than memory",
        "Larger than memory",
        "Median seconds of a pass over files of float32, 100 features and 10 classes, by `fastsoftmax.scan` with"
        ' `memory="512MB"`. Reading alone: the file through a buffer, or Parquet decoded by pyarrow with as many'
        " threads; computing alone: a pass over a part in memory, times the rows. All are measured in one process,"
        " whose private memory leaves out the pages of mapped files.",
        scale_text,
    ),
    (
        "sweeps",
        "Sweeps: linear probes and bootstrap fits",
        "DINOv2's 45 values of C on features of a seeded random network, float16 in a memory map, a fifth of the rows"
        " to measure on; scikit-learn's lbfgs with default tol at some of the values (`sections/sweeps/probe.py`).",
        sweeps_text,
    ),
    (
        "PyTorch",
        "PyTorch: a linear layer and its loss",
        "Median milliseconds of forward and backward, by PyTorch's own ways and by"
        " `fastsoftmax.torch.linear_cross_entropy`; the fastest of the former is in bold, gain: its time over ours."
        " -dX: the gradient with respect to the rows as well, as under a body that is trained.",
        hosts.pytorch_text,
    ),
    (
        "PyTorch memory",
        "PyTorch: extra memory of a layer",
        "MB in use at the peak, above what was in use before, each way in a process of its own. The gradients, which"
        " each returns, are counted.",
        hosts.memory_text,
    ),
    (
        "training steps",
        "PyTorch: training steps",
        "Median milliseconds of forward, backward and an update by SGD, by each way of the last layer in turn. Ours"
        " computes bfloat16 in float32, half as fast as processors that multiply bfloat16 can.",
        hosts.steps_text,
    ),
    (
        "JAX",
        "JAX: a linear layer and its loss",
        "Median milliseconds of a compiled value and gradient, by XLA alone and by"
        " `fastsoftmax.jax.linear_cross_entropy`.",
        hosts.jax_text,
    ),
    (
        "precision",
        "Precision, and matrix units",
        "Relative errors of value and gradient against float64, X of standard normal numbers, of the same with mean 5,"
        " and of integers 0 to 255. float32: without matrix units. Three products are there to be compared with: no"
        " pass uses them.",
        precision.text,
    ),
    (
        "accuracy",
        "Accuracy: exp and log, value and gradient",
        "Worst errors of exp and log in ulp, and the share of results that are not the nearest number: in float32 of"
        " every number of their domain, x <= 0 and x >= 1, in float64 of many (`sections/accuracy/functions.py`). Then"
        " relative errors of value and gradient (norm of the error over the norm) against longdouble, each peer with"
        " the same rounded X and theta. our NumPy: the package's plain backend.",
        accuracy.text,
    ),
)


# What a section without cases holds if it was measured.
MEASURED = {"phases", "line", "memory", "calls", "solvers", "fit", "programs", "probes", "kinds", "steps"}
MEASURED |= {"accuracy", "functions"}

# Plots of a part, by its heading.
PICTURES = {
    "Loss and gradient": ("roofline.png",),
    "Cost against the number of rows": ("rows.png",),
    "Solvers: time to the optimum": ("gap-1e-04.png", "gap-1e-06.png"),
}
