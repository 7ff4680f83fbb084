"""Arithmetic in blocks gives what it gives on whole arrays, whatever the size of the blocks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastsoftmax.objective import reduce


@given(
    rows=st.integers(1, 50),
    columns=st.integers(1, 9),
    bias=st.booleans(),
    order=st.sampled_from("CF"),
    l2=st.sampled_from([0.0, 0.7]),
    dtype=st.sampled_from(["f4", "f8"]),
)
def test_finish_is_the_formula(rows, columns, bias, order, l2, dtype):
    rng = np.random.default_rng(rows)
    sums, theta = np.asarray(rng.standard_normal((rows, columns)), order=order), rng.standard_normal((rows, columns))
    theta = theta.astype(dtype)
    n = rows - bias
    wanted = 0.3 * sums
    wanted[:n] += l2 * theta[:n].astype("f8")
    saved, reduce.BLOCK_BYTES = reduce.BLOCK_BYTES, 128
    try:
        out, finite = reduce.scale_and_penalize(sums, 0.3, l2, theta, n)
    finally:
        reduce.BLOCK_BYTES = saved
    assert finite and out.dtype == dtype
    np.testing.assert_array_equal(out, wanted.astype(dtype))
    in_place = dtype == "f8" or sums.flags.c_contiguous
    assert np.shares_memory(out, sums) == in_place and out.flags.c_contiguous == sums.flags.c_contiguous


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [0, 70_000, 199_999])
def test_finish_finds_what_is_not_finite(bad, at):
    sums = np.ones((200_000, 2))
    sums[at, 1] = bad
    assert not reduce.scale_and_penalize(sums, 1.0, 0.0, sums, len(sums))[1]


def test_a_sum_that_overflows_is_no_infinite_number():
    assert reduce.scale_and_penalize(np.full((100, 2), 1e308), 1.0, 0.0, np.ones((100, 2)), 100)[1]


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_squared_norm(dtype):
    array = np.random.default_rng(0).standard_normal((60_000, 7)).astype(dtype)
    wanted = np.sum(array.astype(np.longdouble) ** 2)
    # All terms have one sign: a sum of N terms in blocks of B has at most B + N / B roundings.
    assert abs(reduce.squared_norm(array) - wanted) <= wanted * 1e4 * np.finfo(float).eps
    assert reduce.squared_norm(np.full((2, 2), 1e200)) == np.inf
