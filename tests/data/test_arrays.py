"""Arrays of other libraries are read where they are, wherever X, y, weights or theta may stand."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from estimators import fit
from samples import ArrowArray, ArrowStream, Capsule, Wrapped

import fastsoftmax
from fastsoftmax.data.arrays import as_array
from fastsoftmax.data.bfloat16 import as_numbers
from fastsoftmax.data.validation import check_X, check_y
from fastsoftmax.data.validation_labels import check_labels

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4))
y = np.arange(60) % 3
w = RNG.uniform(1, 2, size=60)
theta = RNG.normal(size=(4, 3))


def torch(array):
    return pytest.importorskip("torch", reason="PyTorch is not installed").from_numpy(array)


def jax(array):
    module = pytest.importorskip("jax", reason="JAX is not installed")
    with module.enable_x64(True):
        return module.numpy.from_dlpack(array)


def xarray(array):
    return pytest.importorskip("xarray", reason="xarray is not installed").DataArray(array)


ARRAYS = {"DLPack": Capsule, "__array__": Wrapped, "PyTorch": torch, "JAX": jax, "xarray": xarray}
COLUMNS = {
    **ARRAYS,
    "pandas": lambda a: pd.Series(a, copy=False),
    "pandas nullable": lambda a: pd.Series(a).convert_dtypes(),
    "pandas Arrow": lambda a: pd.Series(pd.arrays.ArrowExtensionArray(pa.array(a))),
    "Arrow": pa.array,
    "Arrow chunks": lambda a: pa.chunked_array([a[:7], a[7:]]),
    "Arrow array": lambda a: ArrowArray(pa.array(a)),
    "Arrow stream": lambda a: ArrowStream(pa.chunked_array([a])),
    "polars": lambda a: pytest.importorskip("polars").Series(a),
    "narwhals": lambda a: pytest.importorskip("narwhals").from_native(pa.chunked_array([a]), series_only=True),
}


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["f4", "f8", "u1"])
@pytest.mark.parametrize("kind", ARRAYS)
def test_X_is_read_where_it_is(kind, dtype, order):
    array = np.array(X * 10, dtype, order=order)
    if kind == "JAX" and order == "F":
        array = np.ascontiguousarray(array)  # JAX has row-major arrays alone
    given = ARRAYS[kind](array)
    got = check_X(given)
    assert got.ctypes.data == (
        given.unsafe_buffer_pointer() if kind == "JAX" else array.ctypes.data
    )  # JAX may align it
    assert got.strides == array.strides and got.dtype == dtype
    np.testing.assert_array_equal(got, array)


@pytest.mark.parametrize("kind", ["Arrow", "Arrow array", "Arrow stream", "pandas", "polars", "PyTorch", "DLPack"])
def test_columns_are_read_where_they_are(kind):
    got = as_array(COLUMNS[kind](w), "w")
    assert got.shape == (60,)
    np.testing.assert_array_equal(got, w)
    if kind != "Arrow stream":  # of chunked arrays pyarrow makes a copy
        assert got.ctypes.data == w.ctypes.data


@pytest.mark.parametrize("kind", ARRAYS)
def test_every_entry_takes_every_array(kind):
    given = ARRAYS[kind](X)
    wanted = fastsoftmax.loss_and_grad(X, y, theta, backend="numpy")
    value, grad = fastsoftmax.loss_and_grad(given, y, theta, backend="numpy")
    assert value == wanted[0] and (grad == wanted[1]).all()
    assert fastsoftmax.Objective(given, y, backend="numpy").value(theta) == value
    model = fastsoftmax.Model(theta)
    np.testing.assert_array_equal(model.predict_proba(given, backend="numpy"), model.predict_proba(X, backend="numpy"))
    clf = fit(given, y)
    np.testing.assert_array_equal(clf.coef_, fit(X, y).coef_)
    np.testing.assert_array_equal(clf.predict(given), clf.predict(X))


@pytest.mark.parametrize("kind", COLUMNS)
def test_labels_and_weights_may_be_columns_of_any_library(kind):
    make = COLUMNS[kind]
    wanted = fastsoftmax.loss_and_grad(X, y, theta, sample_weight=w, backend="numpy")
    value, grad = fastsoftmax.loss_and_grad(X, make(y), theta, sample_weight=make(w), backend="numpy")
    assert value == wanted[0] and (grad == wanted[1]).all()
    clf = fit(X, make(y), make(w))
    np.testing.assert_array_equal(clf.coef_, fit(X, y, w).coef_)
    assert clf.score(X, make(y)) == clf.score(X, y)


@pytest.mark.parametrize(
    "kind", ["pandas", "pandas Arrow", "Arrow", "Arrow chunks", "Arrow stream", "polars", "narwhals"]
)
def test_labels_of_text(kind):
    text = np.array(["a", "b", "ä"])[y]
    given = COLUMNS[kind](text)
    assert check_labels(given).tolist() == text.tolist()
    assert fit(X, given).classes_.tolist() == ["a", "b", "ä"]


@pytest.mark.parametrize("kind", ARRAYS)
def test_parameters_may_be_any_array(kind):
    wanted = fastsoftmax.loss_and_grad(X, y, theta, backend="numpy")[1]
    np.testing.assert_array_equal(fastsoftmax.loss_and_grad(X, y, ARRAYS[kind](theta), backend="numpy")[1], wanted)
    np.testing.assert_array_equal(fastsoftmax.Model(ARRAYS[kind](theta)).theta, theta)


def test_soft_targets_may_be_a_frame_and_labels_its_only_column():
    share = np.abs(RNG.normal(size=(60, 3)))
    wanted = fastsoftmax.Objective(X, share, backend="numpy").value(theta)
    for frame in (pd.DataFrame(share), pa.table(dict(zip("abc", share.T, strict=True)))):
        assert fastsoftmax.Objective(X, frame, backend="numpy").value(theta) == wanted
    assert fastsoftmax.Objective(X, pd.DataFrame({"y": y}), backend="numpy").n_classes == 3


# ------------------------------------------------------------------------------------------- what is refused


def elsewhere():
    return Capsule(X, (2, 0))


@pytest.mark.parametrize(
    "call",
    [
        lambda: fastsoftmax.Objective(elsewhere(), y),
        lambda: fastsoftmax.loss_and_grad(elsewhere(), y, theta),
        lambda: fastsoftmax.Model(theta).predict(elsewhere()),
        lambda: fit(elsewhere(), y),
        lambda: fit(X, y).predict(elsewhere()),
    ],
)
def test_an_array_on_a_gpu_is_refused_by_every_entry(call):
    with pytest.raises(TypeError, match="X is a Capsule on device 2 of DLPack; one in the CPU's memory is wanted"):
        call()


def masked(array):
    return np.ma.masked_array(array, array > np.median(array))


@pytest.mark.parametrize(
    ("name", "call"),
    {
        "X": lambda: fastsoftmax.Objective(masked(X), y),
        "y": lambda: fastsoftmax.Objective(X, masked(y)),
        "sample_weight": lambda: fastsoftmax.Objective(X, y, sample_weight=masked(w)),
        "theta": lambda: fastsoftmax.loss_and_grad(X, y, masked(theta)),
        "bias": lambda: fastsoftmax.Model(theta, masked(theta[0])),
        "H": lambda: fastsoftmax.softmax(masked(X)),
    }.items(),
)
def test_a_mask_is_not_dropped_but_refused_wherever_it_stands(name, call):
    with pytest.raises(TypeError, match=f"{name} is a masked array; one without a mask is wanted"):
        call()


@pytest.mark.parametrize("device", [(1, 0), (3, 0), (13, 0)])
def test_memory_that_the_cpu_reads_too_is_taken(device):
    assert check_X(Capsule(X, device)).ctypes.data == X.ctypes.data


def test_a_tensor_that_requires_a_gradient_is_refused():
    tensor = torch(X.copy()).requires_grad_()
    calls = {
        "X": lambda: fastsoftmax.Objective(tensor, y),
        "sample_weight": lambda: fastsoftmax.Objective(X, y, sample_weight=tensor[:, 0]),
        "theta": lambda: fastsoftmax.Objective(X, y).value(tensor[:12]),
    }
    for name, call in calls.items():
        with pytest.raises(TypeError, match=rf"{name} is a Tensor that requires a gradient, .* use \.detach\(\)"):
            call()
    with pytest.raises(TypeError, match="X is a Tensor that requires a gradient"):
        fit(tensor, y)
    assert check_X(tensor.detach()).shape == X.shape


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.to_sparse(), "cannot read: .*to_dense"),
        (lambda t: t.to("meta"), "cannot read: .*meta"),
    ],
)
def test_tensors_that_numpy_cannot_read_are_named(change, message):
    with pytest.raises(TypeError, match=f"X is a Tensor that NumPy {message}"):
        check_X(change(torch(X)))


def bfloat16_of_numpy():
    return np.ones((3, 2), pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed").bfloat16)


@pytest.mark.parametrize("make", [bfloat16_of_numpy, lambda: torch(X).bfloat16()], ids=["NumPy", "PyTorch"])
def test_bfloat16_of_anything_but_X_is_an_error_that_says_what_is_wanted(make):
    with pytest.raises(TypeError, match="y is in bfloat16, which NumPy does not have; float32 is wanted"):
        check_y(make()[:, 0], 3)


def test_a_tensor_of_bfloat16_shares_its_memory():
    tensor = torch(X).bfloat16()
    bits = check_X(tensor)
    assert bits.ctypes.data == tensor.data_ptr() and check_X(tensor[:, ::2]).strides == (2 * X.shape[1], 4)
    np.testing.assert_array_equal(as_numbers(bits), tensor.float().numpy())
    with pytest.raises(TypeError, match="X is a Tensor that requires a gradient"):
        check_X(tensor.requires_grad_())
