"""Writes the page on clusters, from the saved results alone: ``python -m benchmarks.report.cluster``."""

from __future__ import annotations

from pathlib import Path

from ..harness import records
from ..harness.records import Json
from ..sections.scale.forecast import Cluster, Costs, Pass, Problem, simulate
from .text import number, table

NODES = (1, 4, 16, 64, 256, 1024, 4096)
# Targets of a pass: milliseconds, and a share of the time of one process.
MOST_MS, MOST_SHARE = 30.0, 0.03

HEAD = """# Many machines

Measured on {processor}, {threads} threads, {date}; all processes are on this one machine. Written by
`python -m benchmarks.report.cluster` from what `python -m benchmarks.sections.scale.cluster` has measured."""

PASSES = """## A pass against rows

Median milliseconds of loss and gradient of float32 rows, n = {n}, k = {k}, in {parts} partitions, each in turn: one
process with all threads; one worker process with all threads; one on each core. Results are equal to the last bit.
Allowed: {ms:.0f} ms and {share:.0%} of one process."""

FIT = """## A fit

Seconds of {rows:,} rows of the same kind until the loss is 1 % above the minimum: ours from partitions in the memory
of the workers to the step that arrives, with the numbering of labels; scikit-learn's `partial_fit` over the same chunks
in memory, without the evaluation of its loss. dask-ml has no multinomial model; its wrapper `Incremental`
calls this `partial_fit`. An MLPClassifier without hidden layers is scikit-learn's one `partial_fit` with the softmax
loss; SGDClassifier has a model for each class against the rest."""

FORECAST = """## 10⁹ rows × 1,000 columns × 100 classes on 64 nodes

From rates measured here, {gflops_of_core:.0f} GFLOP/s a core (float32, n = 1,000, k = 100), {join_ms:.3f} ms to add two
gradients, {task_ms:.2f} ms for each task and {hop_ms:.1f} ms from the client to a worker and back; and a simulation
(`sections/scale/forecast.py`) of nodes with 16 such cores, whose speeds differ by 3 %, and network cards of 10 Gb/s.
Milliseconds of a pass, by its terms:"""

DOMINATES = """**On 64 nodes computing dominates**: {compute:,.0f} of the {whole:,.0f} ms of a pass. All else takes
{other:,.0f} ms, of which {largest} is the largest part, and {fast:,.0f} ms with a network ten times as fast. A fit of
forty passes takes {fit:.1f} minutes. X is {size:.1f} GB of float32 a node, which must be in memory, or in files that
partitions map and each pass reads.

**Where it ends**: a pass is shortest on {ends}. In brackets is
the largest term beside computing there. With more nodes it takes longer, since there is a task for each node and one
scheduler."""


def passes_table(found: list[Json]) -> str:
    """Milliseconds of a pass, what the cluster adds, and bytes."""
    names = [name for name in found[0]["ms"] if name != "one process"]
    head = ["rows", "one process, ms"]
    for name in names:
        head += [f"{name}, ms", "added", "allowed", "kB sent"]
    rows = []
    for each in found:
        alone = each["ms"]["one process"]
        row = [f"{each['rows']:,}", number(alone)]
        for name in names:
            added = each["ms"][name] - alone
            row += [number(each["ms"][name]), number(added), number(MOST_MS + MOST_SHARE * alone)]
            row.append(number(each["bytes"][name] / 1e3))
        rows.append(row)
    return table(head, rows)


def fit_table(fit: Json) -> str:
    rows = [["fastsoftmax.dask.SoftmaxRegression", number(fit["ours"]), f"{1.01 * fit['least']:.4f}", ""]]
    for name, rival in fit["rivals"].items():
        ratio = rival["seconds"] / fit["ours"]
        more = f"{ratio:.0f}×" if rival["arrived"] else f"more than {ratio:.0f}×"
        rows.append([name, number(rival["seconds"]), f"{rival['loss']:.4f}", more])
    return table(["", "seconds", "loss there", "over ours"], rows)


def forecast_table(costs: Costs) -> str:
    rows = []
    for nodes in NODES:
        each = simulate(Problem(), Cluster(nodes), costs)
        terms = [number(1e3 * term) for term in (each.compute, each.theta, each.tasks, each.sums, each.total)]
        share = simulate(Problem(), Cluster(1), costs).total / nodes / each.total
        rows.append([f"{nodes:,}", *terms, f"{share:.0%}", number(each.bytes / 1e6)])
    head = ["nodes", "compute, ms", "theta", "tasks", "sums", "pass", "efficiency", "MB sent"]
    return table(head, rows)


def end(costs: Costs, gigabits: float) -> tuple[int, str]:
    """The number of nodes beyond which a pass takes longer, and the largest other term there."""
    counts = [2**power for power in range(17)]
    times = [simulate(Problem(), Cluster(nodes, gigabits=gigabits), costs) for nodes in counts]
    best = min(range(len(counts)), key=lambda i: times[i].total)
    return counts[best], largest_other(times[best])


def largest_other(each: Pass) -> str:
    """The largest term beside computing."""
    names = {"sending theta": each.theta, "the scheduler": each.tasks, "adding up gradients": each.sums}
    return max(names, key=lambda name: names[name])


def forecast_text(costs: Costs) -> str:
    at, fast = (simulate(Problem(), Cluster(64, gigabits=gigabits), costs) for gigabits in (10.0, 100.0))
    ends = []
    for gigabits in (1.0, 10.0, 100.0):
        nodes, what = end(costs, gigabits)
        ends.append(f"{nodes:,} nodes with {gigabits:g} Gb/s ({what})")
    return DOMINATES.format(
        compute=1e3 * at.compute,
        whole=1e3 * at.total,
        other=1e3 * (at.total - at.compute),
        largest=largest_other(at),
        fast=1e3 * (fast.total - fast.compute),
        fit=40 * at.total / 60,
        size=4e9 * 1000 / 64 / 1e9,
        ends=", ".join(ends),
    )


def page(saved: Json) -> str:
    costs, machine, (n, k, parts) = Costs(**saved["costs"]), saved["machine"], saved["shape"]
    return "\n\n".join(
        [
            HEAD.format(**machine, date=saved["date"]),
            PASSES.format(n=n, k=k, parts=parts, ms=MOST_MS, share=MOST_SHARE),
            passes_table(saved["pass"]),
            FIT.format(rows=saved["fit"]["rows"]),
            fit_table(saved["fit"]),
            FORECAST.format(**saved["costs"]),
            forecast_table(costs),
            forecast_text(costs),
        ]
    )


def main() -> None:
    for path in sorted(records.RESULTS.glob("*/cluster.json")):
        out = Path(path).with_suffix(".md")
        out.write_text(page(records.load(path)) + "\n")
        print(f"wrote {out}")


if __name__ == "__main__":
    main()
