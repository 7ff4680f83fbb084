"""The script that finds a machine's constants."""

import importlib
from dataclasses import fields

import numpy as np
import pytest

from fastsoftmax.cli import bench
from fastsoftmax.kernels.tuning import TABLE, ZEN4, Tuning, WingTuning

tune, cases = (importlib.import_module(f"{bench._harness()}.{name}") for name in ("tune", "harness.cases"))
# What is no matter of speed alone: names, what a wing can do, and the size that goes with `crowded_tiles`.
NOT_TRIED = {"name", "wings", "stages_rows", "crowded_bytes"}


def test_every_constant_is_tried():
    names = {field.name for kind in (Tuning, WingTuning) for field in fields(kind)}
    assert set(tune.SHARED) | set(tune.OF_A_WING) == names - NOT_TRIED


@pytest.mark.parametrize("name", [*tune.SHARED, *tune.OF_A_WING])
def test_the_cases_of_a_constant_exist(name):
    values, patterns = (tune.SHARED | tune.OF_A_WING)[name]
    assert len(set(values)) > 1 and cases.select(patterns.split())


@pytest.mark.parametrize("name", TABLE)
def test_a_row_is_printed_as_code(name):
    row = eval(tune.as_code(TABLE[name]), {"Tuning": Tuning, "WingTuning": WingTuning})
    assert tune.as_code(row) == tune.as_code(TABLE[name]) and row.name == name


def test_a_value_is_that_of_one_wing():
    row = tune.with_value(ZEN4, "least_lanes", 8, "cython")
    assert (row.wings["cython"].least_lanes, row.wings["numba"].least_lanes) == (8, 4)
    assert tune.with_value(ZEN4, "block_max", 64).block_max == 64


def test_the_faster_value_is_taken(monkeypatch, capsys):
    speed = {64: 3.0, 96: 1.0, 128: 2.0, 192: 1.99}
    monkeypatch.setattr(tune, "timed", lambda case, rows, *rest: [speed[row.block_max] for row in rows])
    row = tune.tune(ZEN4, ["cython"], ["block_max"], quick=True)
    assert row.block_max == 96
    assert "block_max: 128 1.000, 64 1.500, 96 0.500, 192 0.995" in capsys.readouterr().out


@pytest.mark.parametrize("wing", ["cython", "numba"])
def test_a_constant_without_effect_is_not_tried(monkeypatch, capsys, wing):
    monkeypatch.setattr(tune, "timed", lambda case, rows, *rest: [1.0] * len(rows))
    tune.tune(ZEN4, [wing], list(tune.OF_A_WING), quick=True)
    tried = {line.split(":")[0] for line in capsys.readouterr().out.splitlines()}
    without = {"cython": set(), "numba": {"least_lanes", "crowded_tiles", "packing_share"}}[wing]
    assert tried == {f"{wing}.{name}" for name in set(tune.OF_A_WING) - without}


def test_the_table_is_as_before_afterwards(monkeypatch):
    before = dict(TABLE)
    (case,) = cases.select(["quick-digits-f32"])
    rows = [ZEN4, tune.with_value(ZEN4, "block_max", 64)]
    times = tune.timed(case, rows, "numpy", rounds=1)
    assert np.all(np.array(times) > 0) and before == TABLE
