"""Matrix units: where they pay, and in how many parts of bfloat16 they take each number.

A float32 is the sum of three bfloat16, its parts, of 8 bits each. Of the products of the parts of two numbers, the i-th
with the j-th, those with i + j < ``parts`` are made: six of nine where each has three, which keeps float32's accuracy.
Bytes are exact in one part, and take three.

The units are those of a processor, or the twin of AMX in plain C++, which rounds as AMX does and which tests use:

==============  ==========================================================================================
"amx"           tile registers of Intel's processors since Sapphire Rapids
"avx512_bf16"   vectors of bfloat16 (`vdpbf16ps`), of which only one product is faster than float32, by a fifth
"twin"          any processor, slowly
==============  ==========================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass, field

# Parts of each number in the forward and in the backward product, by the precision of a pass. Two parts of each
# ("bfloat16x3": three products) are there to be compared with: X of mean 5 then has a gradient that is wrong by 1e-4.
PARTS = {"exact": (3, 3), "bfloat16": (1, 1), "bfloat16x3": (2, 2)}
PRECISIONS = ("exact", "bfloat16")

# Rows of a block at most, of the packed rows that the forward product takes all classes with, and of float32 sums; and
# the classes that the backward product takes all features with. One thread of a Sapphire Rapids, n = 1024, k = 1000:
# without chunks of classes the backward product takes 1.4 to 1.5 times as long. Blocks of 512 rows would put the logits
# of two classes 2,048 bytes apart. 400,000 rows: the error of the gradient is 1.4e-7, and 1.6e-6 if all of them are
# summed in float32.
BLOCK_ROWS, ROW_GROUP, CLASS_CHUNK, FLUSH_ROWS = 544, 128, 256, 2048
# Bytes of a packed block in one orientation, and rows at least.
BLOCK_BYTES, BLOCK_ROWS_MIN = 4 << 20, 64


@dataclass(frozen=True)
class Units:
    """Where a kind of matrix units pays.

    Attributes
    ----------
    least_classes : dict
        The fewest classes with which so many products of parts are faster than float32; none are in the table that
        never are.
    few_features : int
        So many features or fewer take four times as many classes.
    least_features : int
        Fewer never pay.
    speed : float
        About how many times as fast as float32 one product is, of many features and classes.
    """

    least_classes: dict[int, int] = field(default_factory=dict)
    few_features: int = 0
    least_features: int = 1
    speed: float = 1.0

    def pay(self, products: int, n: int, k: int) -> bool:
        """Whether so many products of parts pay for n features and k classes."""
        least = self.least_classes.get(products)
        return least is not None and n >= self.least_features and k >= least * (4 if n <= self.few_features else 1)


UNITS = {
    # One thread of a Sapphire Rapids.
    "amx": Units({1: 16, 3: 32, 5: 64, 6: 64}, few_features=32, speed=6.0),
    # Two threads of a Zen 5, one product, float32 over it: 50,000 x 512 with k = 32, 64, 100: 0.79, 1.16, 1.24; 20,000
    # x 1024, k = 1000: 1.15; 100,000 x 128, k = 64: 1.18; 100,000 x 32, k = 256: 0.92.
    "avx512_bf16": Units({1: 64}, least_features=128, speed=1.2),
    "twin": Units({1: 1, 3: 1, 5: 1, 6: 1}, speed=6.0),
    "": Units(),
}


def check_precision(precision: str) -> str:
    """The name of a precision.

    Raises
    ------
    ValueError
        If there is none of that name.
    """
    if not isinstance(precision, str) or precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(map(repr, PRECISIONS))}; got {precision!r}")
    return precision


def products_of(parts: int, exact_parts: int) -> int:
    """Products of the parts of a number of X, which is exact in so many, and of another one."""
    return sum(parts - i for i in range(min(parts, exact_parts)))


def parts_that_pay(units: str, precision: str, exact_parts: int, n: int, k: int) -> tuple[int, int] | None:
    """Parts of the forward and the backward product: those of the precision, or of "exact" if only these pay; None
    where vectors of float32 are faster, or there are no such units."""
    for parts in (PARTS[precision], PARTS["exact"]):
        if UNITS[units].pay(products_of(parts[0], exact_parts), n, k):
            return parts
    return None


def block_rows(rows: int, slabs: int, n: int, parts: int) -> int:
    """Rows of a block: as many as keep it in the cache, and each of the slabs busy."""
    most = min(BLOCK_ROWS, BLOCK_BYTES // (2 * parts * n), rows // slabs)
    return max(most // 32 * 32, BLOCK_ROWS_MIN)
