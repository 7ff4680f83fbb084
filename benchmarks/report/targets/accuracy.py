"""What is wanted of exp, of the value in float64 and of the gradient in float32."""

from __future__ import annotations

from collections.abc import Iterator

from ...harness.records import Json
from .target import Target, at_most

EPS = 2.0**-52
WINGS = ("cython", "numba")
TALL = 4_000_000


def targets(results: Json) -> Iterator[Target]:
    """All of them."""
    section = results["sections"].get("accuracy", {})
    for dtype in ("float32", "float64"):
        found = [r for r in section.get("functions", []) if (r["function"], r["dtype"]) == ("exp", dtype)]
        ours = {name: e["ulp"] for r in found for name, e in r["errors"].items() if name != "NumPy"}
        yield at_most(f"exp in {dtype}, worst of the wings", 1, max(ours.values(), default=None), unit="ulp")
    passes = section.get("passes", [])
    for wing in WINGS:
        known = [r for r in passes if wing in r["rivals"] and "grad" in r["rivals"][wing]]
        values = {r["case"]: r["rivals"][wing]["value"] / EPS for r in known if r["dtype"] == "float64"}
        worst = max(values, key=lambda case: values[case], default="")
        yield at_most(f"Value in float64, {wing}, worst case", 4, values.get(worst), unit="eps", note=worst)
        tall = [r for r in known if r["dtype"] == "float32" and r["series"] == "rows" and r["m"] == TALL]
        grads = [r["rivals"][wing]["grad"] for r in tall]
        yield at_most(f"Gradient in float32 at 4·10⁶ rows, {wing}", 3e-7, max(grads, default=None), unit="")
