"""What is used of scikit-learn's private code is there in the installed version, and stays as it is."""

import pytest
import sklearn.linear_model

from fastsoftmax.sklearn.logistic import host


@pytest.mark.parametrize("fit", [host.LOGISTIC_FIT, host.LOGISTIC_CV_FIT])
def test_the_installed_version_has_what_a_fit_is_put_together_of(fit):
    assert host.uses(fit, host.PATH)
    assert all(callable(host.function(fit, name)) for name in (host.PATH, host.SCORING_PATH, host.LIBLINEAR))


def test_other_functions_are_found_under_the_names_of_one_function_alone():
    def path(*args, **kwargs):
        raise ZeroDivisionError

    fit = host.fit_with(host.LOGISTIC_FIT, {host.PATH: path})
    with pytest.raises(ZeroDivisionError):
        fit(sklearn.linear_model.LogisticRegression(), [[0.0], [1.0]], [0, 1])
    assert host.LOGISTIC_FIT(sklearn.linear_model.LogisticRegression(), [[0.0], [1.0]], [0, 1]).coef_.shape == (1, 1)


def test_a_function_without_these_names_is_not_served():
    assert not host.uses(len, host.PATH) and not host.uses(host.LOGISTIC_FIT, "no such name")


def test_rows_of_an_array_that_numpy_cannot_read():
    class OnAnotherDevice:
        shape, ndim = (7, 2), 2

        def __array__(self, *given, **options):
            raise TypeError("on another device")

    assert host.rows(OnAnotherDevice()) == 7
    assert host.rows([[1.0], [2.0]]) == 2
