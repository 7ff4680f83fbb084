"""Every row belongs to one slab of one chunk, and nothing depends on the number of threads."""

import inspect

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastsoftmax.kernels import plan as plan_module
from fastsoftmax.kernels.contract import Layout
from fastsoftmax.kernels.plan import (
    ALIASED_BYTES,
    FLOAT32_TERMS,
    FLUSH_ROWS,
    ROW_ENTRIES,
    SHARED_BLOCK,
    SLAB_BYTES,
    SLABS_MAX,
    VECTOR_BYTES,
    Plan,
    hot_columns,
    kept_plan,
    make_hessian_plan,
    make_plan,
    make_sparse_plan,
)
from fastsoftmax.kernels.tuning import tuning

SIZES = st.tuples(st.integers(1, 10**7), st.integers(1, 10**4), st.integers(2, 10**4), st.sampled_from(["f4", "f8"]))


@given(rows=st.integers(1, 20000), tiles=st.integers(1, 6), slabs=st.integers(1, 300))
def test_slabs_cover_every_row_once_and_in_order(rows, tiles, slabs):
    block = 32 * tiles
    plan = make_plan(rows, 3, 2, np.dtype("f8"), block=block, slabs=slabs)
    ranges = plan.slab_ranges(rows)
    numbers, starts, ends = zip(*ranges, strict=True)
    assert numbers == tuple(range(len(ranges))) and len(ranges) <= slabs
    assert starts[0] == 0 and ends[-1] == rows and starts[1:] == ends[:-1]
    assert all(a < b for _, a, b in ranges)
    assert all(a % block == 0 for a in starts), "a slab must start with a whole block"


@given(SIZES)
def test_default_plan_keeps_its_bounds(size):
    m, n, k, dtype = size
    plan = make_plan(m, n, k, np.dtype(dtype))
    most = SHARED_BLOCK if plan.strategy == "class-parallel" else tuning().large_max
    assert 1 <= plan.block <= most and plan.block * np.dtype(dtype).itemsize % VECTOR_BYTES == 0
    assert 1 <= plan.slabs <= SLABS_MAX
    assert plan.slabs <= 4 or plan.slabs * n * k * 8 <= SLAB_BYTES
    assert plan.chunk % (plan.slabs * plan.block) == 0
    most = FLUSH_ROWS if dtype == "f4" else plan.chunk
    assert plan.flush_rows % plan.block == 0 and plan.block <= plan.flush_rows <= max(plan.block, most)


def test_overrides_are_taken_as_given():
    plan = make_plan(1000, 7, 3, np.dtype("f8"), block=96, slabs=3, chunk=77)
    assert (plan.block, plan.slabs, plan.chunk) == (96, 3, 77)
    assert plan.flush_rows % 96 == 0


@pytest.mark.parametrize("block", [1, 5, 33, 100])
def test_a_block_is_always_whole_vectors(dtype, block):
    """Kernels write whole vectors: a block of 5 rows would let them write past their scratch memory."""
    plan = make_plan(1000, 7, 3, dtype, block=block)
    assert plan.block >= block and plan.block * dtype.itemsize % VECTOR_BYTES == 0


def test_a_block_of_many_features_has_few_rows(dtype):
    plan = make_plan(1000, 10**6, 3, dtype)
    assert plan.block * dtype.itemsize == VECTOR_BYTES


@pytest.mark.parametrize("k", [3, 100, 400, 2000])
def test_a_block_of_columns_is_long_while_its_logits_fit_in_the_cache_too(monkeypatch, dtype, k):
    monkeypatch.setattr(plan_module, "cache_bytes", lambda: {"L1": 32 << 10, "L2": 1 << 20, "L3": 16 << 20})
    plan = make_plan(10**5, 50, k, dtype, layout=Layout(by_column=True))
    size = dtype.itemsize
    assert plan.block * size == 2560 if k <= 100 else plan.block * (50 + k) * size < 1 << 20
    assert plan.block * size not in (0, ALIASED_BYTES)


@pytest.mark.parametrize(("n", "block"), [(10, 320), (100, 320), (200, 192), (300, 128)])
def test_a_block_of_a_hessian_fits_in_the_cache_by_columns(monkeypatch, n, block):
    monkeypatch.setattr(plan_module, "cache_bytes", lambda: {"L1": 32 << 10, "L2": 1 << 20, "L3": 16 << 20})
    assert make_hessian_plan(10**5, n, 3).block == block
    assert make_hessian_plan(10**5, n, 3, block=64).block == 64


@pytest.mark.parametrize(("features", "long"), [(128, True), (129, False)])
def test_bytes_of_few_features_are_cut_as_columns_are(features, long):
    by_column = make_plan(10**5, features, 3, np.dtype("f4"), layout=Layout(by_column=True))
    plan = make_plan(10**5, features, 3, np.dtype("f4"), layout=Layout(itemsize=1))
    assert (plan.block == by_column.block) == long


def test_one_row_makes_one_slab():
    assert make_plan(1, 1, 2, np.dtype("f4")).slab_ranges(1) == [(0, 0, 1)]


def test_the_plan_does_not_know_the_number_of_threads(monkeypatch):
    assert not [name for name in inspect.signature(make_plan).parameters if "thread" in name]
    before = make_plan(10**6, 50, 3, np.dtype("f4"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert make_plan(10**6, 50, 3, np.dtype("f4")) == before


def test_float32_run_is_at_most_a_few_thousand_rows():
    assert FLUSH_ROWS <= 4096


@given(
    counts=st.lists(st.one_of(st.integers(0, 5), st.integers(0, 500)), max_size=400),
    slabs=st.integers(1, 16),
    block=st.sampled_from([1, 8, 64]),
)
def test_sparse_slabs_begin_where_the_work_reaches_their_share(counts, slabs, block):
    plan = Plan(block=block, slabs=slabs, chunk=400, flush_rows=block, threads=1)
    rows, indptr = len(counts), np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
    work = [int(indptr[i]) + ROW_ENTRIES * i for i in range(rows + 1)]
    starts = plan.sparse_slabs(indptr)
    assert starts[0] == 0 and starts[-1] == rows and starts.dtype == np.int64
    for p in range(1, slabs):
        first = next(i for i in range(rows + 1) if work[i] >= work[-1] * p / slabs)
        assert starts[p] == min(-(-first // block) * block, rows)


# ------------------------------------------------------------------------------- every cut, with its figures

# On 8 cores of a Zen 4 with 1 MB of L2. Whoever changes how passes are cut sees here what becomes of whom: arguments,
# then rows of a block, slabs, rows of a chunk and of a run in float32, threads at most, strategy, rows of a phase.
CACHES = {"L1": 32 << 10, "L2": 1 << 20, "L3": 32 << 20}
DENSE = {
    (1, 3, 2, "f8"): (128, 1, 128, 128, 1, "row-parallel", 0),
    (500, 4, 3, "f4"): (128, 1, 512, 4096, 1, "row-parallel", 0),
    (100000, 50, 3, "f8"): (128, 64, 106496, 106496, 24, "row-parallel", 0),
    (100000, 50, 3, "f4"): (128, 64, 106496, 4096, 24, "row-parallel", 0),
    (10000000, 8, 3, "f4"): (128, 64, 10002432, 4096, 720, "row-parallel", 0),
    (60000, 784, 10, "f4"): (64, 16, 60416, 4096, 635, "row-parallel", 0),
    (20000, 1024, 1000, "f4"): (320, 8, 20480, 3840, 27573, "row-parallel", 0),
    (20000, 1024, 1000, "f8"): (320, 8, 20480, 20480, 27573, "row-parallel", 0),
    (2048, 512, 16000, "f4"): (256, 1, 1024, 4096, 11403, "class-parallel", 0),
    (300000, 2000, 40, "f8"): (32, 16, 60416, 60416, 6476, "row-parallel", 0),
    (3000000, 30, 2, "f8"): (128, 64, 3006464, 3006464, 320, "row-parallel", 0),
    (5000, 20000, 5, "f8"): (8, 10, 5040, 5040, 667, "row-parallel", 0),
}
SPARSE = {
    (100, 1000, 5, 2000, "f4"): (128, 1, 3333376, 128, 1, "row-parallel", 16384),
    (1000000, 100000, 5, 20000000, "f8"): (128, 6, 3333888, 128, 200, "row-parallel", 16384),
    (1000000, 1000, 5, 20000000, "f4"): (128, 16, 3334144, 128, 200, "row-parallel", 16384),
    (118000, 168000, 45, 2100000, "f8"): (128, 1, 399744, 128, 196, "feature-parallel", 2816),
    (5000000, 200, 2, 100000000, "f4"): (128, 16, 8335360, 128, 400, "row-parallel", 16384),
    (20000, 30, 3, 60000, "f8"): (128, 16, 12822528, 128, 1, "row-parallel", 16384),
}
HESSIAN = {
    (100000, 50, 3): (320, 16, 51200, 51200, 12, "row-parallel", 0),
    (1000, 400, 10): (96, 2, 1152, 1152, 5, "row-parallel", 0),
    (1000000, 10, 2): (320, 16, 337920, 337920, 18, "row-parallel", 0),
    (5000, 784, 10): (32, 2, 5056, 5056, 52, "row-parallel", 0),
}


@pytest.fixture
def zen4(monkeypatch):
    monkeypatch.setenv("FASTSOFTMAX_CPU", "zen4")
    monkeypatch.setattr(plan_module, "cache_bytes", lambda: CACHES)
    monkeypatch.setattr(plan_module.os, "cpu_count", lambda: 8)


def cuts(plan):
    return (plan.block, plan.slabs, plan.chunk, plan.flush_rows, plan.threads, plan.strategy, plan.phase_rows)


@pytest.mark.parametrize("case", DENSE)
def test_cuts_of_dense_rows(zen4, case):
    assert cuts(make_plan(*case[:3], np.dtype(case[3]))) == DENSE[case]


@pytest.mark.parametrize("case", SPARSE)
def test_cuts_of_sparse_rows(zen4, case):
    assert cuts(make_sparse_plan(*case[:4], np.dtype(case[4]))) == SPARSE[case]


@pytest.mark.parametrize("case", HESSIAN)
def test_cuts_of_hessians(zen4, case):
    assert cuts(make_hessian_plan(*case)) == HESSIAN[case]


def test_without_a_gradient_slabs_cost_nothing(zen4):
    assert make_plan(20_000, 1024, 1000, np.dtype("f4")).slabs == 8
    assert make_plan(20_000, 1024, 1000, np.dtype("f4"), gradient=False).slabs == 40
    assert make_sparse_plan(118_000, 168_000, 45, 2_100_000, np.dtype("f4"), gradient=False).strategy == "row-parallel"


def test_columns_of_many_entries_are_moved_the_more_often_the_more_they_have():
    """256 entries at a time: 16 slabs of 256 entries each are none too many, one more is."""
    plan = make_sparse_plan(10**6, 6, 5, 2 * 10**7, np.dtype("f4"), block=128, slabs=16)
    assert plan.slabs * FLOAT32_TERMS == 4096
    load = np.concatenate([[0], np.cumsum([10**6, 4096, 10**6, 200_000, 0, 4097])])
    columns, starts = hot_columns(load, 10**6, plan)
    # Blocks of 128 rows until 256 entries have come: 2 of columns 0 and 2, 10 of column 3, and 32 at most.
    np.testing.assert_array_equal(columns, [0, 2, 3, 5])
    np.testing.assert_array_equal(starts, [0, 0, 2, 2, 3, 3, 4])
    assert columns.dtype == starts.dtype == np.int64


def test_plans_are_kept_and_forgotten_all_at_once(monkeypatch):
    monkeypatch.setattr(plan_module, "_plans", {})
    monkeypatch.setattr(plan_module, "MOST_PLANS", 2)
    made = [make_plan(m, 3, 2, np.dtype("f8")) for m in (10, 20, 30)]
    for key, plan in zip(("first", "second"), made, strict=False):
        assert kept_plan(key, lambda plan=plan: plan) is plan
        assert kept_plan(key, lambda: None) is plan
    assert kept_plan("third", lambda: made[2]) is made[2] and list(plan_module._plans) == ["third"]
