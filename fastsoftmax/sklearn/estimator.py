"""`SoftmaxRegression`, softmax regression with scikit-learn's interface."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike

from ..data.sources.scan import Scan, require_scan_alone
from ..data.validation_labels import check_labels
from ..objective.objective import Objective
from ..objective.problem import ProblemWithRows
from ..solvers.checkpoint import Checkpoint
from ..solvers.methods.sgd import Stream
from ..solvers.minimize import minimize
from ..solvers.result import Result, Step
from ..solvers.stages.first_steps import ENDS
from .base import (
    SoftmaxClassifier,
    checked_rows,
    checked_samples,
    encode_two_or_more,
    warn_of_absent,
    weights_of_rows,
)
from .callbacks import CallbackSupportMixin, Tasks, minimize_telling, with_callbacks

from sklearn.exceptions import ConvergenceWarning  # isort: skip  # after `.base`, whose error says how to install it


class SoftmaxRegression(CallbackSupportMixin, SoftmaxClassifier):  # type: ignore[misc, unused-ignore]
    r"""Softmax (multinomial logistic) regression.

    .. math:: \min_{\theta, b} \frac{1}{\sum_i w_i} \sum_i w_i \Big(\log \sum_c e^{H_{ic}} - H_{i y_i}\Big)
              + \frac{l_2}{2} \|\theta\|^2 + l_1 \|\theta\|_1, \qquad H = X \theta + b

    Two classes are treated as any other number: each has its own column of theta.

    Parameters
    ----------
    l2 : float, default=1e-4
        Strength of the penalty, 0 for none; the bias is never penalised. Because the loss is a mean, the same l2 has
        the same effect for any number of rows. scikit-learn's ``C`` is a factor of the sum of the losses:
        ``l2 = 1 / (C * sum(w))`` gives the same model for three or more classes, and ``l2 = 2 / (C * sum(w))`` for
        two, where scikit-learn has one column in place of two. ``sum(w)`` is the number of rows if there are no
        weights.
    l1 : float, default=0
        Strength of the penalty l1 sum |theta_jc|, without the bias: above 0 it makes some coefficients exactly 0.
        Together with l2 it is the elastic net. Needs ``solver="auto"``.
    fit_intercept : bool, default=True
        Whether the logits have a bias.
    solver : {"auto", "lbfgs", "newton", "newton_cg", "sgd", "gradient_descent"}, default="auto"
        See `fastsoftmax.minimize`.
    tol : float, default=1e-6
        The fit has converged where the relative gap to the minimum is proven to be at most this, or where the gradient
        norm is, measured so that the units of X do not matter. See `fastsoftmax.minimize`.
    max_iter : int, default=1000
        Largest number of steps.
    class_weight : dict, "balanced" or None, default=None
        Weights by label, multiplied with ``sample_weight``; labels left out of a dict have weight 1, and a dict that
        has all labels of y may have more. "balanced" is sum(w) / (k * sum of w in the class): every class then weighs
        the same.
    warm_start : bool, default=False
        Start from the previous fit, which must have had the same classes and features.
    precision : {"exact", "bfloat16"}, default="exact"
        "bfloat16": where passes in bfloat16 are much faster (see `fastsoftmax.Objective`), the fit ends where their
        error hides the rest, some 1e-4 above the minimum, and no warning says that it has not converged. Predictions
        are exact.
    backend : {"auto", "cython", "numba", "numpy"}, default="auto"
        Kernels to run on.
    n_threads : int or None, default=None
        Number of threads; that of the cores this process may use unless given. The result does not depend on it.
    callback : callable or None, default=None
        Called with a `fastsoftmax.solvers.Step` at the start and after every step; raising StopIteration ends the fit.
        scikit-learn's own callbacks, since 1.9, are set by ``set_callbacks``, and hear of every step of `fit` too.
    verbose : int, default=0
        Above 0 each step prints a line.
    checkpoint : path, Checkpoint or None, default=None
        A file that `fit` keeps its run in, to go on from after an interruption: ``Checkpoint(path, resume=True)``. See
        `fastsoftmax.Checkpoint`.

    Attributes
    ----------
    classes_ : ndarray (k,)
        The labels, sorted, in their own dtype.
    coef_ : ndarray (k, n), or (1, n) for two classes
        theta, transposed. For two classes the difference of its columns, second minus first, as in scikit-learn.
    intercept_ : ndarray (k,), or (1,) for two classes
        The bias likewise; zeros if there is none.
    model_ : Model
        All parameters, theta (n, k) and bias (k,): to save them, or to predict without scikit-learn.
    result_ : Result
        What the solver returned: theta (of the classes with rows of positive weight), value, gradient norm, passes,
        message, history. Absent after `partial_fit`.
    n_iter_ : int
        Steps of the solver. Absent after `partial_fit`.
    stream_ : Stream
        The state that `partial_fit` continues from: iterate, average, moments of the rows so far.
    n_features_in_ : int
    feature_names_in_ : ndarray of str (n,)
        Only where X had names, all of them strings.

    Notes
    -----
    X of float32 or float64 is not copied, in C order, F order or strided, memory maps included; other numeric dtypes
    are converted a chunk at a time. float32 X is computed in float32 with sums in float64, and its predictions are
    float32. X is not searched for NaN and infinity beforehand: they show in the result, and the error names row and
    column.

    ``classes_``, ``coef_`` and ``intercept_`` may be assigned, in their shapes, even before a fit. Predictions,
    ``model_``, warm starts and `partial_fit` then go by them; ``result_`` stays that of the last fit. Their arrays are
    read-only: assign a whole one.

    Columns may lie far from zero. Predictions use them as they are: where the mean of a float32 column is 10^4 of its
    standard deviations, probabilities are right to about 1e-3; those of ``X.astype(float)`` have all digits.

    Sparse X is never made dense, with an intercept neither. CSR is not copied; other formats, and rows that are
    not sorted or repeat a column, are copied to CSR once in every call.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from fastsoftmax import SoftmaxRegression
    >>> X, y = load_iris(return_X_y=True)
    >>> clf = SoftmaxRegression().fit(X, y)
    >>> clf.predict(X[:2])
    array([0, 0])
    >>> clf.coef_.shape
    (3, 4)
    """

    def __init__(
        self,
        *,
        l2: float = 1e-4,
        l1: float = 0.0,
        fit_intercept: bool = True,
        solver: str = "auto",
        tol: float = 1e-6,
        max_iter: int = 1000,
        class_weight: Mapping[Any, float] | Literal["balanced"] | None = None,
        warm_start: bool = False,
        precision: str = "exact",
        backend: str = "auto",
        n_threads: int | None = None,
        callback: Callable[[Step], Any] | None = None,
        verbose: int = 0,
        checkpoint: str | Path | Checkpoint | None = None,
    ) -> None:
        self.l2 = l2
        self.l1 = l1
        self.fit_intercept = fit_intercept
        self.solver = solver
        self.tol = tol
        self.max_iter = max_iter
        self.class_weight = class_weight
        self.warm_start = warm_start
        self.precision = precision
        self.backend = backend
        self.n_threads = n_threads
        self.callback = callback
        self.verbose = verbose
        self.checkpoint = checkpoint

    @with_callbacks  # type: ignore[untyped-decorator, unused-ignore]
    def fit(self, X: ArrayLike | Scan, y: ArrayLike | None = None, sample_weight: ArrayLike | None = None) -> Self:
        """Fit theta and the bias.

        Parameters
        ----------
        X : array_like (m, n), sparse array or matrix of SciPy, or what `fastsoftmax.scan` returns
            The last has labels and weights of its own.
        y : array_like (m,)
            Labels: integers, whole floats, booleans or strings.
        sample_weight : array_like (m,), optional
            Weights, at least 0. A row with weight 0 does not count, but its numbers must be finite too, and its label
            still is one of the classes. A class with no row of positive weight is left out of the fit, since its bias
            would have no minimum, and gets the probability 0: its logit is the mean of the others' less 1000.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            For X that is empty, not numeric, or malformed sparse; for NaN or infinity in any row, rows of positive
            weight of one class only, or an invalid parameter.
        FloatingPointError
            If the logits overflow.
        ImportError
            If the backend asked for cannot be loaded.

        Warns
        -----
        ConvergenceWarning
            If the solver stopped before it reached ``tol``.
        UserWarning
            If a class has no row of positive weight.
        """
        if isinstance(X, Scan):
            require_scan_alone(y, sample_weight)
            classes, labels = checked_rows(self, X, reset=True).classes, None
            obj, present = self._objective_of_scan(X, self.l2)
        else:
            X, labels = checked_samples(self, X, y)
            classes, codes = encode_two_or_more(labels)
            obj, present = self._objective_of_present(X, codes, classes, sample_weight, self.l2)
        warn_of_absent(classes, present)
        told = None
        if hasattr(self, "_skl_callbacks"):
            weights = None if sample_weight is None else {"sample_weight": sample_weight}
            told = {"estimator": self, "X": X, "y": labels, "metadata": weights}
        return self._fit_objective(obj, classes, present, told)

    def _fit_objective(
        self, obj: ProblemWithRows, classes: np.ndarray, present: np.ndarray, told: dict[str, Any] | None = None
    ) -> Self:
        """Fit to an objective of the present classes. ``told``: what scikit-learn's callbacks hear."""
        warm = self.warm_start and hasattr(self, "model_")
        options: dict[str, Any] = {
            "solver": self.solver,
            "l1": self.l1,
            "theta0": self._previous(classes, obj.n_features)[:, present] if warm else None,
            "tol": self.tol,
            "max_iter": self.max_iter,
            "callback": _printing(self.callback) if self.verbose else self.callback,
            "checkpoint": None if self.checkpoint is None else Checkpoint.of(self.checkpoint).of_classes(classes),
        }
        if told is not None:
            result = self._minimize_in_tasks(obj, classes, present, options, told)
        else:
            result = minimize(obj, **options)
        self._keep(result.theta, classes, present)
        self.result_ = result
        self.n_iter_ = result.n_iter
        self._forget("stream_")
        if not (result.converged or ENDS in result.message):
            warnings.warn(_advice(result), ConvergenceWarning, stacklevel=3)
        return self

    def _minimize_in_tasks(
        self,
        obj: ProblemWithRows,
        classes: np.ndarray,
        present: np.ndarray,
        options: dict[str, Any],
        told: dict[str, Any],
    ) -> Result:
        """`minimize` in the tasks of which scikit-learn's callbacks hear."""
        context = self._init_callback_context(max_subtasks=None)
        context.call_on_fit_task_begin(**told)
        tasks = Tasks(context, "step", **told)

        def fitted(theta: np.ndarray) -> dict[str, Any]:
            there = copy.copy(self)
            there._keep(theta, classes, present)
            return {"model_": there.model_, "_absent": there._absent}

        result = minimize_telling(obj, lambda theta: tasks.step(fitted(theta)), **options)
        tasks.close(fitted(result.theta))
        context.call_on_fit_task_end(**told, reconstruction_attributes=fitted(result.theta))
        return result

    def partial_fit(
        self,
        X: ArrayLike | Scan,
        y: ArrayLike | None = None,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Learn from more rows: one pass over them by averaged mini-batch gradients, see `solvers.methods.sgd`.

        Each call continues from the one before, or from `fit`; the parameters are the average over all mini-batches so
        far. The same calls give the same parameters. Since every call is at least one step, several hundred rows a call
        are better than a few. ``solver``, ``tol``, ``max_iter`` and ``callback`` are not used.

        Sparse X is never made dense. Where its mini-batches (a 32nd of the rows, at least 32) have six entries or more
        for each column, it gives the parameters of the dense array, up to rounding. Else mini-batches are larger, since
        a step changes all n k parameters: X with many columns needs calls with more entries than columns.

        Parameters
        ----------
        X : array_like (m, n), or sparse array or matrix of SciPy
        y : array_like (m,)
            Labels, all of them among the classes.
        classes : array_like (k,), optional
            All labels that any call will have. Needed in the first call; the same if given again.
        sample_weight : array_like (m,), optional
            As in `fit`. The gradient of a mini-batch is a weighted mean: weights are not compared between mini-batches.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            As `fit`; also for missing or other ``classes``, a label that is not one of them, l1 above 0, or
            class_weight="balanced", which would need all rows.
        """
        started = hasattr(self, "model_")
        known = _classes(classes, self.model_.classes if started else None)
        if self.l1 or isinstance(self.class_weight, str):
            raise ValueError("partial_fit takes no l1 above 0 and no class_weight='balanced'; fit does")
        if isinstance(X, Scan):
            require_scan_alone(y, sample_weight)
            obj, _ = self._objective_of_scan(checked_rows(self, X, reset=not started), self.l2, known)
        else:
            obj = self._objective_of_known(X, y, known, sample_weight, reset=not started)
        if hasattr(self, "stream_"):
            if self.stream_.average.shape != obj.shape:
                raise ValueError(
                    f"fit_intercept must be that of the calls of partial_fit before, {not self.fit_intercept}; got"
                    f" {self.fit_intercept}"
                )
            stream = copy.deepcopy(self.stream_)  # so that rows which raise leave the state as it was
        else:
            stream = Stream.start(self._previous(known, obj.n_features) if started else np.zeros(obj.shape))
        stream.walk(obj)
        self._keep(stream.average, known)
        self.stream_: Stream = stream
        self._forget("result_", "n_iter_")
        return self

    def _objective_of_known(
        self, X: Any, y: Any, known: np.ndarray, sample_weight: ArrayLike | None, *, reset: bool
    ) -> Objective:
        """The objective of rows whose labels are among ``known`` ones."""
        X, labels = checked_samples(self, X, y, reset=reset)
        codes = np.searchsorted(known, labels).clip(max=len(known) - 1)
        strange = np.flatnonzero(known[codes] != labels)
        if len(strange):
            raise ValueError(f"y must hold labels of classes; row {strange[0]} holds {labels[strange[0]]!r}")
        w = weights_of_rows(sample_weight, self.class_weight, known, codes)
        return self._objective(X, codes, len(known), w, self.l2)

    def _previous(self, classes: np.ndarray, n: int) -> np.ndarray:
        """Parameters of the previous fit, to start from."""
        old = self.model_
        if not np.array_equal(old.classes, classes) or old.n_features != n:
            raise ValueError(
                f"warm_start needs the classes and features of the previous fit, {old.n_classes} classes"
                f" and {old.n_features} features; got {len(classes)} classes and {n} features, or other labels"
            )
        if not self.fit_intercept:
            return old.theta
        bias = np.zeros(len(classes)) if old.bias is None else old.bias.astype(np.float64)
        if self._absent is not None:
            bias[self._absent] = bias[~self._absent].mean()
        return np.vstack([old.theta, bias])


def _classes(given: ArrayLike | None, known: np.ndarray | None) -> np.ndarray:
    """The classes of a call of partial_fit, sorted; ``known`` are those of earlier calls."""
    if given is None:
        if known is None:
            raise ValueError("classes must be given in the first call of partial_fit: all labels that will ever come")
        return known
    classes: np.ndarray = np.unique(check_labels(given, "classes"))
    if known is not None and not np.array_equal(classes, known):
        raise ValueError(f"classes must be those of the calls before, {known.tolist()}; got {classes.tolist()}")
    if len(classes) < 2:
        raise ValueError(f"classes must hold at least two labels; got {classes.tolist()}")
    return classes


def _printing(callback: Callable[[Step], Any] | None) -> Callable[[Step], None]:
    """A callback that prints each step, and then calls ``callback``."""

    def show(step: Step) -> None:
        print(
            f"iteration {step.iteration:5d}  value {step.value:.8g}  gradient {step.grad_norm:.3g}"
            f"  passes {step.n_passes}  {step.seconds:.2f} s"
        )
        if callback is not None:
            callback(step)

    return show


def _advice(result: Result) -> str:
    """The text of the warning: the solver's message and what may help."""
    return (
        f"{result.message}. The parameters are the last ones reached. A larger l2 helps most where classes are"
        " (nearly) separable; more steps (max_iter), a larger tol or float64 data may help too."
    )
