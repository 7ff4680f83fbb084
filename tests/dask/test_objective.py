"""Parts on worker processes give the bits of parts in one process; rows stay where they are."""

import logging
from operator import ne

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from dask.delayed import delayed

import fastsoftmax
from fastsoftmax import datasets
from fastsoftmax.dask import Objective
from fastsoftmax.objective.parts.local import total_of

ROWS = [700, 1, 1300, 999]
OPTIONS = {"fit_intercept": True, "l2": 1e-3}


def cut(array, rows=ROWS):
    return [array[a:b] for a, b in zip(np.cumsum([0, *rows[:-1]]), np.cumsum(rows), strict=True)]


@pytest.fixture(scope="module")
def data():
    X, y, _ = datasets.make_problem(3000, 5, 3, signal=1.0, seed=2)
    return X, y, np.random.default_rng(0).integers(0, 4, 3000).astype(float)


def collections(X, y, w):
    """The same rows in every kind of collection."""
    columns = list("abcde")
    frame = dd.from_delayed([delayed(pd.DataFrame)(part, columns=columns) for part in cut(X)], verify_meta=False)
    series = [
        dd.from_delayed([delayed(pd.Series)(part) for part in cut(each)], meta=pd.Series(each[:0]), verify_meta=False)
        for each in (y, w)
    ]
    array = da.from_array(X, chunks=(tuple(ROWS), 2))
    return {
        "array": (array, da.from_array(y, chunks=1000), da.from_array(w, chunks=tuple(ROWS))),
        "array beside arrays of NumPy": (array, y, w),
        "frame": (frame, *series),
        "delayed": tuple([delayed(part) for part in cut(each)] for each in (X, y, w)),
        "unknown rows": (frame.to_dask_array(), series[0].to_dask_array(), series[1]),
        "sparse": ([delayed(sp.csr_array)(part) for part in cut(X)], *([*map(delayed, cut(each))] for each in (y, w))),
    }


KINDS = ("array", "array beside arrays of NumPy", "frame", "delayed", "unknown rows", "sparse")


@pytest.mark.parametrize("kind", KINDS)
def test_value_and_gradient_have_the_bits_of_one_process(client, data, kind):
    X, y, w = collections(*data)[kind]
    obj = Objective(X, y, sample_weight=w, client=client, **OPTIONS)
    by_column = kind in ("frame", "unknown rows")
    make = sp.csr_array if kind == "sparse" else np.asfortranarray if by_column else np.asarray
    wanted = total_of(zip(map(make, cut(data[0])), cut(data[1]), cut(data[2]), strict=True), **OPTIONS)
    theta = np.random.default_rng(1).standard_normal(obj.shape)
    assert obj.shape == wanted.shape
    for found, same in zip(obj.value_and_grad(theta), wanted.value_and_grad(theta), strict=True):
        np.testing.assert_array_equal(found, same)


def test_collections_of_persisted_chunks_stay_where_they_are(client, data):
    X = client.persist(da.from_array(data[0].astype("f4"), chunks=(500, 5)))
    obj = Objective(X, data[1], client=client, **OPTIONS)
    before = client.who_has(X)
    there = {address for places in before.values() for address in places}
    assert len(there) == 2
    fastsoftmax.minimize(obj)
    assert client.who_has(X) == before
    homes = [places[0] for _, places in sorted(before.items())]
    assert sum(map(ne, homes, obj.parts.places)) <= 1  # Dask may let an idle worker take one


@pytest.mark.parametrize("solver", ["auto", "lbfgs", "newton", "newton_cg", "sgd"])
@pytest.mark.parametrize("sparse", [False, True])
def test_solvers_end_at_the_same_bits(client, data, solver, sparse):
    if sparse and solver == "newton":
        pytest.skip("newton needs dense X")
    make = sp.csr_array if sparse else np.asarray
    parts = [make(part) for part in cut(data[0])]
    obj = Objective([*map(delayed, parts)], [*map(delayed, cut(data[1]))], client=client, **OPTIONS)
    found = fastsoftmax.minimize(obj, solver=solver, tol=1e-4, max_iter=20)
    wanted = fastsoftmax.minimize(
        total_of(zip(parts, cut(data[1]), strict=True), **OPTIONS), solver=solver, tol=1e-4, max_iter=20
    )
    np.testing.assert_array_equal(found.theta, wanted.theta)
    assert found.message == wanted.message and (found.converged or solver == "sgd")


def test_columns_far_from_zero_are_shifted_on_the_workers(client, data):
    X = (data[0] + [0.0, 1e5, 0.0, 0.0, 2000.0]).astype("f4")
    obj = Objective(da.from_array(X, chunks=(tuple(ROWS), 5)), data[1], client=client, **OPTIONS)
    wanted = fastsoftmax.minimize(total_of(zip(cut(X), cut(data[1]), strict=True), **OPTIONS))
    np.testing.assert_array_equal(fastsoftmax.minimize(obj).theta, wanted.theta)


def test_neighbours_go_to_the_same_worker_and_rows_never_move(client, data):
    obj = Objective(da.from_array(data[0], chunks=(300, 5)), data[1], client=client, **OPTIONS)
    places = obj.parts.places
    assert len(places) == 10 and len(set(places)) == 2
    assert sum(a != b for a, b in zip(places, places[1:], strict=False)) == 1
    fastsoftmax.minimize(obj)
    assert all(found == (place,) for found, place in zip(held(client, obj), places, strict=True))


def held(client, obj):
    """The workers that hold each part."""
    return [tuple(client.who_has([part])[part.key]) for part in obj.parts.futures]


def test_bytes_are_those_of_theta_to_each_worker_and_of_sums_back(client, data, caplog, monkeypatch):
    obj = Objective(da.from_array(data[0], chunks=(750, 5)), data[1], client=client, **OPTIONS)
    monkeypatch.setattr("fastsoftmax.dask.workers.INLINE", 0)  # theta goes to each worker before its task
    with caplog.at_level(logging.INFO, "fastsoftmax.dask"):
        obj.value_and_grad(np.zeros(obj.shape))
    theta = 18 * 8
    assert 4 * theta < obj.bytes_of_pass < 4 * theta + 1000
    assert f"value_and_grad: 4 parts on 2 workers, {obj.bytes_of_pass} bytes" in caplog.text


def test_many_sparse_columns_send_the_rows_of_the_gradient_that_are_not_zero(client):
    X = sp.random_array((400, 20_000), density=1e-4, format="csr", rng=np.random.default_rng(3))
    y = np.arange(400) % 3
    chunks = [X[:200], X[200:]], [y[:200], y[200:]]
    obj = Objective(*([*map(delayed, each)] for each in chunks), l2=0.1, client=client)
    theta = np.random.default_rng(4).standard_normal(obj.shape)
    value, grad = obj.value_and_grad(theta)
    assert obj.bytes_of_pass < 2 * theta.nbytes + 800 * 5 * 8
    np.testing.assert_array_equal(grad, total_of(zip(*chunks, strict=True), l2=0.1).value_and_grad(theta)[1])


def test_empty_partitions_are_left_out(client, data):
    X, y, _ = data
    parts = [X[:1000], X[:0], X[1000:]], [y[:1000], y[:0], y[1000:]]
    obj = Objective(*([*map(delayed, each)] for each in parts), client=client)
    assert obj.n_rows == 3000 and len(obj.parts.places) == 2


def test_errors_say_what_is_wrong(client, data):
    X, y, w = data
    bad = X.copy()
    bad[1904, 3] = np.nan
    array = da.from_array(X, chunks=(1000, 5))
    cases = [
        (lambda: Objective(X, y, client=client), TypeError, "X must be a Dask array or data frame, or a list"),
        (lambda: Objective(array, y[:9], client=client), ValueError, "y has 9 rows; one for each of the 3000"),
        (
            lambda: Objective([delayed(X)], [delayed(y)] * 2, client=client),
            ValueError,
            "y has 2 partitions and X has 1",
        ),
        (lambda: Objective(array, y, 2, client=client), ValueError, "partition 0: y has 3 classes; n_classes is 2"),
        (lambda: Objective(array, -y, client=client), ValueError, r"partition \d: y must hold class numbers"),
        (lambda: Objective(array, y), ValueError, r"no Client of dask.distributed; Client\(\) starts one"),
    ]
    for make, kind, wanted in cases:
        with pytest.raises(kind, match=wanted):
            make()
    obj = Objective(da.from_array(bad, chunks=(1000, 5)), y, client=client)
    wanted = r"partition 1 \(rows 1000 to 1999 of all\): X must be finite; row 904, column 3 holds nan"
    with pytest.raises(ValueError, match=wanted):
        fastsoftmax.minimize(obj)


def test_dask_is_told_the_size_of_parts(client, data):
    obj = Objective(da.from_array(data[0], chunks=(1500, 5)), data[1], client=client)
    sizes = client.nbytes([part.key for part in obj.parts.futures], summary=False)
    assert min(sizes.values()) >= 1500 * 5 * 8
