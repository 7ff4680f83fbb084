"""Within PyTorch and JAX: a linear layer and its loss, forward and backward, by what they have and by ours."""

from __future__ import annotations

import gc
from dataclasses import replace

from ...harness import roofline
from ...harness.cases import CASES, MAIN_SHAPES
from ...harness.records import Effort, Json, Say
from ...peers import LAYERS
from .. import dense

# Classes by the ten thousand, as of a language model; digits, all at once and a batch, as data and as hidden units.
HEADS = ("16k-classes-f32-dX", "128k-classes-f32-dX")
DIGITS = ("60k-f32", "60k-f32-dX", "batch-f32", "batch-f32-dX")
QUICK = ("quick-digits-f32", "quick-many-f32")
# XLA's own is compared where classes are at most so many.
FEW_CLASSES = 100
# Seconds for the rounds of a case: a pass over a head takes several.
BUDGET = 20.0


def cases(section: str, roof: roofline.Roof, effort: Effort, say: Say) -> list[Json]:
    """Times of all layers of a host, "PyTorch" or "JAX"."""
    if section == "PyTorch":
        names, layers = pytorch(effort.quick), LAYERS["torch"]
    else:
        names, layers = jax(effort.quick), LAYERS["jax"]
    short = replace(effort, budget=min(effort.budget, BUDGET))
    out = []
    for name in names:
        say(f"{section}, {name}")
        out += dense.together([CASES[name]], layers, roof, short)
        gc.collect()
    return out


def pytorch(quick: bool) -> tuple[str, ...]:
    """Heads and digits."""
    return QUICK if quick else HEADS + DIGITS


def jax(quick: bool) -> tuple[str, ...]:
    """The report's cases of few classes."""
    few = tuple(base for base, (_, _, k) in MAIN_SHAPES.items() if k <= FEW_CLASSES)
    return tuple(f"{base}-{dtype}" for base in (("quick-tall",) if quick else few) for dtype in ("f64", "f32"))


def memory(effort: Effort, say: Say) -> list[Json]:
    """Extra memory of PyTorch's ways and of ours, and what of it are the gradients, which all return."""
    records = dense.memory_of(QUICK[:1] if effort.quick else HEADS, LAYERS["torch"], effort, say)
    for record in records:
        case = CASES[record["case"]]
        numbers = case.n * case.k + (case.m * case.n if case.name.endswith("-dX") else 0)
        record["gradients_mb"] = numbers * (8 if case.dtype == "float64" else 4) / 1e6
    return records
