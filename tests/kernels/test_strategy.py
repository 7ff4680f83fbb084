"""How the products of a block are made: what is chosen, that each choice is right, and that a plan is one line."""

import importlib
from dataclasses import replace

import numpy as np
import pytest
from passes import check_every_pass
from problems import random_problem

import fastsoftmax
from fastsoftmax.kernels import backends, units
from fastsoftmax.kernels import tuning as tuning_module
from fastsoftmax.kernels.plan import make_plan
from fastsoftmax.kernels.strategy import Block, choose_products
from fastsoftmax.kernels.tuning import TABLE, ZEN4, cpu_name, tuning
from fastsoftmax.objective.passes import describe_plan

CACHES = {"L1": 32 << 10, "L2": 1 << 20, "L3": 32 << 20}
# Rows, features, classes, order and dtype of X; the forward and the backward product on a Zen 4.
CHOICES = {
    "few classes": (10**5, 50, 3, "C", "f8", "class_lane", "narrow"),
    "long rows": (6000, 784, 10, "C", "f4", "dot", "tile"),
    "rows": (10**5, 50, 30, "C", "f4", "tile", "tile"),
    "bytes": (10**5, 50, 3, "C", "u1", "tile", "dot"),
    "columns": (10**5, 50, 3, "F", "f4", "tile", "dot"),
    "columns, many classes": (10**5, 50, 200, "F", "f4", "tile", "tile"),
}


@pytest.fixture(params=TABLE)
def row(request, monkeypatch):
    """The name of a row of the table of CPUs, which for the length of a test is that of this machine."""
    monkeypatch.setenv("FASTSOFTMAX_CPU", request.param)
    forget_launches()
    yield request.param
    forget_launches()


def forget_launches():
    """Numba's wing keeps what it has chosen for equal plans; the row of a machine does not change elsewhere."""
    if backends.backends()["numba"]["available"]:
        importlib.import_module("fastsoftmax.kernels.numba.launch_dense").launch_config.cache_clear()


def products(m, n, k, order, dtype, wing="cython", **facts):
    dtype, size = np.dtype(dtype), 8 if dtype == "f8" else 4
    steps = (dtype.itemsize, m * dtype.itemsize) if order == "F" else (n * dtype.itemsize, dtype.itemsize)
    block = Block(n, k, m, *steps, dtype.itemsize, order == "F", size, 64, **facts)
    return choose_products(make_plan(m, n, k, np.dtype(f"f{size}")), block, wing)


@pytest.mark.parametrize("wing", ["cython", "numba"])
@pytest.mark.parametrize("case", CHOICES)
def test_what_is_chosen(monkeypatch, case, wing):
    monkeypatch.setenv("FASTSOFTMAX_CPU", "zen4")
    *shape, forward, backward = CHOICES[case]
    chosen = products(*shape, wing)
    assert (chosen.forward, chosen.backward) == (forward, backward)
    assert chosen.transpose_bytes == (case == "bytes")


def test_columns_beyond_the_cache_go_by_kc_blocks(monkeypatch):
    monkeypatch.setenv("FASTSOFTMAX_CPU", "zen4")
    monkeypatch.setattr("fastsoftmax.kernels.strategy.cache_bytes", lambda: CACHES)
    chosen = products(60_000, 784, 10, "F", "f4")
    assert chosen.block == 544 and chosen.flush_rows % 544 == 0 and 0 < chosen.kc_block < 784
    assert not products(60_000, 784, 10, "F", "f4", splits=False).kc_block
    for too_large_or_small in ({"L2": 8 << 20}, {"L3": 4 << 20}):
        monkeypatch.setattr("fastsoftmax.kernels.strategy.cache_bytes", lambda: CACHES | too_large_or_small)  # noqa: B023
        assert not products(60_000, 784, 10, "F", "f4").kc_block


@pytest.mark.parametrize("kc_block_bytes", [64, 4 << 10, 64 << 10])
@pytest.mark.parametrize("layout", ["C", "F", "F negative columns"])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_kc_blocks_of_any_length_are_right(monkeypatch, backend, layout, dtype, kc_block_bytes):
    """From a feature to all of them, of blocks that leave a few rows at the end of a slab."""
    wings = {name: replace(own, kc_block_bytes=kc_block_bytes) for name, own in ZEN4.wings.items()}
    monkeypatch.setitem(TABLE, "small", replace(ZEN4, name="small", wings=wings, kc_block_rows=(160, 96)))
    monkeypatch.setenv("FASTSOFTMAX_CPU", "small")
    monkeypatch.setattr("fastsoftmax.kernels.strategy.cache_bytes", lambda: CACHES | {"L2": 8 << 10})
    forget_launches()
    for m, n, k in [(978, 73, 5), (700, 131, 2), (641, 30, 6)]:
        p = random_problem(m, n, k, dtype=dtype, weights=True, intercept=True, layout=layout.split()[0])
        p = p.but(X=p.X[:, ::-1]) if "negative" in layout else p
        if backend != "numpy":
            module, plan = backends.select(backend)[1], p.plan(tiles=1, slabs=3)
            chosen = module.products(p.X.shape, p.X.strides, p.X.dtype, plan, k)
            assert bool(chosen.kc_block) == (layout != "C")
        check_every_pass(p, backend, tiles=1, slabs=3)
    forget_launches()


def test_a_class_parallel_pass_has_tiles_alone():
    """Also where features are so many that inner products would cost a row-parallel pass less."""
    size, block = (2000, 8192, 600), Block(8192, 600, 2000, 8 * 8192, 8, 8, False, 8, 64)
    for strategy, forward in (("class-parallel", "tile"), ("row-parallel", "dot")):
        plan = make_plan(*size, np.dtype("f8"), strategy=strategy)
        assert choose_products(plan, block, "cython").forward == forward


def test_a_group_is_never_of_no_rows_or_classes(monkeypatch):
    wings = {name: replace(own, group_bytes=64) for name, own in ZEN4.wings.items()}
    monkeypatch.setitem(TABLE, "small", replace(ZEN4, name="small", wings=wings))
    monkeypatch.setenv("FASTSOFTMAX_CPU", "small")
    chosen = products(300, 40, 150, "C", "f4")
    assert (chosen.row_group, chosen.class_chunk) == (1, 1)


def test_a_pass_without_a_product_has_no_kernel_for_it(row):
    for m, n, k, order, dtype, *_ in CHOICES.values():
        assert products(m, n, k, order, dtype, backward=False).backward == "tile"
        gram = products(m, n, n, order, dtype, forward=False)
        assert (gram.forward, gram.backward, gram.kc_block) == ("tile", "tile", 0)


@pytest.mark.parametrize("layout", ["C", "F", "strided both"])
@pytest.mark.parametrize("dtype", ["f4", "f8", "u1"])
def test_every_strategy_of_every_cpu_is_right(row, backend, layout, dtype):
    if backend == "numpy":
        pytest.skip("both products are BLAS's, whatever the strategy")
    for shape in [(300, 37, 7), (700, 50, 3), (131, 260, 2), (70, 9, 55), (1200, 505, 4)]:
        check_every_pass(random_problem(*shape, dtype=dtype, layout=layout, weights=True, intercept=True), backend)


@pytest.mark.parametrize("layout", ["C", "F"])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_groups_of_rows_and_classes_are_right(monkeypatch, backend, layout, dtype):
    """Of theta larger than L2, here of any: groups of few rows, and of few classes, one of each incomplete."""
    wings = {name: replace(own, group_bytes=16 << 10, crowded_bytes=0) for name, own in ZEN4.wings.items()}
    monkeypatch.setitem(TABLE, "small", replace(ZEN4, name="small", wings=wings))
    monkeypatch.setenv("FASTSOFTMAX_CPU", "small")
    forget_launches()
    if backend == "cython":
        assert products(300, 40, 150, "C", dtype).row_group and products(300, 40, 150, "C", dtype).class_chunk
    for shape in [(300, 40, 150), (131, 67, 97)]:
        check_every_pass(random_problem(*shape, dtype=dtype, layout=layout, weights=True, intercept=True), backend)
    forget_launches()


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", "u1", "i8"])
def test_a_plan_is_one_line(row, backend, order, dtype):
    for size in [(500_000, 50, 3), (60_000, 784, 10), (20_000, 1024, 1000), (2048, 512, 16_000), (1, 1, 2)]:
        line = describe_plan(*size, np.dtype(dtype), order, backends.select(backend)[1])
        assert "parallel" in line and "\n" not in line and len(line) < 200


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", "u1", "i1", "?", "i8", ">f8"])
def test_a_plan_is_that_of_a_pass(row, backend, order, dtype):
    module = backends.select(backend)[1]
    for m, n, k in [(500, 50, 3), (1, 50, 3), (500, 1, 3), (600, 784, 10), (70, 300, 70), (64, 8192, 600)]:
        X = np.zeros((m, n), dtype, order=order)
        objective = fastsoftmax.Objective(X, np.zeros(m, int), k, backend=backend)
        chunk = next(objective.source.chunks(objective.plan.chunk)).X
        chosen = module.products(chunk.shape, chunk.strides, chunk.dtype, objective.plan, k)
        assert describe_plan(m, n, k, np.dtype(dtype), order, module) == f"{chosen}; {objective.plan}"


def test_a_cpu_that_the_table_does_not_know_gets_a_row(monkeypatch):
    monkeypatch.delenv("FASTSOFTMAX_CPU", raising=False)
    models = {
        ("", 0, 0): ("unknown", "zen4"),
        ("AuthenticAMD", 27, 2): ("authenticamd-27-2", "zen4"),
        ("AuthenticAMD", 26, 2): ("zen5", "zen5"),
        ("AuthenticAMD", 25, 17): ("zen4", "zen4"),
        ("GenuineIntel", 6, 143): ("sapphire-rapids", "sapphire-rapids"),
        ("GenuineIntel", 6, 167): ("genuineintel-6-167", "zen4"),
        ("GenuineIntel", 6, 167, "amx_tile"): ("sapphire-rapids", "sapphire-rapids"),
    }
    for (*model, flags), (name, row) in ((key if len(key) == 4 else (*key, "fpu"), to) for key, to in models.items()):
        monkeypatch.setattr(tuning_module, "cpu_model", lambda model=model: tuple(model))
        monkeypatch.setattr(tuning_module, "cpu_flags", lambda flags=flags: frozenset({flags}))
        cpu_name.cache_clear()
        assert (cpu_name(), tuning().name) == (name, row)
    cpu_name.cache_clear()


def test_a_row_that_does_not_exist_is_an_error(monkeypatch):
    monkeypatch.setenv("FASTSOFTMAX_CPU", "z80")
    with pytest.raises(ValueError, match="FASTSOFTMAX_CPU must be one of zen4, zen5, sapphire-rapids; got 'z80'"):
        tuning()


# On a Zen 4 with 1 MB of L2: rows, features, classes, order and dtype of X; both products, and what else is said of
# them in the Cython and in the Numba wing.
CHOSEN = {
    (100000, 50, 3, "C", "f8"): (
        "class_lane",
        "narrow",
        "128 rows a block, 4 lanes for the classes",
        "128 rows a block, 4 lanes for the classes",
    ),
    (6000, 784, 10, "C", "f4"): ("dot", "tile", "64 rows a block", "64 rows a block"),
    (100000, 50, 30, "C", "f4"): ("tile", "tile", "128 rows a block", "128 rows a block"),
    (100000, 50, 3, "C", "u1"): (
        "tile",
        "dot",
        "128 rows a block, bytes staged as columns",
        "128 rows a block, bytes staged as columns",
    ),
    (100000, 50, 3, "F", "f4"): ("tile", "dot", "128 rows a block", "128 rows a block"),
    (100000, 50, 200, "F", "f4"): ("tile", "tile", "128 rows a block", "128 rows a block"),
    (60000, 784, 10, "F", "f4"): (
        "tile",
        "dot",
        "544 rows a block, KC blocks of 90 features",
        "544 rows a block, KC blocks of 60 features",
    ),
    (60000, 784, 10, "F", "f8"): (
        "tile",
        "dot",
        "384 rows a block, KC blocks of 64 features",
        "384 rows a block, KC blocks of 42 features",
    ),
    (100000, 50, 5, "C", "f8"): (
        "class_lane",
        "narrow",
        "128 rows a block, 8 lanes for the classes",
        "128 rows a block, 8 lanes for the classes",
    ),
    (100000, 50, 9, "C", "f4"): (
        "class_lane",
        "narrow",
        "128 rows a block, 16 lanes for the classes",
        "128 rows a block, 16 lanes for the classes",
    ),
    (100000, 20, 2, "C", "f4"): (
        "class_lane",
        "narrow",
        "128 rows a block, 4 lanes for the classes",
        "128 rows a block, 4 lanes for the classes",
    ),
    (20000, 1024, 1000, "C", "f4"): ("tile", "tile", "320 rows a block, panels packed", "320 rows a block"),
    (20000, 1024, 1000, "F", "f8"): ("tile", "tile", "320 rows a block", "320 rows a block"),
    (6000, 784, 10, "C", "f2"): ("dot", "tile", "64 rows a block", "64 rows a block"),
    (6000, 784, 10, "F", "u1"): ("tile", "tile", "64 rows a block", "64 rows a block"),
    (100000, 10, 16, "F", "f8"): ("tile", "dot", "128 rows a block", "128 rows a block"),
    (2048, 512, 16000, "C", "f4"): ("tile", "tile", "256 rows a block", "256 rows a block"),
    (500, 300, 100, "C", "f8"): ("tile", "tile", "96 rows a block", "96 rows a block"),
}


@pytest.mark.parametrize("case", CHOSEN)
def test_choices_in_words(monkeypatch, case):
    monkeypatch.setenv("FASTSOFTMAX_CPU", "zen4")
    for module in ("plan", "strategy"):
        monkeypatch.setattr(f"fastsoftmax.kernels.{module}.cache_bytes", lambda: CACHES)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    forward, backward, *notes = CHOSEN[case]
    for wing, note in zip(("cython", "numba"), notes, strict=True):
        assert str(products(*case, wing)) == f"forward by {forward}, backward by {backward}: {note}"


def test_choices_by_matrix_units_in_words(monkeypatch):
    """Blocks of the size that the units want, and as many parts of bfloat16 as X has."""
    monkeypatch.setenv("FASTSOFTMAX_CPU", "zen4")
    chosen = products(20_000, 512, 100, "C", "f4", units="amx", exact_parts=3)
    assert (chosen.forward, chosen.backward, chosen.units) == ("amx_tile", "amx_tile", "amx")
    assert (chosen.forward_parts, chosen.backward_parts) == (3, 3)
    assert (chosen.row_group, chosen.class_chunk) == (units.ROW_GROUP, units.CLASS_CHUNK)
    assert chosen.flush_rows % chosen.block == 0 and 0 < chosen.flush_rows <= max(units.FLUSH_ROWS, chosen.block)
    assert str(chosen).endswith("3 and 3 parts of bfloat16 on amx")
    without = products(20_000, 512, 100, "C", "f4", units="amx", exact_parts=3, backward=False)
    assert (without.forward, without.backward) == ("amx_tile", "tile")
