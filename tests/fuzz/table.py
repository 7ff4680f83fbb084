"""The table of targets. A target makes an input from a generator, and checks what comes of it.

Its function gets a generator and an empty folder, and returns whether the input was refused by a named error; anything
wrong is an exception.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Target:
    """A row of the table.

    Attributes
    ----------
    name : str
    where : str
        "module.function" of the folder `targets`, which is imported when it is first needed.
    what : str
    part : float
        Of the time of a run of all targets.
    weight : int
        Inputs that one call makes.
    """

    name: str
    where: str
    what: str
    part: float = 1.0
    weight: int = 1

    @property
    def function(self) -> Callable[[np.random.Generator, Path], bool]:
        module, _, name = self.where.rpartition(".")
        return getattr(importlib.import_module(f"{__package__}.targets.{module}"), name)


_ROWS = (
    Target("objective", "objectives.objective", "values, gradients, Hessian products and Gram matrices of any X", 3),
    Target("sparse", "objectives.sparse", "the same of sparse X, sound and not"),
    Target("csr", "sparse_arrays.check", "arrays of sparse X that contradict each other", 1.5),
    Target("predict", "models.predict", "Model, predict_proba and softmax"),
    Target("arguments", "arguments.arguments", "one argument of a call that is not what it should be"),
    Target("adapters", "adapters.adapters", "frames, Arrow data and DLPack"),
    Target("minimize", "solutions.solve", "solvers: what they say of their result is true", 1.5),
    Target("estimators", "states.estimators", "fit, partial_fit, pickle, clone, set_params in any order", 1.5, 5),
    Target("csv", "tables.csv", "text tables, written in many ways and then damaged", 3),
    Target("svmlight", "tables.svmlight", "sparse text, likewise", 2),
    Target("model", "files.model", "files of models, damaged and hostile", 1.5),
    Target("checkpoint", "files.checkpoint", "files of checkpoints, likewise", 1.5),
    Target("arrays", "files.arrays", ".npy and .npz files, likewise", 1.5),
)
TARGETS = {row.name: row for row in _ROWS}
