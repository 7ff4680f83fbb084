"""Within PyTorch and JAX: a linear layer and its loss, forward and backward, by what they have and by ours."""

from __future__ import annotations

import gc

from ...harness import roofline
from ...harness.cases import CASES, MAIN_SHAPES
from ...harness.records import Effort, Json, Say
from ...peers import LAYERS
from .. import dense
from . import training

# Classes by the ten thousand, as of a language model; digits, all at once and a batch, as data and as hidden units.
HEADS = ("16k-classes-f32-dX", "128k-classes-f32-dX")
DIGITS = ("60k-f32", "60k-f32-dX", "batch-f32", "batch-f32-dX")
# XLA's own is compared where classes are at most so many.
FEW_CLASSES = 100


def cases(names: list[str], host: str, roof: roofline.Roof, effort: Effort, say: Say) -> list[Json]:
    """Times of all layers of a host on these cases."""
    out = []
    for name in names:
        say(f"{host}, {name}")
        out += dense.together([CASES[name]], LAYERS[host], roof, effort)
        gc.collect()
    return out


def pytorch(roof: roofline.Roof, effort: Effort, say: Say) -> Json:
    """Layers, their extra memory, and whole training steps."""
    names = ["quick-digits-f32", "quick-many-f32"] if effort.quick else [*HEADS, *DIGITS]
    found: Json = {"cases": cases(names, "torch", roof, effort, say)}
    found["memory"] = dense.memory_of(names[:2], LAYERS["torch"], effort, say)
    found["steps"] = training.run(effort, say)
    return found


def jax(roof: roofline.Roof, effort: Effort, say: Say) -> list[Json]:
    bases = (
        ("quick-tall", "quick-digits") if effort.quick else [b for b, s in MAIN_SHAPES.items() if s[2] <= FEW_CLASSES]
    )
    return cases([f"{base}-{dtype}" for base in bases for dtype in ("f64", "f32")], "jax", roof, effort, say)
