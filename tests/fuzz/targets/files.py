"""Files of models, checkpoints and arrays: damaged and hostile ones are refused by a sentence with their name."""

from __future__ import annotations

import functools
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import fastsoftmax
from fastsoftmax import Checkpoint, Model, Objective, minimize
from fastsoftmax.data import files as data_files
from fastsoftmax.model.file import ARRAYS
from fastsoftmax.probe.checkpoint import Checkpoint as SweepCheckpoint
from fastsoftmax.solvers.checkpoint.file import read

from .. import damage, draw
from ..verdict import Outcome, outcome, require

Rng = np.random.Generator


def _loaded(call: Callable[[], Any], name: str) -> Outcome:
    """The outcome of a call that reads a file, whose name an error must have. No code of the file may run."""
    fastsoftmax.exploded = False
    found = outcome(call, (name,), (ValueError, FileNotFoundError))
    require(not fastsoftmax.exploded, "a pickle was opened")
    return found


# ------------------------------------------------------------------------------------------ models


def model(rng: Rng, folder: Path) -> bool:
    k, n = int(rng.integers(2, 5)), int(rng.integers(1, 5))
    classes = draw.one_of(rng, (np.arange(k), np.array(list("abcd")[:k]), np.arange(k) / 2, None))
    names = None if rng.random() < 0.5 else [f"x{j}" for j in range(n)]
    theta = rng.standard_normal((n, k)).astype(draw.one_of(rng, ("f4", "f8")))
    made = Model(theta, theta[0] if rng.random() < 0.5 else None, classes, names, {"a": "b"})
    path = folder / f"model{draw.one_of(rng, ('.npz', '.npz', '.safetensors'))}"
    made.save(path)
    data = path.read_bytes()
    changed = _hostile_model(rng, data) if path.suffix == ".npz" and rng.random() < 0.6 else None
    path.write_bytes(damage.changed_bytes(rng, data) if changed is None else changed)
    found = _loaded(lambda: Model.load(path), path.name)
    if found.refused:
        return True
    got = found.answer
    require(isinstance(got, Model) and np.isfinite(got.theta).all(), "a model that is not finite")
    require(got.classes.shape == (got.n_classes,), f"classes of shape {got.classes.shape}")
    require(all(isinstance(name, str) for name in got.feature_names or ()), "names that are no text")
    got.predict_proba(np.zeros((2, got.n_features)))
    got.predict(np.zeros((2, got.n_features)))
    if changed is None:  # SHA-256 shows any damage
        require(
            np.array_equal(got.theta, made.theta) and got.classes.tolist() == made.classes.tolist(), "other numbers"
        )
        require(got.feature_names == made.feature_names and got.metadata == made.metadata, "other texts")
    return False


def _hostile_model(rng: Rng, data: bytes) -> bytes:
    """A file that somebody made, its checksums right."""
    parts = damage.members(damage.changed_npz(rng, data, json_member="header.npy"))
    if rng.random() < 0.8:
        try:
            texts = np.load(io.BytesIO(parts["header.npy"])).tobytes()
            arrays = {a: np.load(io.BytesIO(parts[f"{a}.npy"])) for a in ARRAYS if f"{a}.npy" in parts}
            digest = hashlib.sha256(texts)
            for name, array in arrays.items():
                digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
                digest.update(np.ascontiguousarray(array).data)
            parts["checksum.npy"] = damage.npy(np.frombuffer(digest.hexdigest().encode(), np.uint8))
        except Exception:  # what is no array has no checksum
            return damage.zipped(rng, parts)
    return damage.zipped(rng, parts)


# ------------------------------------------------------------------------------------- checkpoints


@functools.cache
def _runs() -> list[tuple[Objective, dict[str, Any], bytes, Any]]:
    """Interrupted runs: the objective, options, the checkpoint's bytes, and the result of the whole run."""
    import tempfile

    out = []
    rng = np.random.default_rng(0)
    for solver, l1, most in (("lbfgs", 0.0, None), ("newton", 0.0, None), ("auto", 0.01, None), ("sgd", 0.0, None),
                             ("lbfgs", 0.0, 1000)):  # fmt: skip
        X = rng.standard_normal((60, 3))
        obj = Objective(X, (X[:, 0] > rng.standard_normal(60)).astype(int), fit_intercept=True, l2=0.01, n_threads=1)
        options = {"solver": solver, "l1": l1, "tol": 1e-8}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "run.npz")
            minimize(obj, **options, max_iter=3, checkpoint=Checkpoint(path, passes=1, most_bytes=most or 1 << 30))
            out.append((obj, options, path.read_bytes(), minimize(obj, **options, max_iter=50)))
    return out


def checkpoint(rng: Rng, folder: Path) -> bool:
    if rng.random() < 0.15:
        return _sweep(rng, folder)
    obj, options, data, whole = draw.one_of(rng, _runs())
    path = folder / "run.npz"
    hostile = rng.random() < 0.6
    changed = damage.changed_npz(rng, data, json_member="header.npy") if hostile else damage.changed_bytes(rng, data)
    path.write_bytes(changed)
    if rng.random() < 0.5:
        return _loaded(lambda: read(path), path.name).refused
    options = options | {"max_iter": 50, "checkpoint": Checkpoint(path, resume=True)}
    found = _loaded(lambda: minimize(obj, **options), path.name)
    if found.refused:
        return True
    result = found.answer
    require(np.isfinite(result.theta).all(), "theta is not finite")
    if not hostile:
        require(np.array_equal(result.theta, whole.theta), "a damaged file led to another result")
    if result.converged and options["l1"] == 0:
        value = obj.value(result.theta)
        require(
            abs(result.value - value) <= 1e-12 * value, f"the value is said to be {result.value!r}, it is {value!r}"
        )
        require(value <= whole.value * (1 + 1e-6), f"converged at {value!r}, the least value is {whole.value!r}")
    return False


def _sweep(rng: Rng, folder: Path) -> bool:
    """A value of a sweep of `LinearProbe`, and the file that says what is swept."""
    place = folder / "sweep"
    for file in place.glob("*") if place.exists() else ():
        file.unlink()
    kept = SweepCheckpoint(place, "digest")
    kept.save(0, {"l2": 0.1, "values": [1, 2]}, np.ones((2, 3, 2)))
    file = place / draw.one_of(rng, ("sweep.json", "value-000.npz"))
    data = file.read_bytes()
    if file.suffix == ".json":
        changed = damage.changed_text(rng, json.loads(data)) if rng.random() < 0.6 else damage.changed_bytes(rng, data)
    else:
        hostile = rng.random() < 0.6
        changed = damage.changed_npz(rng, data, json_member="facts.npy") if hostile else damage.changed_bytes(rng, data)
    file.write_bytes(changed)
    return _loaded(lambda: SweepCheckpoint(place, "digest").load(0), "sweep").refused


# ------------------------------------------------------------------------------------------ arrays


def arrays(rng: Rng, folder: Path) -> bool:
    m, n = int(rng.integers(1, 9)), int(rng.integers(1, 5))
    X = draw.numbers(rng, (m, n + 1), draw.one_of(rng, draw.DTYPES))
    X = np.asfortranarray(X) if rng.random() < 0.3 else X
    path = folder / draw.one_of(rng, ("d.npy", "d.npz", "d.npz"))
    if path.suffix == ".npy":
        data = damage.npy(X)
        changed = damage.changed_npy(rng, data)
    else:
        y = draw.one_of(rng, (np.arange(m), np.array(list("abcdefgh")[:m]), X[:, 0], np.arange(m)[:, None]))
        out = io.BytesIO()
        np.savez(out, X=X, y=y)
        data = out.getvalue()
        changed = damage.changed_npz(rng, data)
    if rng.random() < 0.4:
        changed = damage.changed_bytes(rng, data)
    path.write_bytes(changed if rng.random() < 0.9 else data)
    fill = draw.one_of(rng, (None, None, 0.0))
    if rng.random() < 0.5:
        found = _loaded(lambda: data_files.read(path, fill=fill), path.name)
    else:
        names = draw.one_of(rng, (None, [str(j) for j in range(n)], ["a"] * n))
        found = _loaded(lambda: data_files.read_features(path, names, n, fill=fill), path.name)
    if not found.refused:
        got = found.answer
        require(np.isfinite(got.X).all() and got.X.shape[1] == len(got.feature_names), "X is not sound")
        require(got.y is None or got.y.shape == got.X.shape[:1], "y is not sound")
        require(got.y is None or got.y.dtype.kind in "biuU", "labels are neither numbers nor text")
    return found.refused
