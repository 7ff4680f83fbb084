"""The functions of fastsoftmax.h: signatures that stay, and modules in C, C++ and Cython that call all of them.

The modules of `tests/fixtures/client` are built here, by setuptools, against the package under test. What they compute
is what `Objective` and `Model` do, to the last bit.
"""

import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace

import child
import numpy as np
import pytest
from checkout import fail_or_skip

import fastsoftmax
from fastsoftmax.kernels import api, plan

try:
    from fastsoftmax.kernels.api import call, functions
except ImportError as error:  # a checkout without its compiled modules
    functions = error

CLIENT = Path(__file__).parents[2] / "fixtures" / "client"
INCLUDE = Path(fastsoftmax.get_include())
HEADER = (INCLUDE / "fastsoftmax.h").read_text()
# No name, order or type of these may change without another FASTSOFTMAX_ABI.
ABI = 1
DATA = "int64_t, int64_t, int64_t, T const *, int64_t, int64_t"
SIGNATURES = {
    "error": "char const * (void)",
    "loss_and_grad": f"int ({DATA}, int32_t const *, double const *, T const *, T const *, double, double, int, "
    "double *, T *, T *, T *, T *)",
    "hess_prod": f"int ({DATA}, double const *, T const *, T const *, T const *, T const *, double, int, T *, T *)",
    "predict": f"int ({DATA}, T const *, T const *, int, int, T *)",
    "predict_labels": f"int ({DATA}, T const *, T const *, int, int64_t *)",
}
ENTRIES = [
    *("error", "loss_and_grad_f32", "loss_and_grad_f64", "hess_prod_f32", "hess_prod_f64", "predict_f32"),
    *("predict_f64", "predict_labels_f32", "predict_labels_f64"),
]
KINDS = {1: "logits", 2: "proba", 3: "log_proba"}


def wanted_signature(name):
    stem, _, bits = name.partition("_f")
    return SIGNATURES[stem].replace("T ", "float " if bits == "32" else "double ")


def as_cython_writes(declaration):
    """A declaration of C, without its name, as Cython writes a type: const comes after what is constant."""
    words = declaration.split()
    words = [*words[1:2], *words[:1], *words[2:]] if words[0] == "const" else words
    return " ".join(re.sub(r"(\*?)\w+$", r"\1", " ".join(words)).split()) if len(words) > 1 else declaration


def test_the_table_of_the_header_is_frozen():
    assert re.search(r"#define FASTSOFTMAX_ABI (\d+)", HEADER)[1] == str(ABI)
    struct = re.search(r"typedef struct \{(.*?)\} fastsoftmax_functions;", HEADER, re.DOTALL)[1]
    struct = re.sub(r"/\*.*?\*/", "", struct, flags=re.DOTALL)
    version, size, *entries = [" ".join(line.split()) for line in struct.split(";")[:-1]]
    assert (version, size) == ("int abi", "size_t size")
    found = {}
    for entry in entries:
        result, name, arguments = re.fullmatch(r"(.*?)\(\*(\w+)\)\((.*)\)", entry).groups()
        types = ", ".join(map(as_cython_writes, arguments.split(", ")))
        found[name] = f"{as_cython_writes(result + ' x')} ({types})"
    assert list(found) == ENTRIES
    assert found == {name: wanted_signature(name) for name in ENTRIES}


def test_the_header_has_a_name_for_each_function():
    names = dict(re.findall(r"#define fastsoftmax_(\w+) \(fastsoftmax_table->(\w+)\)", HEADER))
    assert names == {name: name for name in ENTRIES}


def test_numbers_are_those_of_the_pxd_and_of_python():
    pattern = r"\b(FASTSOFTMAX_\w+) = (\d+)"
    numbers = dict(re.findall(pattern, HEADER))
    assert numbers == dict(re.findall(pattern, (INCLUDE / "functions.pxd").read_text()))
    assert {int(numbers[f"FASTSOFTMAX_{kind.upper()}"]): kind for kind in KINDS.values()} == KINDS
    assert sorted(set(call.STATUS.values())) == [1, 2, 3, 4, 5]


def test_signatures_in_cython_are_frozen():
    texts = {name: re.search('"(.*?)"', repr(capsule))[1] for name, capsule in functions.__pyx_capi__.items()}
    texts["error"] = texts["error"].replace("*(", "* (")
    assert texts == {name: wanted_signature(name) for name in ENTRIES}


def test_the_package_reexports_all_for_cimport():
    exported = re.findall(r"^    (\w+),$", (INCLUDE / "__init__.pxd").read_text(), re.MULTILINE)
    declared = re.findall(r"(?:cdef int|char\*|^   ) (\w+)(?:\(| =)", (INCLUDE / "functions.pxd").read_text(), re.M)
    assert sorted(exported) == sorted(declared)
    assert api.get_include() == str(INCLUDE)


# --------------------------------------------------------------------------------------------- modules that call


@pytest.fixture(scope="module")
def clients(tmp_path_factory):
    """The modules, by name, built in a folder of their own."""
    if isinstance(functions, ImportError):
        fail_or_skip(functions)
    pytest.importorskip("setuptools")
    pytest.importorskip("Cython")
    if sys.platform == "win32":
        pytest.skip("client.c has threads of POSIX")
    folder = tmp_path_factory.mktemp("client")
    shutil.copytree(CLIENT, folder, dirs_exist_ok=True)
    readme = (CLIENT.parents[2] / "README.md").read_text()
    (folder / "client_readme.pyx").write_text(re.search(r"^```cython\n(.*?)^```$", readme, re.M | re.S)[1])
    done = child.python("setup.py", "-q", "build_ext", "--inplace", "-j2", cwd=folder, PYTHONSAFEPATH=None)
    assert done.returncode == 0, done.stdout + done.stderr
    modules = {name: load(folder, name) for name in ("client_c", "client_cpp", "client_cython", "client_readme")}
    return modules | {"folder": folder}


def load(folder, name):
    """An extension module from a folder that is not on the search path."""
    spec = spec_from_file_location(name, folder / f"{name}{EXTENSION_SUFFIXES[0]}")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=["client_c", "client_cpp"])
def client(clients, request):
    return clients[request.param]


def data_of(dtype=np.float64, *, m=333, n=7, k=4, bias=True, weights=True, seed=0):
    rng = np.random.default_rng(seed)
    return SimpleNamespace(
        X=rng.normal(size=(m, n)).astype(dtype),
        y=rng.integers(0, k, m).astype(np.int32),
        theta=rng.normal(size=(n + bias, k)).astype(dtype),
        v=rng.normal(size=(n + bias, k)).astype(dtype),
        w=rng.random(m) + 0.5 if weights else None,
        bias=bias,
    )


def run(client, data, *, count=2, what=2, l2=0.1, label_smoothing=0.05, n_threads=1, joined=False, **changes):
    """All functions, ``count`` times at once: what was written, and (status, message) of each thread."""
    X, y, theta, v, w = data.X, data.y, data.theta, data.v, data.w
    (m, n), k, itemsize, parts = X.shape, theta.shape[1], X.itemsize, max(count, 1)
    outputs = dict(grad=(n, k), grad_bias=(k,), dX=(m, n), row_loss=(m,), product=(n, k), product_bias=(k,), out=(m, k))
    out = {name: np.full((parts, *shape), np.nan, X.dtype) for name, shape in outputs.items()}
    out |= {"value": np.full(parts, np.nan), "labels": np.full((parts, m), -1)}
    # A bias that does not follow its parameters is elsewhere in memory.
    biases = [(a[n:] if joined else a[n:].copy()) if data.bias else None for a in (theta, v)]
    written = ("value", "grad", "grad_bias", "dX", "row_loss", "product", "product_bias", "out", "labels")
    arrays = dict(X=X, y=y, w=w, theta=theta, bias=biases[0], v=v, v_bias=biases[1])
    arrays |= {name: out[name] for name in written}
    addresses = {name: 0 if a is None else a.ctypes.data for name, a in arrays.items()}
    numbers = dict(single=int(itemsize == 4), what=what, m=m, n=n, k=k, row_stride=X.strides[0] // itemsize,
                   column_stride=X.strides[1] // itemsize, n_threads=n_threads, l2=l2, eps=label_smoothing)  # fmt: skip
    values = numbers | addresses
    assert set(changes) <= set(values)
    return out, client.run(count, *(values | changes).values())


def check(out, data, *, what=2, l2=0.1, label_smoothing=0.05):
    """What was written, by every thread, is what Python returns."""
    n = data.X.shape[1]
    obj = fastsoftmax.Objective(
        data.X, data.y, data.theta.shape[1],
        fit_intercept=data.bias, sample_weight=data.w, l2=l2, label_smoothing=label_smoothing,
    )  # fmt: skip
    wanted = obj.evaluate(data.theta, dX=True, row_loss=True)
    product = obj.hess_prod(data.theta, data.v)
    model = fastsoftmax.Model(data.theta[:n], data.theta[n] if data.bias else None)
    predicted = {"logits": model.decision_function, "proba": model.predict_proba, "log_proba": model.predict_log_proba}
    results = dict(
        value=wanted.value, grad=wanted.grad[:n], dX=wanted.dX, row_loss=wanted.row_loss, product=product[:n],
        out=predicted[KINDS[what]](data.X), labels=model.predict(data.X),
    )  # fmt: skip
    if data.bias:
        results |= {"grad_bias": wanted.grad[n], "product_bias": product[n]}
    for name, result in results.items():
        for part in out[name]:
            assert np.array_equal(part, result), name


@pytest.mark.parametrize("weights", [True, False], ids=["weights", "no weights"])
@pytest.mark.parametrize("bias", ["joined", "apart", ""])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_every_function_gives_what_python_does(client, dtype, bias, weights):
    data = data_of(dtype, bias=bool(bias), weights=weights)
    out, states = run(client, data, joined=bias == "joined")
    assert states == [(0, "")] * 2
    check(out, data)


@pytest.mark.parametrize("what", KINDS)
def test_every_prediction(client, what):
    data = data_of("f4")
    out, states = run(client, data, what=what, l2=0, label_smoothing=0)
    assert states == [(0, "")] * 2
    check(out, data, what=what, l2=0, label_smoothing=0)


@pytest.mark.parametrize("layout", ["F", "strided", "reversed"])
def test_strides_count_elements(client, layout):
    data = data_of("f8")
    whole = np.zeros((2 * len(data.X), 3 * data.X.shape[1]))
    X = {"F": np.asfortranarray(data.X), "strided": whole[::2, 1::3], "reversed": data.X[::-1, ::-1]}[layout]
    X[...] = data.X.copy()
    data.X = X
    out, states = run(client, data)
    assert states == [(0, "")] * 2
    check(out, data)


def test_eight_threads_at_once_and_the_callers_own(client):
    data = data_of("f8", m=5000)
    for count in (8, 0):
        out, states = run(client, data, count=count, n_threads=0)
        assert states == [(0, "")] * max(count, 1)
        check(out, data)


def test_what_is_not_wanted_is_not_written(client):
    data = data_of("f8")
    out, states = run(client, data, dX=0, row_loss=0)
    assert states == [(0, "")] * 2
    assert np.isnan(out["dX"]).all() and np.isnan(out["row_loss"]).all()
    wanted = fastsoftmax.Objective(data.X, data.y, 4, fit_intercept=True, sample_weight=data.w, l2=0.1,
                                   label_smoothing=0.05).value_and_grad(data.theta)  # fmt: skip
    assert np.array_equal(out["grad"][1], wanted[1][:-1])


def test_a_shape_that_comes_again_takes_its_plan_from_before(client, monkeypatch):
    data, made = data_of("f8"), []
    monkeypatch.setattr(plan, "_plans", {})
    kept = call.kept_plan
    monkeypatch.setattr(call, "kept_plan", lambda key, make: kept(key, lambda: made.append(key) or make()))
    for _ in range(3):
        assert run(client, data, count=0)[1] == [(0, "")]
    assert sorted(key[0] for key in made) == ["cython", "cython, prediction"]


def test_plans_are_not_kept_without_end(monkeypatch):
    monkeypatch.setattr(plan, "_plans", {})
    monkeypatch.setattr(plan, "MOST_PLANS", 3)
    for key in range(10):
        assert plan.kept_plan(key, lambda key=key: key) == key
        assert len(plan._plans) <= 3


INVALID = [
    (dict(X=0), "X must not be NULL"),
    (dict(y=0), "y must not be NULL"),
    (dict(theta=0), "theta must not be NULL"),
    (dict(v_bias=0), "bias, v_bias and product_bias must all be NULL"),
    (dict(k=1), "k = 1 classes"),
    (dict(m=0), "m = 0 rows"),
    (dict(n=-3), "n = -3 features"),
    (dict(m=1 << 60), "more than memory can hold"),
    (dict(l2=-1.0), "l2 must be finite and at least 0; got -1.0"),
    (dict(eps=2.0), "label_smoothing must be in [0, 1]; got 2.0"),
    (dict(n_threads=-2), "n_threads must be at least 1; got -2"),
    (dict(what=7), "what must be FASTSOFTMAX_LOGITS (1), _PROBA (2) or _LOG_PROBA (3); got 7"),
    (dict(what=0), "what must be FASTSOFTMAX_LOGITS (1), _PROBA (2) or _LOG_PROBA (3); got 0"),
]


@pytest.mark.parametrize(("changes", "words"), INVALID)
def test_a_wrong_argument_is_a_number_and_a_text(client, changes, words):
    data = data_of("f8")
    _, states = run(client, data, **changes)
    assert [status for status, _ in states] == [1, 1]
    assert all(words in text for _, text in states)
    assert run(client, data)[1] == [(0, "")] * 2


def test_what_is_in_the_arrays_is_checked(client):
    data = data_of("f8")
    data.y[5] = 4
    assert run(client, data, count=1)[1] == [(1, "y must hold class numbers 0..3; row 5 holds 4")]
    data.y[5], data.X[7, 2] = 0, np.nan
    ((status, text),) = run(client, data, count=1)[1]
    assert status == 1 and "row 7, column 2 holds nan" in text
    data.X[7, 2], data.theta[1, 1] = 1e308, 1e308
    ((status, text),) = run(client, data, count=1)[1]
    assert status == 2 and "overflows float64" in text


@pytest.mark.parametrize(("error", "status"), [(MemoryError, 3), (KeyboardInterrupt, 4), (RecursionError, 5)])
def test_other_errors_have_numbers_too_and_a_long_text_is_cut(client, monkeypatch, error, status):
    text = []

    def fail(*arguments, **options):
        raise error(*text)

    monkeypatch.setattr(call, "loss_and_grad", fail)
    assert run(client, data_of())[1] == [(status, error.__name__)] * 2
    text.append("x" * 2000)
    assert run(client, data_of(), count=1)[1] == [(status, "x" * 511)]


def test_a_module_built_for_other_functions_is_refused(clients):
    with pytest.raises(ImportError, match="fastsoftmax has version 1 of .* built for version 99"):
        load(clients["folder"], "client_later")


# ------------------------------------------------------------------------------------------------------- Cython


def test_cython_cimports_what_gives_the_same(clients):
    client, data = clients["client_cython"], data_of("f8", bias=False, weights=False)
    obj = fastsoftmax.Objective(data.X, data.y, 4)
    product = np.empty_like(data.theta)
    client.hess_prod(data.X, data.theta, data.v, product)
    assert np.array_equal(product, obj.hess_prod(data.theta, data.v))
    model, proba, labels = fastsoftmax.Model(data.theta), np.empty((333, 4)), np.empty(333, np.int64)
    client.predict(data.X, data.theta, proba, labels)
    assert np.array_equal(proba, model.predict_proba(data.X)) and np.array_equal(labels, model.predict(data.X))
    single = data.X.astype("f4"), data.y, data.theta.astype("f4")
    assert client.loss_single(*single) == fastsoftmax.Objective(*single[:2], 4).value(single[2])


def test_the_example_of_the_readme(clients):
    client, data = clients["client_readme"], data_of("f8", bias=False)
    value, grad = fastsoftmax.loss_and_grad(data.X, data.y, data.theta, l2=0.1)

    def one(_):
        out = np.empty_like(grad)
        return client.loss_and_grad(data.X, data.y, data.theta, out) == value and np.array_equal(out, grad)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(one, range(50)))
    data.y[0] = -1
    with pytest.raises(ValueError, match="row 0 holds -1"):
        client.loss_and_grad(data.X, data.y, data.theta, np.empty_like(data.theta))
