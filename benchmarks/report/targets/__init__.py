"""The targets of kernels, solvers, sparse X, layers and accuracy, judged from the saved results; none is measured."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from ...harness.records import Json
from ...peers import PEERS
from . import accuracy
from .target import Target, at_least, at_most

# Wanted of Cython: its median over the roofline, in float64 and float32.
X_ROOF = {
    "500k": (2.5, 3.0),
    "581k": (2.5, 3.0),
    "60k": (1.6, 1.8),
    "200k": (1.4, 1.6),
    "50k": (1.2, 1.25),
    "20k": (1.25, 1.25),
}


def cases(results: Json, section: str) -> dict[str, Json]:
    """Records of a section by case name; empty where it was not run."""
    return {record["case"]: record for record in results["sections"].get(section, {}).get("cases", [])}


def ms(record: Json | None, peer: str) -> float | None:
    """Median milliseconds of a peer on a case, or None."""
    return None if record is None else record["rivals"].get(peer, {}).get("ms")


def bound_by_memory(record: Json, roof: Json) -> bool:
    """Whether reading X takes longer than the arithmetic, by the limits measured in the same run."""
    rate: float = roof["gflops"]["float64" if record["dtype"] == "float64" else "float32"]
    return bool(record["intensity"] * roof["gbytes"] < rate)


def best_peer(record: Json) -> tuple[str, float] | None:
    """The fastest peer that is not ours, and its time."""
    times = {name: row["ms"] for name, row in record["rivals"].items() if "ms" in row and not PEERS[name].ours}
    return min(times.items(), key=lambda item: item[1]) if times else None


def ratio(top: float | None, bottom: float | None) -> float | None:
    return None if top is None or not bottom else top / bottom


def _extreme(ratios: dict[str, float | None], pick: Any = max) -> tuple[float | None, str]:
    """The worst of some ratios and the case it belongs to."""
    known = {name: value for name, value in ratios.items() if value is not None}
    if not known:
        return None, ""
    name = pick(known, key=lambda key: known[key])
    return known[name], name


def _mean(ratios: list[float]) -> float | None:
    """Geometric mean."""
    return math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else None


def against_roof(results: Json) -> Iterator[Target]:
    main = cases(results, "main")
    for base, limits in X_ROOF.items():
        for dtype, limit in zip(("f64", "f32"), limits, strict=True):
            record = main.get(f"{base}-{dtype}")
            value = ratio(ms(record, "cython"), record["roof_ms"]) if record else None
            name = f"{base}-{dtype}"
            yield at_most(f"Cython over roofline, {name}", limit, value, profile=((name, "cython"),))


def against_peers(results: Json) -> Iterator[Target]:
    main = cases(results, "main")
    value, case = _extreme({name: ratio(ms(r, "numba"), ms(r, "cython")) for name, r in main.items()})
    sides = ((case, "numba"), (case, "cython"))
    yield at_most("Numba over Cython, worst case", 1.35, value, note=case, profile=sides)
    gains = gains_over_peers(results)
    known = [gain for gain in gains.values() if gain]
    yield at_least("Fastest peer over Cython, geometric mean", 2.6, _mean(known), note=f"{len(known)} cases")
    value, case = _extreme(gains, min)
    yield at_least("Fastest peer over Cython, worst case", 1.1, value, note=case, profile=((case, "cython"),))


def gains_over_peers(results: Json) -> dict[str, float | None]:
    """By case, the fastest peer's time over that of Cython."""
    gains: dict[str, float | None] = {}
    for name, record in cases(results, "main").items():
        peer = best_peer(record)
        gains[name] = ratio(peer[1] if peer else None, ms(record, "cython"))
    return gains


def mean_over_roof(results: Json, backend: str) -> float | None:
    """Geometric mean of a backend's times over the roofline."""
    records = cases(results, "main").values()
    return _mean([r for r in (ratio(ms(record, backend), record["roof_ms"]) for record in records) if r])


def mean_over_peers(results: Json) -> float | None:
    """Geometric mean of the fastest peers' times over those of Cython."""
    return _mean([gain for gain in gains_over_peers(results).values() if gain])


def layouts(results: Json) -> Iterator[Target]:
    order = cases(results, "F-order")
    for backend in ("cython", "numba"):
        ratios = {
            name: ratio(ms(record, backend), ms(order.get(name.removesuffix("-F")), backend))
            for name, record in order.items()
            if name.endswith("-F")
        }
        value, case = _extreme(ratios)
        sides = ((case, backend), (case.removesuffix("-F"), backend))
        yield at_most(f"F-order over C-order, {backend}, worst case", 1.1, value, note=case, profile=sides)
    narrow, roof = cases(results, "narrow"), results["sections"].get("narrow", {}).get("roof", {})
    for backend in ("cython", "numba"):
        ratios = {}
        for name, record in narrow.items():
            single = narrow.get(name.replace("-u8", "-f32"))
            if name.endswith("-u8") and single and bound_by_memory(single, roof):
                ratios[name] = ratio(ms(record, backend), ms(single, backend))
        value, case = _extreme(ratios)
        text = f"uint8 over float32, {backend}, worst case bound by memory"
        sides = ((case, backend), (case.replace("-u8", "-f32"), backend))
        yield at_most(text, 1.0, value, note=case, profile=sides)


def straightness(points: list[Json], peer: str) -> float | None:
    """p of the best fit cost ~ m^p (least squares in logarithms); 1 is a straight line through the origin."""
    pairs = [(math.log(p["m"]), math.log(p["ms"][peer])) for p in points if peer in p["ms"]]
    if len(pairs) < 3:
        return None
    x_mean = sum(x for x, _ in pairs) / len(pairs)
    y_mean = sum(y for _, y in pairs) / len(pairs)
    return sum((x - x_mean) * (y - y_mean) for x, y in pairs) / sum((x - x_mean) ** 2 for x, _ in pairs)


def growth(results: Json) -> Iterator[Target]:
    points = results["sections"].get("line", {}).get("line", {}).get("points", [])
    for backend in ("cython", "numba"):
        value = straightness(points, backend)
        text = f"Cost grows as m^p, |p − 1|, {backend}"
        note = "" if value is None else f"p = {value:.3f}"
        yield at_most(text, 0.05, None if value is None else abs(value - 1), unit="", note=note)


def memory_use(results: Json) -> Iterator[Target]:
    records = {r["case"]: r["rivals"] for r in results["sections"].get("memory", {}).get("memory", [])}

    def extra(case: str, peer: str) -> float | None:
        value = records.get(case, {}).get(peer, {}).get("extra_mb")
        return None if value is None else float(value)

    for backend in ("cython", "numba"):
        yield at_most(f"Extra memory of a pass over 10⁷ rows, {backend}", 100, extra("line-f32", backend), unit="MB")
    dx = "16k-classes-f32-dX"
    speed = ratio(*(ms(cases(results, "many classes").get(dx), name) for name in ("torch_eager", "cython")))
    yield at_least("16,000 classes with dX: PyTorch eager over Cython", 1.3, speed)
    share = ratio(extra(dx, "cython"), extra(dx, "torch_eager"))
    yield at_most("16,000 classes with dX: extra memory over PyTorch eager's", 0.2, share)


def numba_start(results: Json) -> Iterator[Target]:
    calls = results["sections"].get("first call", {}).get("calls", [])
    for cache, limit in (("empty", 10.0), ("full", 1.0)):
        seconds = [call["seconds"] for call in calls if call["cache"] == cache and "seconds" in call]
        yield at_most(f"First Numba call, cache {cache}", limit, max(seconds, default=None), unit="s")


def solver_gain(record: Json) -> tuple[float | None, bool]:
    """Time of the fastest of scikit-learn's solvers over ours, both to the gap; and whether any of them got there.

    If none did, the time they got stands in for it, and the ratio is a lower bound.
    """
    times = [row["seconds"] for row in record["peers"].values() if "seconds" in row]
    fastest = min(times) if times else record["limit"]
    return ratio(fastest, record["ours"].get("seconds")), bool(times)


def solver_runs(results: Json) -> Iterator[Target]:
    section = results["sections"].get("solvers", {})
    records = section.get("solvers", [])
    gaps: dict[str, float | None] = {f"{r['set']}, l2 = {r['l2']:.0e}": r["ours"]["final_gap"] for r in records}
    gap, name = _extreme(gaps)
    yield at_most("Relative gap with default settings, worst set", 1e-6, gap, unit="", note=name)
    passes = sorted(r["ours"].get("passes", math.inf) for r in records)
    median = (passes[(len(passes) - 1) // 2] + passes[len(passes) // 2]) / 2 if passes else None
    yield at_most("Passes to a gap of 1e-6, median of the sets", 80, median, unit="", note=f"{len(passes)} runs")
    found = {f"{r['set']}, l2 = {r['l2']:.0e}": solver_gain(r) for r in records if r["peers"]}
    known = [gain for gain, _ in found.values() if gain]
    never = sum(not reached for _, reached in found.values())
    note = f"{len(known)} runs; in {never} no peer arrived, which count with the time it got"
    yield at_least("Fastest solver of scikit-learn over ours, geometric mean", 6, _mean(known), note=note)
    reached = [gain for gain, arrived in found.values() if gain and arrived]
    text = "The same, of those where one arrived"
    yield at_least(text, 6, _mean(reached), note=f"{len(reached)} runs")
    worst, name = _extreme({name: gain for name, (gain, _) in found.items()}, min)
    yield at_least("Fastest solver of scikit-learn over ours, worst set", 1, worst, note=name)
    gains = {
        r["set"]: ratio(r["arrived"] or r["saga"][-1]["seconds"], r["ours"].get("seconds"))
        for r in section.get("l1", [])
    }
    worst, name = _extreme(gains, min)
    yield at_least("l1: saga over ours, worst set", 10, worst, note=name)
    path = section.get("path", {})
    yield at_most("A path of 10 l2 over its hardest fit alone", 3, ratio(path.get("seconds"), path.get("alone")))


def beyond_gradients(record: Json, peer: str) -> float | None:
    """MB of a pass over sparse X beside the gradients of the plan's slabs and the result."""
    extra = record["rivals"].get(peer, {}).get("extra_mb")
    return None if extra is None else max(0.0, extra - record["gradients_mb"] - record["result_mb"])


def fit_gain(fit: Json | None) -> float | None:
    """Time of scikit-learn's fit over that of ours that ends no worse; a lower bound where theirs was cut short."""
    if not fit or "seconds" not in fit["peer"]:
        return None
    peer, own = fit["peer"], fit["runs"][-1]
    as_good = own["value"] <= peer["value"] and own["gradient"] <= peer.get("gradient", 1e-4)
    return ratio(peer["seconds"], own["seconds"]) if as_good else None


def sparse_x(results: Json) -> Iterator[Target]:
    records = cases(results, "sparse")
    for name in ("sparse-text-f64", "sparse-text-f32"):
        record = records.get(name)
        yield at_least(f"scikit-learn over Cython, {name}", 4, ratio(ms(record, "sklearn_loss"), ms(record, "cython")))
    gains = {
        name: ratio(ms(record, "sklearn_loss"), ms(record, "cython"))
        for name, record in records.items()
        if "text" not in name
    }
    value, case = _extreme(gains, min)
    yield at_least("scikit-learn over Cython, worst of the other sparse cases", 3, value, note=case)
    value, case = _extreme({name: ratio(ms(r, "numba"), ms(r, "cython")) for name, r in records.items()})
    yield at_most("Numba over Cython, worst sparse case", 1.35, value, note=case)
    section = results["sections"].get("sparse", {})
    for backend in ("cython", "numba"):
        extra = {r["case"]: beyond_gradients(r, backend) for r in section.get("memory", [])}
        value, case = _extreme(extra)
        text = f"Extra memory of a sparse pass beyond its gradients, {backend}, worst case"
        yield at_most(text, 50, value, unit="MB", note=case)
    gain = fit_gain(section.get("fit"))
    yield at_least("Fit of sparse-text-f64: scikit-learn's lbfgs over ours, ending no worse", 4, gain)


def drop_in_gain(record: Json) -> float | None:
    """Time of scikit-learn's program over the accelerated one; None where the latter ends at a higher objective, beyond
    1e-6 of it. Where cross-validation chose another C the objectives are of different problems, and do not count."""
    before, after = record["before"], record["after"]
    if before["C"] == after["C"] and after["value"] > before["value"] * (1.0 + 1e-6):
        return None
    return ratio(before["seconds"], after["seconds"])


def drop_in(results: Json) -> Iterator[Target]:
    records = results["sections"].get("drop-in", {}).get("programs", [])
    gains = {record["program"]: drop_in_gain(record) for record in records}
    known = [gain for gain in gains.values() if gain]
    note = f"{len(known)} of {len(gains)} programs, the others at a higher objective" if len(known) < len(gains) else ""
    yield at_least("scikit-learn's programs over the same, accelerated, geometric mean", 8, _mean(known), note=note)
    worst, name = _extreme(gains, min)
    yield at_least("scikit-learn's programs over the same, accelerated, worst", 1.3, worst, note=name)


def pass_share(record: Json | None) -> float | None:
    """Time of a pass over the larger of reading and computing alone."""
    return None if record is None else ratio(record["pass"], max(record["read"], record["compute"]))


def larger_than_memory(results: Json) -> Iterator[Target]:
    kinds = results["sections"].get("larger than memory", {}).get("kinds", [])
    records = {record["kind"]: record for record in kinds}
    mapped, parquet, cached = (records.get(kind) for kind in ("memmap", "parquet", "cache"))
    private = None if mapped is None else mapped["private_mb"]
    yield at_most("Private memory of passes over a mapped file larger than memory", 600, private, unit="MB")
    yield at_most("A pass over it, over the larger of reading and computing", 1.3, pass_share(mapped))
    yield at_most("A pass over Parquet, over the larger of decoding and computing", 1.2, pass_share(parquet))
    rates = [None if record is None else record["rows"] / record["pass"] for record in (mapped, cached)]
    yield at_least(
        "Rows a second from the decoded copy of Parquet over those of a mapped file", 0.9, ratio(*rates[::-1])
    )


def sweeps(results: Json) -> Iterator[Target]:
    section = results["sections"].get("sweeps", {})
    probes = {record["case"]: record for record in section.get("probes", [])}
    for text, key, limit in (
        ("A sweep: scikit-learn's lbfgs, cold, over ours, worst case", "cold_gain", 30),
        ("A sweep: scikit-learn's lbfgs, warm-started, over ours, worst case", "warm_gain", 8),
    ):
        worst, name = _extreme({case: record.get(key) for case, record in probes.items()}, min)
        yield at_least(text, limit, worst, note=name)
    worst, name = _extreme({case: ratio(record["seconds"], record["alone"]) for case, record in probes.items()})
    yield at_most("A sweep over its hardest fit alone, worst case", 3.5, worst, note=name)
    shares = [record["together"] / record["one"] for record in section.get("models", [])]
    yield at_most("Ten models of 60k × 784, k = 10, in one pass over one", 4, shares[0] if shares else None)
    each = [share / record["models"] for share, record in zip(shares, section.get("models", []), strict=True)]
    yield at_most("Several models in one pass over as many passes, worst case", 1, max(each, default=None))
    gain = section.get("bootstrap", {}).get("gain")
    yield at_least("Bootstrap fits one by one over those together", 6, gain)


def layer_gain(record: Json) -> float | None:
    """Time of the host's fastest way over ours."""
    own = next((row["ms"] for name, row in record["rivals"].items() if PEERS[name].ours and "ms" in row), None)
    peer = best_peer(record)
    return ratio(peer[1] if peer else None, own)


def layer_memory(record: Json, timed: Json) -> float | None:
    """Our extra memory beyond the gradients over that of the host's fastest way, which ``timed`` tells."""
    peer, rivals = best_peer(timed), record["rivals"]
    own = next((row.get("extra_mb") for name, row in rivals.items() if PEERS[name].ours), None)
    theirs = rivals.get(peer[0], {}).get("extra_mb") if peer else None
    if own is None or theirs is None:
        return None
    return ratio(own - record["gradients_mb"], theirs - record["gradients_mb"])


# Wanted of layers in PyTorch: the fastest of its ways over ours.
LAYER_GAINS = {"16k-classes-f32-dX": 1.5, "128k-classes-f32-dX": 1.5, "60k-f32": 3.0}


def layers(results: Json) -> Iterator[Target]:
    timed = cases(results, "PyTorch")
    for name, limit in LAYER_GAINS.items():
        gain = layer_gain(timed[name]) if name in timed else None
        yield at_least(f"PyTorch's fastest layer and loss over ours, {name}", limit, gain)
    memory = {r["case"]: r for r in results["sections"].get("PyTorch memory", {}).get("memory", [])}
    shares = {name: layer_memory(r, timed[name]) for name, r in memory.items() if name in timed}
    value, case = _extreme(shares)
    text = "Extra memory of a head in PyTorch beyond its gradients, ours over that of its fastest way"
    yield at_most(text, 0.2, value, note=case)
    value, case = _extreme({name: layer_gain(r) for name, r in cases(results, "JAX").items()}, min)
    yield at_least("XLA's own layer and loss over ours, worst case", 2, value, note=case)


def judge(results: Json) -> list[Target]:
    """All targets, judged."""
    parts = (against_roof, against_peers, layouts, growth, memory_use, numba_start, solver_runs, sparse_x)
    parts += (drop_in, larger_than_memory, sweeps, layers, accuracy.targets)
    return [target for part in parts for target in part(results)]
