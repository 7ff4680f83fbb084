"""The section on sweeps: its features are seeded, its tables say what was cut, its targets judge the worst case."""

import importlib

import numpy as np
import pytest

from fastsoftmax.cli import bench

features, probe, table, targets = (
    importlib.import_module(f"{bench._harness()}.{name}")
    for name in ("sections.sweeps.features", "sections.sweeps.probe", "report.tables.sweeps", "report.targets")
)
RECORD = {
    "case": "60k",
    "shape": "60,000 × 784, 10",
    "seconds": 20.0,
    "early_seconds": 18.0,
    "passes": 400,
    "alone": 8.0,
    "alone_passes": 90,
    "cold": 16.0,
    "cold_each": [10.0, 22.0],
    "cuts": 1,
    "cold_gain": 36.0,
    "warm": 4.0,
    "warm_gain": 9.0,
    "difference": 1e-5,
    "C": 0.1,
    "torch": None,
}
SECTION = {
    "probes": [RECORD, RECORD | {"case": "50k", "cold_gain": 20.0, "cuts": 0, "warm_cuts": 2}],
    "bootstrap": {"fits": 200, "shape": "s", "seconds": 2.0, "passes": 5.0, "alone": 20.0, "timed": 10, "gain": 10.0}
    | {"higher": 1e-7},
    "models": [{"shape": "60,000 × 784, 10", "models": 10, "one": 10.0, "together": 38.0}],
    "imagenet": {"pass": 30.0, "step": 0.1, "passes": 400.0, "threads": 2, "hours": {2: 3.0, 16: 0.5}},
}


def test_features_are_seeded_narrow_and_mapped(tmp_path):
    X, y = features.write_features(tmp_path, 200, 12, 3, 4.0)
    assert isinstance(X, np.memmap) and X.dtype == np.float16 and X.shape == (200, 12) and set(y) == {0, 1, 2}
    before = np.array(X)
    np.testing.assert_array_equal(features.write_features(tmp_path, 200, 12, 3, 4.0)[0], before)
    assert np.isfinite(before).all() and before.std() > 0.1


def test_a_fit_of_scikit_learn_is_cut_or_converges():
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((200, 5)).astype("f4"), rng.integers(3, size=200)
    _, model, whole = probe.fit_within(1e9, X, y, C=1.0)
    assert whole and probe.log_loss_of(model, X, y) == pytest.approx(1.09, abs=0.1)
    assert not probe.fit_within(0.0, X * [1, 10, 100, 1000, 1e4], y, C=1e4)[2]
    assert probe.fit_within(1e9, X, y, C=1.0, start=model)[2]


def test_tables_say_what_was_cut():
    head, rows = table.probe_rows(SECTION)
    assert (
        len(head) == len(rows[0])
        and "≥ 36.00×" in rows[0]
        and "20.00×" in rows[1]
        and "≥ 9.00×" in rows[1]
        and "2.50×" in rows[0]
    )
    assert "1 of 2 cold fits were cut" in table.notes(SECTION) and "PyTorch is not installed" in table.notes(SECTION)
    assert table.model_rows(SECTION)[1][0][-1] == "3.80×"
    assert "10.00×" in table.bootstrap_text(SECTION) and "0.5 hours on 16 cores" in table.imagenet_text(SECTION)


def test_targets_judge_the_worst_case():
    cold, *others = targets.sweeps({"sections": {"sweeps": SECTION}})
    assert cold.met is False and "50k" in cold.measured and len(others) == 5 and all(target.met for target in others)
    assert all(target.met is None for target in targets.sweeps({"sections": {}}))
