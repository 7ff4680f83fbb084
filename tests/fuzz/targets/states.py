"""`SoftmaxRegression` in any order of calls: a state machine of Hypothesis."""

from __future__ import annotations

import copy
import pickle
import warnings
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from fastsoftmax import SoftmaxRegression

from ..verdict import outcome, require

PARAMETERS: dict[str, Any] = {
    "l2": (0.0, 1e-4, 1.0),
    "l1": (0.0, 0.1),
    "fit_intercept": (True, False),
    "solver": ("auto", "lbfgs", "newton", "newton_cg", "sgd"),
    "max_iter": (1, 30),
    "warm_start": (True, False),
    "class_weight": (None, "balanced", {0: 2.0}),
    "backend": ("auto", "numpy"),
    "precision": ("exact", "bfloat16"),
}
WORDS = ("classes", "class_weight", "warm_start", "solver", "l1", "features", "feature_names", "y", "X", "partial_fit")


def _sample(seed: int, n: int, k: int, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    m = int(rng.integers(k, 40))
    X = rng.standard_normal((m, n)).astype(dtype)
    return X, np.r_[np.arange(k), rng.integers(k, size=m - k)]


SAMPLES = st.builds(_sample, st.integers(0, 99), *map(st.sampled_from, ([2, 3], [2, 3], ["f4", "f8"])))


class Estimator(RuleBasedStateMachine):
    """Whatever was called before: a call is refused by name and leaves the predictions, or predictions are sound."""

    @initialize()
    def begin(self) -> None:
        self.estimator, self.n, self.rows = SoftmaxRegression(n_threads=1), 0, np.zeros((0, 0))

    @rule(name=st.sampled_from(list(PARAMETERS)), data=st.data())
    def set_params(self, name: str, data: Any) -> None:
        before = self._predictions()
        self.estimator.set_params(**{name: data.draw(st.sampled_from(PARAMETERS[name]))})
        if name != "backend" and before is not None:
            np.testing.assert_array_equal(self._predictions(), before)

    @rule(sample=SAMPLES, weighted=st.booleans())
    def fit(self, sample: Any, weighted: bool) -> None:
        w = np.arange(1.0, len(sample[0]) + 1) if weighted else None
        self._learn(lambda: self.estimator.fit(*sample, w), sample)

    @rule(sample=SAMPLES, classes=st.sampled_from([None, [0, 1], [0, 1, 2]]))
    def partial_fit(self, sample: Any, classes: Any) -> None:
        self._learn(lambda: self.estimator.partial_fit(*sample, classes), sample)

    def _learn(self, call: Any, sample: Any) -> None:
        before = self._predictions()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            found = outcome(call, WORDS, (ValueError, TypeError))
        if not found.refused:
            self.n, self.rows = sample[0].shape[1], sample[0]
        elif before is not None and len(self.rows) and self.estimator.n_features_in_ == self.n:
            np.testing.assert_array_equal(self._predictions(), before)

    @rule()
    def pickle(self) -> None:
        self._replace(pickle.loads(pickle.dumps(self.estimator)))

    @rule()
    def deepcopy(self) -> None:
        self._replace(copy.deepcopy(self.estimator))

    def _replace(self, other: SoftmaxRegression) -> None:
        before = self._predictions()
        self.estimator = other
        if before is not None:
            np.testing.assert_array_equal(self._predictions(), before)

    @rule()
    def clone(self) -> None:
        made = clone(self.estimator)
        require(made.get_params() == self.estimator.get_params(), "a clone with other parameters")
        require(not hasattr(made, "model_"), "a clone that is fitted")

    def _predictions(self) -> np.ndarray | None:
        if not self.n or getattr(self.estimator, "n_features_in_", None) != self.n:
            return None
        return self.estimator.predict_proba(self.rows)

    @invariant()
    def predictions_are_sound(self) -> None:
        proba = self._predictions()
        if proba is not None:
            require(np.isfinite(proba).all() and (abs(proba.sum(axis=1) - 1) < 1e-5).all(), "no probabilities")
            require(proba.shape == (len(self.rows), len(self.estimator.classes_)), f"shape {proba.shape}")
            require(set(self.estimator.predict(self.rows)) <= set(self.estimator.classes_), "a label that is no class")


def estimators(rng: np.random.Generator, folder: Path) -> bool:
    """Five sequences of at most twelve calls."""
    settings = hypothesis.settings(
        max_examples=5,
        stateful_step_count=12,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate],
        print_blob=False,
    )
    machine = hypothesis.seed(int(rng.integers(2**31)))(Estimator)
    run_state_machine_as_test(machine, settings=settings)
    return False
