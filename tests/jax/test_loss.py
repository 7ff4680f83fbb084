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


def plain(x, w, targets, b=None, s=None, eps=0.0, reduction="mean"):
    """The formula, in float64."""
    x, w, b, s = (None if a is None else jnp.asarray(a, jnp.float64) for a in (x, w, b, s))
    t = jax.nn.one_hot(targets, K) if targets.ndim == 1 else jnp.asarray(targets, jnp.float64)
    H = x @ w if b is None else x @ w + b
    t = (1 - eps) * t + eps / K
    losses = (t * (jax.nn.logsumexp(H, axis=1, keepdims=True) - H)).sum(axis=1)
    s = jnp.ones(len(x)) if s is None else s
    return {"none": s * losses, "sum": (s * losses).sum(), "mean": (s * losses).sum() / s.sum()}[reduction]


def assert_close(found, wanted, dtype):
    """Sums of some dozens of terms of about one, in that dtype."""
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert a.shape == b.shape and a.dtype == dtype
        np.testing.assert_allclose(a, b, rtol=0, atol=32 * np.finfo(dtype).eps * max(1.0, np.abs(b).max(initial=0.0)))


def truth(function, *args):
    """What a function of `plain` returns, in float64 whatever the arguments are."""
    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, function(*args))


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_value_and_gradients_are_those_of_the_formula(way, dtype, reduction, soft):
    x, w, labels, b, s = problem(dtype)
    targets = jax.nn.softmax(jnp.asarray(np.random.default_rng(2).normal(size=(50, K)), dtype)) if soft else labels

    def loss(x, w, b, s):
        return linear_cross_entropy(x, w, targets, b, sample_weight=s, label_smoothing=0.1, reduction=reduction)

    def formula(x, w, b, s):
        return plain(x, w, targets, b, s, 0.1, reduction)

    found = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2, 3)))(x, w, b, s)
    assert_close(found, truth(jax.value_and_grad(formula, argnums=(0, 1, 2, 3)), x, w, b, s), dtype)
    assert_close((loss(x, w, b, s), jax.jit(loss)(x, w, b, s)), (found[0], found[0]), dtype)


def test_without_bias_or_weights(way, dtype):
    x, w, labels, _, _ = problem(dtype)
    found = jax.value_and_grad(lambda w: linear_cross_entropy(x, w, labels))(w)
    assert_close(found, truth(jax.value_and_grad(lambda w: plain(x, w, labels)), w), dtype)


def test_losses_of_rows_have_gradients_by_whatever_comes_back(way, dtype):
    x, w, labels, b, s = problem(dtype)
    factors = jnp.asarray(np.random.default_rng(3).normal(size=50), dtype)  # of both signs

    def total(losses):
        def function(x, w, b, s):
            return (factors * losses(x, w, labels, b, s)).sum()

        return function

    def ours(x, w, labels, b, s):
        return linear_cross_entropy(x, w, labels, b, sample_weight=s, reduction="none")

    def formula(x, w, labels, b, s):
        return plain(x, w, labels, b, s, reduction="none")

    assert_close(ours(x, w, labels, b, s), truth(formula, x, w, labels, b, s), dtype)
    step, wanted = (jax.grad(total(losses), argnums=(0, 1, 2, 3)) for losses in (ours, formula))
    assert_close(jax.jit(step)(x, w, b, s), truth(wanted, x, w, b, s), dtype)
    assert_close(jax.grad(total(ours), argnums=1)(x, w, b, s), truth(wanted, x, w, b, s)[1], dtype)
    assert ours(x.reshape(5, 10, N), w, labels.reshape(5, 10), b, s.reshape(5, 10)).shape == (5, 10)


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
    asked.clear()
    jax.grad(lambda w: linear_cross_entropy(x, w, labels, b, reduction="none").sum())(w)
    assert asked == [(False, False, False, True), (False, True, False, False)]


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
    (dict(x=np.zeros((50, 0)), w=np.zeros((0, 4))), ValueError, "w has shape (0, 4); at least one feature and one"),
    (dict(x=np.zeros((3, 6), int)), TypeError, "x has dtype int32; a floating type is wanted"),
    (dict(labels=np.zeros(3, int)), ValueError, "labels has shape (3,); (50,) is wanted"),
    (
        dict(labels=np.zeros(50)),
        TypeError,
        "labels has dtype float32 and shape (50,); integers of shape (50,), or soft",
    ),
    (dict(labels=np.zeros((50, 3))), TypeError, "or soft targets of shape (50, 4), are wanted"),
    (dict(labels=np.zeros((50, 4), int)), ValueError, "labels has shape (50, 4); (50,) is wanted"),
    (dict(label_smoothing=1.5), ValueError, "label_smoothing must be in [0, 1]; got 1.5"),
    (dict(b=np.zeros(3)), ValueError, "b has shape (3,); (4,) is wanted"),
    (dict(sample_weight=np.zeros(3)), ValueError, "sample_weight has shape (3,); (50,) is wanted"),
    (dict(reduction="all"), ValueError, "reduction must be 'mean', 'sum' or 'none'; got 'all'"),
    (dict(n_threads=0), ValueError, "n_threads must be at least 1; got 0"),
]


@pytest.mark.parametrize(("changes", "error", "text"), BAD, ids=lambda value: str(value)[:14])
def test_wrong_arguments_are_errors_when_traced(library, changes, error, text):
    x, w, labels, b, _ = problem(np.float32)
    with pytest.raises(error) as caught:
        linear_cross_entropy(**(dict(x=x, w=w, labels=labels, b=b) | changes))
    assert text in str(caught.value)


def test_labels_that_there_are_not_are_an_error_when_it_runs(library):
    x, w, labels, b, _ = problem(np.float32)
    step = jax.jit(linear_cross_entropy)
    for wrong in (9, -1):
        with pytest.raises(jax.errors.JaxRuntimeError, match=f"labels must be in 0..3; row 3 holds {wrong}"):
            jax.block_until_ready(step(x, w, labels.at[3].set(wrong), b))


def test_nan_and_infinity_come_out_as_they_do_of_the_formula(way):
    x, w, labels, b, _ = problem(np.float32)
    for number in (np.nan, np.inf):
        losses = linear_cross_entropy(x.at[2, 1].set(number), w, labels, b, reduction="none")
        assert list(np.flatnonzero(~np.isfinite(losses))) == [2]
        value, dw = jax.value_and_grad(lambda w, x: linear_cross_entropy(x, w, labels, b))(w, x.at[2, 1].set(number))
        assert not np.isfinite(value) and not np.isfinite(dw).all()


def test_a_batch_without_rows(way, dtype):
    x, w, labels, b, _ = problem(dtype)
    for reduction, wanted in (("sum", 0.0), ("mean", np.nan)):
        step = jax.jit(
            jax.value_and_grad(lambda w, r=reduction: linear_cross_entropy(x[:0], w, labels[:0], reduction=r))
        )
        value, dw = step(w)
        np.testing.assert_equal(np.asarray(value), dtype(wanted))
        assert not dw.any() and dw.shape == w.shape
    assert linear_cross_entropy(x[:0], w, labels[:0], b, reduction="none").shape == (0,)


def test_other_derivatives_are_errors_that_say_so(library):
    x, w, labels, b, _ = problem(np.float32)
    with pytest.raises(NotImplementedError, match="has first derivatives in reverse mode only"):
        jax.hessian(lambda w: linear_cross_entropy(x, w, labels, b))(w)
    with pytest.raises(TypeError, match="can't apply forward-mode"):  # by JAX, of every function with a VJP of its own
        jax.jvp(lambda w: linear_cross_entropy(x, w, labels, b), (w,), (w,))
    with pytest.raises(NotImplementedError, match=r"no gradient with respect to soft targets: give jax.lax.stop"):
        jax.grad(lambda t: linear_cross_entropy(x, w, t, b))(jax.nn.one_hot(labels, K))


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
    value, grad = fastsoftmax.loss_and_grad(
        np.asarray(found["x"]), np.asarray(found["labels"]), np.zeros((20, 5), "f4")
    )
    np.testing.assert_allclose(found["value"], value, rtol=1e-6)
    np.testing.assert_allclose(found["grad"], grad, rtol=0, atol=1e-6)
