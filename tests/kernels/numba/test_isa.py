"""The kernels that Numba compiles for processors with shorter registers than this one's."""

import platform

import child
import pytest

pytest.importorskip("numba")

# What Numba compiles for registers of 16 and 32 bytes: a processor's name and features.
OTHER_PROCESSORS = {
    "nehalem": "+64bit,+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+cx16",
    "haswell": "+64bit,+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+cx16,+avx,+avx2,+fma,+f16c,+bmi,+bmi2,+lzcnt",
}
CHECK = """
import sys
from problems import random_problem
from tolerance import check_hess_prod, check_value_and_grad
from fastsoftmax.kernels.numba.microkernels.simd import vector_bytes

dtype, width = sys.argv[1], int(sys.argv[2])
assert vector_bytes() == width, vector_bytes()
for layout in ("C", "F"):
    for shape in [(33, 7, 5), (70, 31, 4), (45, 54, 3), (64, 33, 13), (131, 10, 6), (150, 70, 2), (40, 300, 7)]:
        p = random_problem(*shape, dtype=dtype, layout=layout, weights=True, intercept=True)
        obj = p.objective("numba")
        obj.plan = p.plan()
        check_value_and_grad(p, *obj.value_and_grad(p.theta))
        check_hess_prod(p, p.theta[::-1], obj.hess_prod(p.theta, p.theta[::-1]))
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="other processors have other names")
@pytest.mark.parametrize(
    ("processor", "width", "dtype"), [("nehalem", 16, "f4"), ("nehalem", 16, "f8"), ("haswell", 32, "f8")]
)
def test_numba_for_processors_of_shorter_registers(processor, width, dtype):
    features = OTHER_PROCESSORS[processor]
    run = child.python("-c", CHECK, dtype, str(width), NUMBA_CPU_NAME=processor, NUMBA_CPU_FEATURES=features)
    assert run.returncode == 0, run.stderr
