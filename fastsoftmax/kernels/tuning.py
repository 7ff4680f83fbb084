"""The constants that differ from CPU to CPU: a table with a row for each micro-architecture.

`tuning()` is the row of this machine, found by the CPU's vendor, family and model. The environment variable
``FASTSOFTMAX_CPU`` asks for another one by name. ``python -m benchmarks.tune`` measures the constants on a machine and
prints its row. Constants that no machine has been seen to care about are in `plan.py`.

Figures are milliseconds of a pass (loss and gradient, two threads) on an AMD Zen 4, unless they say otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

from .machine import cpu_flags, cpu_model


@dataclass(frozen=True, eq=False)
class WingTuning:
    """Constants of one backend.

    Attributes
    ----------
    column_bytes : int
        How much of each column of X in F order a block should have.
    byte_columns : int
        Up to how many features 8-bit X in C order is cut into blocks as X in F order is, because it is staged as
        columns; 0 for never.
    kc_block_bytes : int
        Bytes of a KC block.
    class_lane_dtypes : str
        Of these dtypes of the computation, rows of few classes are read in place; "" for none.
    least_lanes : int
        Lanes of the narrowest vector of classes in float64. In Numba it has 4.
    crowded_bytes, crowded_tiles : int
        A block of more bytes, walked by at least so many tiles of classes, is packed panel by panel for the backward
        product: read in place it would come from beyond L2 for each of them. No tiles for never. Cython only.
    group_bytes : int
        What both products by tiles walk at a time where theta is larger: packed rows, and residuals. 0 for no limit.
    packing_share : float
        Where a step of a tile would have to prefetch more cache lines than this, packing prefetches too. Cython only:
        Numba's tiles prefetch two lines a step, and packing helps from one on.
    stages_rows : bool
        Whether the wing copies rows of few classes that are short or far apart, so that the same micro-kernels can read
        them. This is what its code can do, not a constant to try.
    """

    column_bytes: int = 2048
    byte_columns: int = 0
    kc_block_bytes: int = 128 << 10
    class_lane_dtypes: str = "fd"
    least_lanes: int = 4
    crowded_bytes: int = 0
    crowded_tiles: int = 0
    group_bytes: int = 0
    packing_share: float = 1.0
    stages_rows: bool = False


@dataclass(frozen=True, eq=False)
class Tuning:
    """A row of the table.

    Attributes
    ----------
    block_max : int
        Rows of a block at most.
    l2_share : float
        The part of L2 that a block may take: its packed copy, the next block, which is prefetched meanwhile, and the
        logits.
    large_bytes, large_max : int
        Bytes and rows of a block at most where the gradient is larger than L2. Every block streams the gradient through
        the cache, so that more rows mean less traffic.
    long_row : int
        Shortest row, in vectors, for the forward product by `dot_tile`, which reads X unpacked. In shorter rows the
        incomplete vectors and the loads across cache lines count.
    kc_block_rows : (int, int)
        Rows of a block that is walked in KC blocks, in float32 and in float64.
    wings : mapping
        `WingTuning` by the name of the backend; `wing` asks for one.
    """

    name: str
    block_max: int
    l2_share: float
    large_bytes: int
    large_max: int
    long_row: int
    kc_block_rows: tuple[int, int]
    wings: Mapping[str, WingTuning]

    def wing(self, name: str) -> WingTuning:
        """The constants of a backend, general ones for one that is not in the row."""
        return self.wings.get(name) or WingTuning()


ZEN4 = Tuning(
    name="zen4",
    block_max=128,
    # One thread takes 60k x 784 in float64 2,200 cycles a row in blocks of 64 rows, 3,030 in 128, which do not fit.
    l2_share=0.9,
    # 20k x 1024, k = 1000, with 32, 128, 192, 256, 320 rows: float64 1,020, 869, 834, 858, 838 ms in Cython and 1,250,
    # 981, 987, 912, 911 in Numba; float32, from 128 rows on, 419, 412, 413, 407 and 462, 450, 443, 433. In F order with
    # 96, 128, 256, 320 rows, float64: 872, 859, 827, 819 in Cython and 965, 934, 880, 853 in Numba.
    large_bytes=5 << 19,
    large_max=320,
    # Cycles a row, one thread: 60k x 784, k = 10, 1,610, packed 1,880, in float64 (830 and 960 in float32); but 500k x
    # 50, k = 3, 119, packed 90.
    long_row=16,
    # 60k x 784, k = 10, by where its pages lie: 10.8 to 11.1 ms, was 11.8 to 13.7, in float32 (C order 10.1 to 10.5);
    # 20.7 to 21.3 ms, was 21.4 to 23.4, in float64 (C order 19.5 to 20.3). 200k x 384, k = 20, gains 1 %. No power of
    # two: 512 rows put the logits of two classes 2,048 or 4,096 bytes apart, which costs 60k x 784 2 % in float32 and
    # 5 % in float64. 640 rows of float32 cost 1 %. In Numba 480, 544 and 576 rows are equal in float32, and float64
    # takes 21.6, 21.3, 22.0 ms with 320, 384, 512.
    kc_block_rows=(544, 384),
    # Groups of 512 and 768 kB (`group_bytes`) take 1.035 and 1.027 of the time of 20k x 1024, k = 1000, and of 50k x
    # 512, k = 100, in Cython, 1.008 and 0.996 in Numba: none, since L3 is fast enough.
    wings={
        # 500k x 50 in F order, k = 3, float32: 10.0, 7.9, 7.3, 6.8 ms with 256, 512, 768, 1,024 bytes; float64 gains up
        # to 2,048. But this is also the class stride of a block, and 2,048 bytes alias in store-to-load forwarding:
        # 581k x 54, k = 7, takes 15.3 ms in float64 and 7.45 in float32 with 2,560 bytes, 16.0 and 7.8 with 2,048.
        # Of bytes, 500k x 50, k = 3 takes 4.3 ms with 128 rows in a block, 3.9 with 320. KC blocks of 256 kB change
        # nothing. Backward product of 20k x 1024, k = 1000, float64, in blocks of 256 rows, one thread: 100,000 cycles
        # a row with packed panels, 108,000 without. 500k x 50, float64, where both tiles and packing prefetch: 106
        # cycles a row, was 110; 141 with packing alone.
        "cython": WingTuning(
            column_bytes=2560,
            byte_columns=128,
            kc_block_bytes=192 << 10,
            crowded_bytes=512 << 10,
            crowded_tiles=8,
            packing_share=1.0,
            stages_rows=True,
        ),
        # 500k x 50 in F order, k = 3, float32: 6.2 ms with 512 bytes, 5.0 with 2,048. KC blocks of 192 kB cost 60k x
        # 784 in float64 1 % and 200k x 384 in float32 4 %; 96 kB are as good as 128.
        "numba": WingTuning(column_bytes=2048, byte_columns=128, kc_block_bytes=128 << 10),
    },
)

# Measured with one thread of a Sapphire Rapids (2 MB of L2, a slow L3), not yet through the plan. n = 1024, k = 1000 in
# float64 takes 0.77 of the time in blocks of 128 rows in place of 320, 0.74 with groups of 768 kB besides: a tile runs
# at its peak with its operand in L2, at half of it in L3. Few classes in float32: 0.70 to 0.84 of the time without rows
# in place.
SAPPHIRE_RAPIDS = replace(
    ZEN4,
    name="sapphire-rapids",
    block_max=64,
    l2_share=0.5,
    large_bytes=1 << 20,
    large_max=128,
    wings={
        "cython": replace(
            ZEN4.wings["cython"],
            column_bytes=1024,
            class_lane_dtypes="d",
            least_lanes=8,
            crowded_bytes=0,
            group_bytes=768 << 10,
            packing_share=2.0,
        ),
        "numba": replace(ZEN4.wings["numba"], group_bytes=768 << 10),
    },
)

# KC blocks of 144 kB in Numba, in F order: 200k x 384, k = 20, takes 0.96 of the time in float64 and 0.97 in float32,
# 60k x 784 0.98 to 1.02. Those of Cython stay: 320 rows in place of 384 cost 200k x 384 in float64 3 %.
ZEN5 = replace(
    ZEN4,
    name="zen5",
    wings={**ZEN4.wings, "numba": replace(ZEN4.wings["numba"], kc_block_bytes=144 << 10)},
)

TABLE = {row.name: row for row in (ZEN4, ZEN5, SAPPHIRE_RAPIDS)}

# (vendor, family, first model, last model) as in /proc/cpuinfo. Emerald and Granite Rapids have the caches of Sapphire
# Rapids, and what else Intel has with matrix units (AMX) is taken for one.
_MODELS = {
    ("AuthenticAMD", 25, 16, 31): "zen4",
    ("AuthenticAMD", 25, 96, 127): "zen4",
    ("AuthenticAMD", 25, 160, 175): "zen4",
    ("AuthenticAMD", 26, 0, 255): "zen5",
    ("GenuineIntel", 6, 143, 143): "sapphire-rapids",
    ("GenuineIntel", 6, 173, 174): "sapphire-rapids",
    ("GenuineIntel", 6, 207, 207): "sapphire-rapids",
}


def tuning() -> Tuning:
    """The row of this machine, "zen4" for one that the table does not know; ``FASTSOFTMAX_CPU`` overrides it.

    Raises
    ------
    ValueError
        If ``FASTSOFTMAX_CPU`` names no row.
    """
    wanted = os.environ.get("FASTSOFTMAX_CPU", "")
    if wanted and wanted not in TABLE:
        raise ValueError(f"FASTSOFTMAX_CPU must be one of {', '.join(TABLE)}; got {wanted!r}")
    return TABLE[wanted] if wanted else TABLE.get(cpu_name(), ZEN4)


@cache
def cpu_name() -> str:
    """The micro-architecture of this machine, such as "zen4"; vendor, family and model where it is not known."""
    vendor, family, model = cpu_model()
    for (name, generation, first, last), row in _MODELS.items():
        if (vendor, family) == (name, generation) and first <= model <= last:
            return row
    # Hypervisors show other models than there are: of a processor with AMX, 167, which once was a desktop without it.
    if vendor == "GenuineIntel" and "amx_tile" in cpu_flags():
        return "sapphire-rapids"
    return f"{vendor.lower()}-{family}-{model}" if vendor else "unknown"
