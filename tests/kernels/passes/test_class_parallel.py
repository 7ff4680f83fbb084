"""Theta by class, as layers of neural networks have it, by every backend with class-parallel passes."""

import pytest
from passes import check_theta_by_class
from problems import random_problem


@pytest.mark.parametrize("shape", [(130, 5, 97), (40, 33, 1_700), (70, 64, 3), (1, 1, 2)], ids=str)
def test_theta_by_class(module, dtype, shape):
    if "class-parallel" not in module.STRATEGIES:
        pytest.skip("this backend does not have it")
    check_theta_by_class(random_problem(*shape, dtype=dtype, intercept=True), module)
