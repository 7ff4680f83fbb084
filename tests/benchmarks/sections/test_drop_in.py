"""The section on programs that know only scikit-learn: its arithmetic, and that programs run as they are written."""

import importlib

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.metrics import log_loss
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastsoftmax.cli import bench

drop_in, table, targets = (
    importlib.import_module(f"{bench._harness()}.{name}")
    for name in ("sections.drop_in", "report.tables.drop_in", "report.targets")
)


def run(seconds, value=1.0, C=1.0):
    return {"seconds": seconds, "value": value, "C": C}


def record(before, after, program="p"):
    return {"program": program, "shape": "10 × 2, 3", "rounds": 3, "before": before, "after": after}


@pytest.mark.parametrize("classes", [2, 3])
def test_the_objective_is_that_of_the_final_model(classes):
    X, y = load_iris(return_X_y=True)
    X, y = X[y < classes], y[y < classes]
    model = LogisticRegression(C=0.5, max_iter=1000).fit(X, y)
    value, C = drop_in.objective(model, X, y)
    assert C == 0.5
    # Of two classes scikit-learn has one row of coefficients, whose square it penalises as it is.
    wanted = log_loss(y, model.predict_proba(X)) + (model.coef_**2).sum() / (2 * 0.5 * len(y))
    assert abs(value - wanted) < 1e-12


def test_the_objective_of_a_pipeline_is_on_what_its_last_step_gets():
    X, y = load_iris(return_X_y=True)
    Z = StandardScaler().fit_transform(X)
    alone = drop_in.objective(LogisticRegression(max_iter=1000).fit(Z, y), Z, y)
    piped = drop_in.objective(make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(X, y), X, y)
    np.testing.assert_allclose(piped, alone, rtol=1e-9)


def test_the_objective_of_cross_validation_is_that_of_the_chosen_c():
    X, y = load_iris(return_X_y=True)
    model = LogisticRegressionCV(
        Cs=[0.1, 1.0], cv=3, max_iter=1000, l1_ratios=(0.0,), use_legacy_attributes=True, scoring="neg_log_loss"
    ).fit(X, y)
    assert drop_in.objective(model, X, y)[1] == model.C_[0]


def test_a_gain_counts_only_at_the_same_or_a_lower_objective():
    assert targets.drop_in_gain(record(run(8.0), run(1.0))) == 8.0
    assert targets.drop_in_gain(record(run(8.0), run(1.0, 0.9))) == 8.0
    assert targets.drop_in_gain(record(run(8.0), run(1.0, 1.00001))) is None
    assert targets.drop_in_gain(record(run(8.0), run(1.0, 1.1, C=2.0))) == 8.0  # another C is another problem


def test_targets_name_the_worst_program():
    records = [record(run(32.0), run(1.0), "a"), record(run(4.0), run(1.0), "b")]
    mean, worst = targets.drop_in({"sections": {"drop-in": {"programs": records}}})
    assert mean.met and mean.measured == "11.31×"
    assert worst.met and worst.measured == "4.00× (b)"
    mean, _ = targets.drop_in({"sections": {}})
    assert mean.met is None


def test_the_table_has_a_row_for_each_program():
    head, rows = table.rows({"programs": [record(run(8.0), run(1.0, 0.5)), record(run(1.0), run(1.0, C=3.0))]})
    assert rows[0] == ["p", "10 × 2, 3", "8 s", "1 s", "8.00×", "1.00000000", "-5.0e-01"]
    assert rows[1][-1] == "+0.0e+00 (C = 3, not 1)" and len(head) == len(rows[1])


def test_a_program_warms_up_on_rows_of_every_class():
    X, y = drop_in.PROGRAMS["digits"].make()
    few = drop_in.few_rows(X, y)
    assert len(few[0]) == 10 * drop_in.FEW and set(few[1]) == set(y)


@pytest.mark.parametrize("variant", ["before", "after"])
def test_a_program_runs_in_a_process_of_its_own(variant):
    found = drop_in.play_apart("iris", variant)
    assert found["seconds"] > 0 and found["C"] == 1.0
    assert 0.19 < found["value"] < 0.1926
