"""`fastsoftmax.jax.linear_cross_entropy` beside the formula, by the library and by the callback, and how both come."""

import re
import threading
from pathlib import Path

import child
import numpy as np
import pytest

jax = pytest.importorskip("jax")

import jax.numpy as jnp  # noqa: E402

import fastsoftmax  # noqa: E402
from fastsoftmax.jax import build, linear_cross_entropy  # noqa: E402

N, K = 6, 4


@pytest.fixture(params=["ffi", "callback"])
def way(request, monkeypatch, library):
    if request.param == "callback":
        monkeypatch.setattr(build, "way", lambda: build.Way(None, "a test"))
        jax.clear_caches()
    yield request.param
    if request.param == "callback":
        jax.clear_caches()


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """The library, compiled in a folder of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FASTSOFTMAX_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        build.way.cache_clear()
        assert build.describe().startswith("ffi, to be compiled by ")
        found = build.way()
        assert found.library is not None, found.why
        assert build.describe() == str(found)
        yield found.library


@pytest.fixture(params=[np.float32, np.float64], ids=["f4", "f8"])
def dtype(request):
    with jax.enable_x64(request.param is np.float64):
        yield request.param


def problem(dtype, m=50):
    rng = np.random.default_rng(0)
    arrays = rng.normal(size=(m, N)), rng.normal(size=(N, K)), rng.normal(size=K), rng.random(m) + 0.5
    x, w, b, s = (jnp.asarray(array, dtype) for array in arrays)
    return x, w, jnp.asarray(rng.integers(0, K, m)), b, s


def objective(x, w, labels, b=None, s=None, eps=0.0):
    theta = np.asarray(w if b is None else jnp.concatenate([w, b[None]]))
    obj = fastsoftmax.Objective(np.asarray(x), np.asarray(labels), K, fit_intercept=b is not None,
                                sample_weight=None if s is None else np.asarray(s), label_smoothing=eps)  # fmt: skip
    return obj.evaluate(theta, dX=True, row_loss=True), obj


def test_value_and_gradients_are_those_of_an_objective(way, dtype):
    x, w, labels, b, s = problem(dtype)

    def loss(x, w, b, s):
        return linear_cross_entropy(x, w, labels, b, sample_weight=s, label_smoothing=0.1)

    wanted, obj = objective(x, w, labels, b, s, 0.1)
    value, (dx, dw, db, ds) = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2, 3)))(x, w, b, s)
    assert value == dtype(wanted.value) and value.dtype == dtype
    assert np.array_equal(dx, wanted.dX)
    assert np.array_equal(dw, wanted.grad[:-1]) and np.array_equal(db, wanted.grad[-1])
    by_weight = (wanted.row_loss - wanted.value) / np.asarray(s, np.float64).sum()
    assert np.abs(np.asarray(ds) - by_weight).max() <= 8 * np.finfo(dtype).eps * np.abs(wanted.row_loss).max() / s.sum()
    assert loss(x, w, b, s) == jax.jit(loss)(x, w, b, s) == value


def test_a_sum_without_bias_or_weights(way, dtype):
    x, w, labels, _, _ = problem(dtype)
    wanted, _ = objective(x, w, labels)
    value, dw = jax.value_and_grad(lambda w: linear_cross_entropy(x, w, labels, reduction="sum"))(w)
    assert value == dtype(wanted.value) * dtype(len(x))
    assert np.array_equal(dw, wanted.grad * dtype(len(x)))


def test_leading_dimensions_and_integers_of_any_kind(way, dtype):
    x, w, labels, b, s = problem(dtype)
    shaped = linear_cross_entropy(x.reshape(5, 10, N), w, labels.astype(np.uint8).reshape(5, 10), b,
                                  sample_weight=s.reshape(5, 10))  # fmt: skip
    assert shaped == linear_cross_entropy(x, w, labels, b, sample_weight=s)


def test_half_precision_is_computed_in_float32(way):
    x, w, labels, b, _ = problem(np.float32)
    for kind in (jnp.bfloat16, jnp.float16):
        narrow = x.astype(kind)
        value, dx = jax.value_and_grad(lambda x: linear_cross_entropy(x, w, labels, b))(narrow)
        assert value.dtype == dx.dtype == kind
        assert value == linear_cross_entropy(narrow.astype(jnp.float32), w, labels, b).astype(kind)


def test_vmap_runs_one_after_the_other(way, dtype):
    x, w, labels, b, _ = problem(dtype)
    many, marks = x.reshape(5, 10, N), labels.reshape(5, 10)
    step = jax.value_and_grad(lambda x, w, labels: linear_cross_entropy(x, w, labels, b), argnums=(0, 1))
    values, (dx, dw) = jax.jit(jax.vmap(step, in_axes=(0, None, 0)))(many, w, marks)
    for i in range(5):
        value, grads = step(many[i], w, marks[i])
        assert values[i] == value and np.array_equal(dx[i], grads[0]) and np.array_equal(dw[i], grads[1])


def test_only_wanted_gradients_are_asked_for(way, dtype, monkeypatch):
    from fastsoftmax.jax import loss as module

    asked, run = [], module._run
    monkeypatch.setattr(module, "_run", lambda *a: asked.append(a[5]) or run(*a))
    x, w, labels, b, _ = problem(dtype)
    linear_cross_entropy(x, w, labels, b)
    jax.grad(lambda w: linear_cross_entropy(x, w, labels, b))(w)
    jax.grad(lambda x: linear_cross_entropy(x, w, labels, b))(x)
    assert asked == [(False,) * 4, (False, True, False, False), (True, False, False, False)]


def test_a_chain_of_layers_descends(way):
    x, w, labels, b, _ = problem(np.float32)
    hidden = jnp.asarray(np.random.default_rng(1).normal(size=(N, N)), jnp.float32)

    @jax.jit
    def step(parameters):
        def loss(parameters):
            hidden, w, b = parameters
            return linear_cross_entropy(jnp.tanh(x @ hidden), w, labels, b)

        value, grads = jax.value_and_grad(loss)(parameters)
        return value, jax.tree.map(lambda p, g: p - g, parameters, grads)

    parameters, values = (hidden, w, b), []
    for _ in range(50):
        value, parameters = step(parameters)
        values.append(float(value))
    assert values[-1] < values[0] / 2


def test_threads_that_call_at_once_do_not_wait_for_each_other(way):
    """XLA's threads take the GIL for each pass while Python's threads wait for their results."""
    x, w, labels, b, _ = problem(np.float32, m=2000)
    step = jax.jit(jax.value_and_grad(lambda w: linear_cross_entropy(x, w, labels, b)))
    wanted, found = step(w), []

    def work():
        for _ in range(20):
            pending = [step(w) for _ in range(3)]
            found.extend(pending)
            sum(i * i for i in range(10_000))  # with the GIL, while passes run
        jax.block_until_ready(found)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert not any(thread.is_alive() for thread in threads)
    assert len(found) == 240
    assert all(value == wanted[0] and np.array_equal(grad, wanted[1]) for value, grad in found)


BAD = [
    (dict(x=np.zeros((3, 5))), ValueError, "x has shape (3, 5) and w (6, 4); (..., features) and (features, classes)"),
    (dict(x=np.zeros((3, 6), int)), TypeError, "x has dtype int32; a floating type is wanted"),
    (dict(labels=np.zeros(3, int)), ValueError, "labels has shape (3,); (50,) is wanted"),
    (dict(labels=np.zeros(50)), TypeError, "labels has dtype float32; integers are wanted"),
    (dict(b=np.zeros(3)), ValueError, "b has shape (3,); (4,) is wanted"),
    (dict(sample_weight=np.zeros(3)), ValueError, "sample_weight has shape (3,); (50,) is wanted"),
    (dict(reduction="none"), ValueError, "reduction must be 'mean' or 'sum'; got 'none'"),
    (dict(n_threads=0), ValueError, "n_threads must be at least 1; got 0"),
]


@pytest.mark.parametrize(("changes", "error", "text"), BAD, ids=lambda value: str(value)[:14])
def test_wrong_arguments_are_errors_when_traced(library, changes, error, text):
    x, w, labels, b, _ = problem(np.float32)
    with pytest.raises(error) as caught:
        linear_cross_entropy(**(dict(x=x, w=w, labels=labels, b=b) | changes))
    assert text in str(caught.value)


def test_what_arrays_hold_is_an_error_when_it_runs(library):
    x, w, labels, b, _ = problem(np.float32)
    step = jax.jit(linear_cross_entropy)
    with pytest.raises(jax.errors.JaxRuntimeError, match="row 3 holds 9"):
        jax.block_until_ready(step(x, w, labels.at[3].set(9), b))
    with pytest.raises(jax.errors.JaxRuntimeError, match="row 2, column 1 holds nan"):
        jax.block_until_ready(step(x.at[2, 1].set(np.nan), w, labels, b))


# ------------------------------------------------------------------------------------------- how the library comes


def test_without_a_compiler_the_reason_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTSOFTMAX_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("CXX", "no-such-compiler")
    wanted = "callback (no C++ compiler: no-such-compiler not found; $CXX may name one)"
    assert build.describe() == str(build.way.__wrapped__()) == wanted


def test_a_compiler_that_fails_is_quoted_and_leaves_nothing(tmp_path, monkeypatch, library):
    monkeypatch.setenv("FASTSOFTMAX_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(build, "FLAGS", ["-std=c++98", *build.FLAGS[1:]])
    found = build.way.__wrapped__()
    assert found.library is None and "error" in found.why
    assert not list(tmp_path.iterdir())


def test_another_process_finds_the_library(library):
    code = "from fastsoftmax.jax import build; print(build.built())"
    done = child.python("-c", code, FASTSOFTMAX_CACHE_DIR=str(library.parent), CXX="no-such-compiler")
    assert done.stdout.strip() == str(library), done.stderr


def test_the_example_of_the_readme(library):
    text = (Path(__file__).parents[2] / "README.md").read_text()
    found = {}
    exec(compile(re.search(r"^```py\n(.*?)^```$", text, re.M | re.S)[1], "README.md", "exec"), found)
    wanted = fastsoftmax.loss_and_grad(np.asarray(found["x"]), np.asarray(found["labels"]), np.zeros((20, 5), "f4"))
    assert found["value"] == np.float32(wanted[0]) and np.array_equal(found["grad"], wanted[1])
