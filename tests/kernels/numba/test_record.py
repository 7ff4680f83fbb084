"""What Python writes into a record is what compiled code reads there."""

import ctypes

import numpy as np
import pytest

pytest.importorskip("numba")

from numba import njit

from fastsoftmax.kernels.numba.microkernels.memory import address_at, given, read, write
from fastsoftmax.kernels.numba.runtime.record import (
    FIELDS,
    INT,
    LINE,
    PARTS,
    RECORD_BYTES,
    VALUE,
    Array,
    Inline,
    Launch,
    Record,
    address_of,
    new_scratch,
    place_parts,
)
from fastsoftmax.kernels.numba.runtime.views import open_record


@njit
def fields_of(record, zero, index):
    job, _ = open_record(record, 0, zero, index)
    return job.n, job.smoothing, given(job.bias), read(job.theta, 2), read(job.indices, 1), read(job.prefetch, 10)


@njit
def places_of(record, worker, zero):
    _, s = open_record(record, worker, zero, zero)
    return address_at(s.H, 0), address_at(s.H, 1), address_at(s.w, 0), address_at(s.w, 1), address_at(s.prefetch, 0)


@njit
def count_up(record):
    job, _ = open_record(record, 0, 0.0, 0.0)
    write(job.ticket, 0, read(job.ticket, 0) + 5)
    return job.phase, job.row


@pytest.mark.parametrize("value", [np.float32, np.float64])
@pytest.mark.parametrize("index", [np.int32, np.int64])
def test_compiled_code_reads_what_python_wrote(value, index):
    theta, indices = np.arange(3, dtype=value), np.array([4, 9], index)
    record = Record(n=-(1 << 62), smoothing=1e-300, theta=address_of(theta), indices=address_of(indices))
    record.prefetch[:] = range(11)
    launch = Launch(record, RECORD_BYTES)
    assert fields_of(launch.address, value(0), index(0)) == (-(1 << 62), 1e-300, False, 2.0, 9, 10)


def test_every_field_is_of_a_known_kind_and_no_two_overlap():
    assert all(
        kind is INT or kind.name == "float64" for kind in FIELDS.values() if not isinstance(kind, (Array, Inline))
    )
    places = [(getattr(Record, name).offset, getattr(Record, name).size) for name in [*FIELDS, "parts"]]
    assert all(begin + size == after for (begin, size), (after, _) in zip(places, places[1:], strict=False))
    assert Record.X.offset == LINE  # what all threads write is in a line of its own
    assert ctypes.sizeof(Record) <= RECORD_BYTES


def test_parts_are_apart_for_each_worker_and_shared_ones_are_the_same():
    record = Record(result_itemsize=4)
    size = place_parts(record, {"H": 3, "prefetch": 16}, {"w": 5}, workers=3)
    launch = Launch(record, size)
    places = [places_of(launch.address, worker, np.float32(0)) for worker in range(3)]
    w = launch.address + RECORD_BYTES
    assert [place[2:4] for place in places] == [(w, w + 8)] * 3
    assert [place[0] - w for place in places] == [64, 64 + 192, 64 + 384]
    assert all(after - H == 4 and prefetch - H == LINE for H, after, _, _, prefetch in places)
    assert launch.address + size == places[-1][4] + 2 * LINE


def test_parts_of_the_computation_have_its_size_and_others_theirs():
    wide = {name: place_parts(Record(result_itemsize=8), {name: 16}) - RECORD_BYTES for name in PARTS}
    narrow = {name: place_parts(Record(result_itemsize=4), {name: 16}) - RECORD_BYTES for name in PARTS}
    assert set(wide.values()) == {128}
    assert {name for name, size in narrow.items() if size == 64} == {n for n, dtype in PARTS.items() if dtype == VALUE}


def test_a_call_has_a_copy_of_its_template():
    template = Record(n=7)
    first, second = Launch(template, RECORD_BYTES), Launch(template, RECORD_BYTES)
    first.record.n = 8
    assert (template.n, second.record.n) == (7, 7)
    assert first.address % LINE == second.address % LINE == 0


def test_a_phase_begins_with_the_first_ticket():
    launch = Launch(Record(), RECORD_BYTES)
    assert count_up(launch.address) == (0, 0) and launch.record.ticket == 5
    launch.begin(phase=3, row=640)
    assert launch.record.ticket == 0 and count_up(launch.address) == (3, 640)


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
