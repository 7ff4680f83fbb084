"""Data that is read anew in each pass gives what the same data in memory gives, to the last bit."""

import numpy as np
import pytest
import scipy.sparse
from problems import chunks_of, fitted, lettered_problem, names_of, write_parquet

import fastsoftmax
from fastsoftmax.data.sources import source as sources
from fastsoftmax.data.sources.scan import memory_bytes
from fastsoftmax.kernels.contract import Layout

X, LABELS = lettered_problem()
CLASSES, CODES = np.unique(LABELS, return_inverse=True)


@pytest.fixture
def npy(tmp_path):
    np.save(tmp_path / "X.npy", X)
    np.save(tmp_path / "y.npy", LABELS)
    return fastsoftmax.scan(tmp_path / "X.npy", tmp_path / "y.npy")


@pytest.fixture
def parquet(tmp_path):
    return fastsoftmax.scan(write_parquet(tmp_path / "t.parquet", X, LABELS), "y")


@pytest.fixture
def generator():
    return fastsoftmax.scan(chunks_of(X, LABELS))


@pytest.mark.parametrize("solver", ["auto", "lbfgs", "newton", "newton_cg", "gradient_descent"])
@pytest.mark.parametrize("kind", ["npy", "parquet", "generator"])
def test_theta_is_that_of_memory_to_the_last_bit(kind, solver, request):
    data = request.getfixturevalue(kind)
    order = "F" if kind == "parquet" else "C"
    wanted = fitted(np.array(X, order=order), CODES, solver=solver)
    np.testing.assert_array_equal(fitted(data, solver=solver), wanted)
    assert data.classes.tolist() == ["a", "b", "c"] and data.shape == X.shape
    assert data.counts.tolist() == np.bincount(CODES).tolist()


def test_with_a_small_budget_chunks_are_smaller_and_bits_those_of_such_chunks(tmp_path):
    data, labels = lettered_problem(100_000, 30)
    codes = np.unique(labels, return_inverse=True)[1]
    scan = fastsoftmax.scan(write_parquet(tmp_path / "t.parquet", data, labels), "y", memory="20MB")
    obj = fastsoftmax.Objective(scan, fit_intercept=True)
    whole = fastsoftmax.Objective(np.asfortranarray(data), codes, fit_intercept=True)
    assert obj.plan.chunk < whole.plan.chunk
    whole.plan = obj.plan
    theta = np.random.default_rng(0).normal(size=obj.shape)
    for mine, other in zip(obj.value_and_grad(theta), whole.value_and_grad(theta), strict=True):
        np.testing.assert_array_equal(mine, other)


def test_chunks_of_any_size_have_every_row_once(parquet, generator):
    for data in (parquet, generator):
        for rows in (1000, 999, 700, 1, 10**6):
            chunks = [(part.start, part.X.copy(), part.y) for part in data.source().chunks(rows)]
            assert [start for start, _, _ in chunks] == list(range(0, len(X), rows))
            np.testing.assert_array_equal(np.vstack([part for _, part, _ in chunks]), X)
            np.testing.assert_array_equal(np.concatenate([y for _, _, y in chunks]), CODES)


def test_weights_come_from_a_column(tmp_path):
    w = np.random.default_rng(1).uniform(0, 3, len(X))
    w[:100] = 0
    path = write_parquet(tmp_path / "t.parquet", X, LABELS, w=w)
    wanted = fitted(np.asfortranarray(X), CODES, sample_weight=w)
    data = fastsoftmax.scan(path, "y", weight="w")
    assert data.feature_names == names_of(X)
    np.testing.assert_array_equal(fitted(data), wanted)
    np.testing.assert_array_equal(fitted(fastsoftmax.scan(chunks_of(X, LABELS, w))), fitted(X, CODES, sample_weight=w))


def test_sparse_chunks(monkeypatch):
    thin = scipy.sparse.random_array((3000, 40), density=0.1, format="csr", rng=0, dtype=np.float32)
    data = fastsoftmax.scan(chunks_of(thin, LABELS))
    for solver in ("auto", "lbfgs", "newton_cg"):
        np.testing.assert_array_equal(fitted(data, solver=solver), fitted(thin, CODES, solver=solver))
    few = fastsoftmax.scan(chunks_of(thin, LABELS), memory=40_000).source()
    parts = list(few.chunks(2000))
    assert max(len(part.X.data) for part in parts) <= 0.2 * 40_000 / 12
    np.testing.assert_array_equal(scipy.sparse.vstack([part.X.to_scipy() for part in parts]).toarray(), thin.toarray())
    np.testing.assert_array_equal(few.pick(np.array([3, 4, 2999])).toarray(), thin[[3, 4, 2999]].toarray())


def test_one_column_of_an_array_is_the_target(tmp_path):
    np.save(tmp_path / "all.npy", np.column_stack([X, CODES]))
    np.testing.assert_array_equal(
        fitted(fastsoftmax.scan(tmp_path / "all.npy", -1)), fitted(np.column_stack([X, CODES])[:, :-1], CODES)
    )


@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("kind", ["f8", "u1", "i8", "?"])
def test_arrays_of_any_dtype_and_order(tmp_path, kind, order):
    numbers = np.array(np.abs(X * 10), kind, order=order)
    np.save(tmp_path / "X.npy", numbers)
    np.testing.assert_array_equal(fitted(fastsoftmax.scan(tmp_path / "X.npy", CODES)), fitted(numbers, CODES))
    made = fastsoftmax.scan(chunks_of(np.ascontiguousarray(numbers), CODES))
    np.testing.assert_array_equal(fitted(made), fitted(np.ascontiguousarray(numbers), CODES))


def test_columns_far_from_zero_are_shifted_as_in_memory(tmp_path):
    far = X + np.float32(1000)
    np.save(tmp_path / "X.npy", far)
    theta, memory = fitted(fastsoftmax.scan(tmp_path / "X.npy", CODES)), fitted(far, CODES)
    np.testing.assert_allclose(theta, memory, rtol=1e-3, atol=1e-3 * abs(memory[:-1]).max())


def test_a_scan_reads_nothing_before_it_is_asked(tmp_path):
    calls = []

    def chunks():
        calls.append(0)
        yield from chunks_of(X, LABELS)()

    data = fastsoftmax.scan(chunks)
    assert len(calls) == 1 and repr(data) == "<Scan of chunks: ? rows, 5 features>"
    fastsoftmax.Objective(data)
    assert len(calls) == 2 and repr(data) == "<Scan of chunks: 3,000 rows, 5 features>"


def test_facts_are_those_of_arrays(parquet, monkeypatch):
    monkeypatch.setattr(sources, "ROWS_AT_ONCE", 100)
    monkeypatch.setattr(sources, "HEAD_ROWS", 10)
    source = parquet.source()
    assert source.present_classes(5).tolist() == [True, True, True, False, False]
    assert source.least_weight() == 1.0 and source.has_distributions() and source.nnz == X.size
    np.testing.assert_array_equal(source.pick(np.array([0, 5, 2999])), X[[0, 5, 2999]])


def test_filters_and_chosen_columns(tmp_path):
    path = write_parquet(tmp_path / "t.parquet", X, LABELS, year=np.arange(3000) // 1000)
    data = fastsoftmax.scan(path, "y", columns=["x3", "x0"], filters=[("year", ">", 0)])
    assert data.feature_names == ["x3", "x0"] and data.shape == (2000, 2)
    np.testing.assert_array_equal(fitted(data), fitted(np.asfortranarray(X[1000:, [3, 0]]), CODES[1000:]))


def test_a_folder_of_parts(tmp_path):
    folder = tmp_path / "parts"
    for number in range(3):
        rows = slice(1000 * number, 1000 * number + 1000)
        (folder / f"kind={number}").mkdir(parents=True)
        write_parquet(folder / f"kind={number}" / "part.parquet", X[rows], LABELS[rows])
    data = fastsoftmax.scan(folder, "y", ignore=("kind",))
    np.testing.assert_array_equal(fitted(data), fitted(np.asfortranarray(X), CODES))
    assert fastsoftmax.scan(folder, "y").feature_names[0] == "kind"


@pytest.mark.parametrize(
    "given, wanted", [("512MB", 512 * 10**6), ("2 GiB", 2 << 30), ("1.5kb", 1500), (4096, 4096), ("77", 77)]
)
def test_budgets(given, wanted):
    assert memory_bytes(given) == wanted


@pytest.mark.parametrize("given", ["much", "12 parsecs", "-1MB", 0, True, 1.5, None])
def test_budgets_that_are_none(given):
    with pytest.raises(ValueError, match="memory must be"):
        memory_bytes(given)


def test_a_budget_that_is_too_small_is_an_error_before_the_work(parquet):
    small = fastsoftmax.scan(parquet._reader.path, "y", memory="100kB")
    with pytest.raises(ValueError, match=r"memory=100 kB is too little: a pass over t.parquet needs \d+ kB, .* chunks"):
        fastsoftmax.Objective(small)


def test_a_layout_bounds_chunks():
    assert Layout().chunk_bytes is None


def test_what_a_scan_cannot_be_given(parquet, npy):
    obj = fastsoftmax.Objective
    for error, match, call in [
        (TypeError, "y is given beside a scan", lambda: obj(parquet, CODES)),
        (TypeError, "sample_weight is given beside a scan", lambda: obj(parquet, sample_weight=1.0)),
        (
            ValueError,
            "was scanned without a target",
            lambda: obj(fastsoftmax.scan(parquet._reader.path, columns=["x0"])),
        ),
        (ValueError, "has 3 classes in column 'y'; 2 are wanted", lambda: obj(parquet, n_classes=2)),
        (ValueError, "target has no meaning for chunks", lambda: fastsoftmax.scan(chunks_of(X), "y")),
        (ValueError, "filters has no meaning for X.npy", lambda: fastsoftmax.scan(npy._reader.path, -1, filters=[])),
        (TypeError, "walked once", lambda: fastsoftmax.scan(chunks_of(X)())),
        (TypeError, "a path, a callable", lambda: fastsoftmax.scan(X)),
        (FileNotFoundError, "no such file", lambda: fastsoftmax.scan("none.parquet")),
        (ValueError, "dtype must be float32 or float64", lambda: fastsoftmax.scan(chunks_of(X), dtype="i4")),
    ]:
        with pytest.raises(error, match=match):
            call()
