"""What Python packs is what compiled code unpacks."""

import numpy as np
import pytest

pytest.importorskip("numba")

from typing import NamedTuple

from numba import njit

from fastsoftmax.kernels.numba.block.job import OWN, Job
from fastsoftmax.kernels.numba.block.sparse_job import SparseJob
from fastsoftmax.kernels.numba.microkernels.prefetch import PrefetchPlan
from fastsoftmax.kernels.numba.runtime.record import (
    COMMON,
    LINE,
    PHASE,
    ROW,
    Record,
    address_of,
    new_scratch,
    pack,
    record_bytes,
    unpack,
)

FIELDS = [(name, float if name in ("smoothing", "scale") else int) for name in COMMON]
Task = NamedTuple("Task", [*FIELDS, ("k", int), ("prefetch", PrefetchPlan), ("last", int)])
BYTES = 8 * (len(COMMON) + 2 + len(PrefetchPlan._fields))


class Layout(NamedTuple):
    P: int
    size: int


@njit
def unpacked(record):
    return unpack(record + LINE, Task), unpack(record + LINE + BYTES, Layout)


def make_record(scratch=1000):
    values = tuple(3 * i - 7 for i in range(len(COMMON) - 4))
    values += (0.25, 1e-300)  # smoothing and scale
    prefetch = PrefetchPlan(*range(10, 10 + len(PrefetchPlan._fields)))
    task = Task(0, 0, *values, k=-(1 << 62), prefetch=prefetch, last=5)
    layout = Layout(1 << 40, 64)
    rest = pack(task)[8 * len(COMMON) :] + pack(layout)
    return Record(Task, values, rest, scratch), task, layout


def test_jobs_begin_with_the_fields_that_are_packed_for_each_call():
    assert Job._fields[: len(OWN)] == OWN
    assert SparseJob._fields[: len(COMMON)] == OWN[: len(COMMON)] == COMMON


def test_a_record_is_unpacked_as_it_was_packed():
    record, task, layout = make_record()
    assert record_bytes(Task) == BYTES
    found = unpacked(record.address)
    assert found == (task._replace(ticket=record.address, scratch=record.scratch), layout)


def test_scratch_begins_with_a_cache_line_after_the_record():
    record, _, _ = make_record()
    assert record.address % LINE == record.scratch % LINE == 0
    assert record.scratch >= record.address + LINE + record_bytes(Task) + record_bytes(Layout)
    assert record.scratch + 1000 <= address_of(record._memory) + record._memory.size


def test_a_phase_begins_with_the_first_ticket():
    record, _, _ = make_record()
    assert record.first == (0, 0, 0)
    record._memory[:8] = 1
    record.begin(phase=3, row=640)
    assert record.first[PHASE] == 3 and record.first[ROW] == 640 and record.first[0] == 0


@pytest.mark.parametrize(
    "array",
    [
        np.arange(3.0),
        np.zeros((2, 3), np.float32),
        np.zeros(0),
        np.frombuffer(b"read-only", np.uint8),
        np.arange(9)[4:],
    ],
    ids=["float64", "two axes", "empty", "read-only", "part"],
)
def test_addresses_are_numpys(array):
    assert address_of(array) == array.ctypes.data


def test_no_array_has_address_0_and_a_strided_one_none():
    assert address_of(None) == 0
    with pytest.raises(AssertionError):
        address_of(np.zeros((3, 4))[:, :2])


@pytest.mark.parametrize("size", [1, 64, 1000])
def test_scratch_is_aligned_and_large_enough(size):
    memory, address = new_scratch(size)
    assert address % LINE == 0 and memory.ctypes.data == address and memory.size == size
