"""The Cython and the Numba wing have the same storeys and files, and in them functions of the same names.

Who has read a file of one wing finds its way in the other. A name is shared where both do the same; what only one wing
needs, a load that a compiler of C++ makes itself or an intrinsic that Numba lacks, has no twin.
"""

import re
from pathlib import Path

import pytest

import fastsoftmax

WINGS = Path(fastsoftmax.__file__).parent / "kernels"
ENDS = {"cython": ".hpp", "numba": ".py"}

# File in both wings: names that both define.
TWINS = {
    "passes/dense": "do_slab for_slabs gradient_of_block slab_start",
    "passes/class_parallel": "group_backward group_forward sum_of_groups top_of_groups",
    "passes/models": "add_held residuals_of_models weigh_fold",
    "passes/hessian": "pair_grams",
    "passes/sparse": "add_squares do_range sparse_logits",
    "block/pack": "",
    "block/convert": "convert_line transpose_bytes",
    "block/products": "backward forward input_gradient",
    "block/softmax": "add_column_sums exponentials label_rows load_targets not_finite residual_of_labels",
    "block/reduce": "flush_hot_columns reduce_gradient",
    "microkernels/simd": "Lanes load load_double splat store sum_lanes",
    "microkernels/prefetch": "Prefetcher idle",
    "microkernels/tile": "Tile run_tile",
    "microkernels/dot_tile": "DotTile run_dot_tile",
    "microkernels/few_classes": "ClassLaneTile class_lane_tile tile_steps widen_parameters",
    "microkernels/sparse_rows": "Gather Scatter gather prefetch_row row_of scatter",
}

# Names that both wings define, in files that are not each other's twins: Numba compiles what few passes call by itself,
# beside its micro-kernel, and C++ keeps the choice between micro-kernels in one place.
ELSEWHERE = (
    "backward_by_dots flush forward_by_class_lanes "
    "forward_by_dots forward_by_kc_blocks logits_of_block pack_parameters sparse_backward"
)

# File of one wing alone: why the other has none.
ALONE = {
    "cython": {
        "block/amx_products": "matrix units, whose instructions LLVM offers to no kernel of Numba",
        "block/bfloat16": "what they read",
        "block/kc_blocks": "both products by blocks of the features; Numba has them with its dot tiles",
        "block/pass": "what a pass is, known when C++ is compiled; Numba reads it from a record, see block/job",
        "microkernels/amx": "their instructions, and a twin of these",
        "microkernels/amx_tile": "their tile",
        "microkernels/transpose": "shuffles in C++; Numba's transpose is an intrinsic of microkernels/simd",
        "units/dense": "what is compiled by itself, for each dtype; Numba compiles a pass when it is first called",
        "units/sparse": "likewise",
    },
    "numba": {
        "block/block": "a block of X in both orientations, which C++ passes on as arguments (block/products)",
        "block/job": "what a pass works on, for runtime/record; C++ gets it as block/pass",
        "microkernels/math": "exp and log, which C++ has in microkernels/simd",
        "microkernels/memory": "pointers, atomics and calls by address, which C++ has",
        "runtime/compile": "C++ is compiled when the package is built",
        "runtime/pool": "C++ has OpenMP's threads",
        "runtime/record": "arguments in memory, since compiled entries take an address alone; C++ takes a struct",
        "runtime/views": "that record as compiled code reads it",
    },
}

SHARED = [(file, name) for file, names in TWINS.items() for name in names.split()]
needs_sources = pytest.mark.skipif(not any((WINGS / "cython").rglob("*.hpp")), reason="installed without its sources")


def files(wing):
    """The files in a wing's storeys; those beside its storeys (backend, launch, call) have no twins."""
    found = (WINGS / wing).glob(f"*/*{ENDS[wing]}")
    return {str(file.relative_to(WINGS / wing).with_suffix("")) for file in found if file.stem != "__init__"}


def defined(wing, text):
    """Names of the functions and types that a source defines, whatever they are in."""
    if wing == "numba":
        return set(re.findall(r"^ *(?:def|class) (\w+)", text, re.MULTILINE))
    code = re.sub(r"//.*", "", text)
    functions = re.findall(r"^(?! *return\b)(?!.*;\s*$) *\w[\w:<>*&, ]*[ *&](\w+)\(", code, re.MULTILINE)
    return {*functions, *re.findall(r"\b(?:struct|using) (\w+)", code)}


def names_of(wing, file):
    return defined(wing, (WINGS / wing / file).with_suffix(ENDS[wing]).read_text())


@needs_sources
def test_each_file_has_a_twin_or_a_reason_not_to():
    cython, numba = files("cython"), files("numba")
    assert cython & numba == set(TWINS)
    assert cython - numba == set(ALONE["cython"]) and numba - cython == set(ALONE["numba"])


@needs_sources
@pytest.mark.parametrize(("file", "name"), SHARED)
@pytest.mark.parametrize("wing", ENDS)
def test_twins_define_the_same_names(wing, file, name):
    assert name in names_of(wing, file)


@needs_sources
@pytest.mark.parametrize("wing", ENDS)
def test_names_that_are_elsewhere_are_in_both_wings(wing):
    everything = set().union(*(names_of(wing, file) for file in files(wing)))
    assert not set(ELSEWHERE.split()) - everything
