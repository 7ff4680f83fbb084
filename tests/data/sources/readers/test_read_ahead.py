"""One thread, two places, nothing lost: order, errors, and what happens when the caller stops."""

import threading

import pytest

from fastsoftmax.data.sources.readers.read_ahead import read_ahead


def test_items_come_in_order():
    assert list(read_ahead(iter(range(100)))) == list(range(100))
    assert list(read_ahead(iter(()))) == []


def test_an_item_is_begun_when_there_is_at_most_one_other():
    alive, most = [], []

    def items():
        for number in range(20):
            alive.append(number)
            most.append(len(alive))
            yield number

    for number in read_ahead(items()):
        assert number in alive
        if number:  # the one before is done with
            alive.remove(number - 1)
    assert max(most) <= 3


def test_an_error_is_the_callers():
    def items():
        yield 1
        raise ValueError("bad row")

    made = read_ahead(items())
    assert next(made) == 1
    with pytest.raises(ValueError, match="bad row"):
        next(made)


def test_a_caller_that_stops_ends_the_thread_and_closes_the_iterator():
    closed = []

    def items():
        try:
            yield from range(1000)
        finally:
            closed.append(True)

    made = read_ahead(items())
    next(made)
    made.close()
    assert closed and not [t for t in threading.enumerate() if t.name == "fastsoftmax-read-ahead"]
