"""A model in other libraries: scikit-learn's LogisticRegression, PyTorch's Linear, an ONNX graph.

Each has the logits H = X theta + bias; where there are two classes, scikit-learn has the second less the first. A
``model`` is a `model.Model`, whose methods these functions are.
"""

from __future__ import annotations

import json
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from .. import _extras
from .._version import __version__
from ..data.archive import whole_file

# Versions of ONNX that runtimes of 2022 and later read; the graph needs nothing newer.
_OPSET, _IR = 17, 8
# Names of the estimators, and of those derived from them, whose attributes `parts_of_estimator` knows how to read.
_LOGISTIC = {"LogisticRegression", "LogisticRegressionCV"}


def to_sklearn(model: Any) -> Any:
    """A fitted LogisticRegression of scikit-learn with this model's parameters."""
    estimator = _extras.load("sklearn.linear_model", "Model.to_sklearn").LogisticRegression
    theta, bias = model.theta, np.zeros(model.n_classes, model.theta.dtype) if model.bias is None else model.bias
    if model.n_classes == 2:  # in float64, in which the difference of float32 numbers loses next to nothing
        theta, bias = (np.subtract(both[..., [1]], both[..., [0]], dtype=np.float64) for both in (theta, bias))
    fitted = estimator(fit_intercept=model.bias is not None)
    fitted.classes_, fitted.coef_, fitted.intercept_ = model.classes.copy(), theta.T.copy(), bias.copy()
    fitted.n_features_in_ = model.n_features
    if model.feature_names is not None:
        fitted.feature_names_in_ = np.array(model.feature_names, object)
    return fitted


def parts_of_estimator(estimator: Any) -> dict[str, Any]:
    """theta, bias, classes and feature names of a fitted LogisticRegression whose probabilities are a softmax."""
    kind = type(estimator)
    if not _LOGISTIC & {base.__name__ for base in kind.__mro__}:
        raise TypeError(f"estimator is a {kind.__name__}; a LogisticRegression of scikit-learn, fitted, is wanted")
    if not all(hasattr(estimator, name) for name in ("coef_", "intercept_", "classes_")):
        raise ValueError(
            f"estimator is a {kind.__name__} without coef_, intercept_ and classes_; a fitted one is wanted"
        )
    classes, theta = np.asarray(estimator.classes_), np.asarray(estimator.coef_).T
    bias = np.broadcast_to(np.asarray(estimator.intercept_), theta.shape[1:])
    multi = getattr(estimator, "multi_class", None)  # gone from newer versions of scikit-learn
    if len(classes) > 2 and (multi == "ovr" or getattr(estimator, "solver", None) == "liblinear"):
        raise ValueError(
            f"estimator has a model for each of {len(classes)} classes against the rest, whose probabilities are no"
            " softmax; one that was fitted to all classes together is wanted"
        )
    if theta.shape[1] == 1:
        # The only row is the difference of two logits. Older versions could mean half of it.
        half = 1.0 if multi == "multinomial" else 0.5
        theta, bias = np.hstack([-half * theta, half * theta]), half * np.array([-bias[0], bias[0]])
    names = getattr(estimator, "feature_names_in_", None)
    return {
        "theta": theta,
        "bias": bias if estimator.fit_intercept or bias.any() else None,
        "classes": classes,
        "feature_names": None if names is None else tuple(map(str, names)),
    }


def to_torch(model: Any) -> Any:
    """An ``nn.Linear`` whose outputs are the logits, of theta's dtype."""
    torch = _extras.load("torch", "Model.to_torch")
    dtype, biased = getattr(torch, model.theta.dtype.name), model.bias is not None
    # Without the initial values that the next line overwrites: they would advance the global random numbers.
    layer = torch.nn.utils.skip_init(torch.nn.Linear, *model.theta.shape, bias=biased, dtype=dtype)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(model.theta.T, dtype=dtype))
        if biased:
            layer.bias.copy_(torch.tensor(model.bias, dtype=dtype))
    return layer


def to_onnx(model: Any, path: str | PathLike[str]) -> None:
    """Write the model as an ONNX graph: input "X", outputs "label" and "probabilities"."""
    path = Path(path)
    if path.suffix.lower() != ".onnx":
        raise ValueError(f"path must end in .onnx; got {str(path)!r}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {str(path.parent)!r} to write {path.name} to")
    onnx = _extras.load("onnx", "Model.to_onnx")
    helper, dtype = _extras.load("onnx.helper", "Model.to_onnx"), model.theta.dtype
    labels = _onnx_labels(model.classes)
    constants = {"theta": model.theta, "classes": labels}
    if model.bias is not None:
        constants["bias"] = model.bias.astype(dtype)
    number = helper.np_dtype_to_tensor_dtype
    text = onnx.TensorProto.STRING if labels.dtype == object else number(labels.dtype)
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["X", "theta", "bias"][: 2 + (model.bias is not None)], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
            helper.make_node("ArgMax", ["logits"], ["index"], axis=1, keepdims=0),  # of equal ones the first
            helper.make_node("Gather", ["classes", "index"], ["label"]),
        ],
        "fastsoftmax",
        [helper.make_tensor_value_info("X", number(dtype), ["rows", model.n_features])],
        [
            helper.make_tensor_value_info("label", text, ["rows"]),
            helper.make_tensor_value_info("probabilities", number(dtype), ["rows", model.n_classes]),
        ],
        [onnx.numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in constants.items()],
    )
    made = helper.make_model(
        graph,
        producer_name="fastsoftmax",
        producer_version=__version__,
        ir_version=_IR,
        opset_imports=[helper.make_opsetid("", _OPSET)],
    )
    names = {} if model.feature_names is None else {"feature_names": json.dumps(model.feature_names)}
    helper.set_model_props(made, model.metadata | names)
    onnx.checker.check_model(made)
    with whole_file(path) as file:
        file.write(made.SerializeToString())


def _onnx_labels(classes: np.ndarray) -> np.ndarray:
    """Labels as ONNX has them: int64 of integers and booleans, text as objects, and floats as they are."""
    if classes.dtype.kind in "bi" or (classes.dtype.kind == "u" and classes.max() < 1 << 63):
        return classes.astype(np.int64)
    if classes.dtype.char in "fd":
        return classes
    if classes.dtype.kind in "UO" and all(isinstance(label, str) for label in classes.tolist()):
        return classes.astype(object)
    raise ValueError(f"classes have dtype {classes.dtype}, {classes[0]!r} among them; ONNX takes int64, float and text")
