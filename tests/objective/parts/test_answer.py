"""The tree of sums: its shape, and that no order of arrival changes a bit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastsoftmax.objective.parts.answer import Answer, Forest, SomeRows, add, joined


class Term(str):
    """A number that remembers how it was summed."""

    def __add__(self, other):
        return Term(f"({self}{other})")


def answers(count):
    return [Answer((Term(chr(97 + i)),)) for i in range(count)]


@pytest.mark.parametrize(
    "count, wanted", [(1, "a"), (2, "(ab)"), (3, "((ab)c)"), (5, "(((ab)(cd))e)"), (7, "(((ab)(cd))((ef)g))")]
)
def test_the_tree_is_that_of_neighbours(count, wanted):
    forest = Forest(count)
    for number, answer in enumerate(answers(count)):
        forest.add(number, answer)
    assert forest.total.added == (wanted,)


@given(st.data())
def test_who_answers_first_and_who_joins_whom_change_nothing(data):
    count = data.draw(st.integers(1, 20))
    whole = Forest(count)
    for number, answer in enumerate(answers(count)):
        whole.add(number, answer)
    homes = data.draw(st.lists(st.integers(0, 4), min_size=count, max_size=count))
    forests = {home: Forest(count) for home in homes}
    for number in data.draw(st.permutations(range(count))):
        forests[homes[number]].add(number, answers(count)[number])
    order = data.draw(st.permutations(list(forests.values())))
    cut = data.draw(st.integers(0, len(order)))
    groups = [group for group in (order[:cut], order[cut:]) if group]
    assert joined([joined(group) for group in groups]).total.added == whole.total.added


def test_a_process_with_neighbours_passes_on_one_branch():
    forest = Forest(8)
    for number in range(4, 8):
        forest.add(number, Answer((np.ones(3),)))
    assert list(forest.branches) == [(2, 1)] and forest.nbytes == 24
    assert joined([forest, Forest(8)]).sent == 24


def test_the_largest_counts_where_it_is_asked_for():
    both = Answer((1.0,), (np.array([1, 5]), False)).plus(Answer((2.0,), (np.array([3, 2]), True)))
    assert both.added == (3.0,) and both.largest[0].tolist() == [3, 5] and both.largest[1]


def test_some_rows_add_up_like_arrays():
    rng = np.random.default_rng(0)
    arrays = []
    for rows in ([1, 40], [3, 40, 77], np.arange(90)):
        array = np.zeros((100, 2))
        array[rows] = rng.standard_normal((len(rows), 2))
        arrays.append((array, SomeRows.of(array, np.asarray(rows))))
    (a, few), (b, others), (c, many) = arrays
    assert isinstance(few, SomeRows) and few.nbytes < a.nbytes and many is c
    np.testing.assert_array_equal(few.dense, a)
    assert isinstance(add(few, others), SomeRows)
    np.testing.assert_array_equal(add(few, others).dense, a + b)
    np.testing.assert_array_equal(add(few, many), a + c)
    np.testing.assert_array_equal(add(many, few), a + c)


def test_where_their_union_is_no_less_they_become_an_array():
    halves = [SomeRows(np.arange(start, 100, 2), np.ones((50, 2)), 100) for start in (0, 1)]
    whole = add(*halves)
    assert isinstance(whole, np.ndarray) and (whole == 1).all()
