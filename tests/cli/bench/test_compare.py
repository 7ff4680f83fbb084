"""`bench compare`: ratios, and what is only noise."""

import copy
import json

import pytest
from command import assert_one_line

from fastsoftmax.cli.bench.compare import compare

ROOF = {"gflops": {"float64": 70.0, "float32": 140.0}, "gbytes": 40.0, "n_threads": 2, "method": "vector loops"}


def result(ms=10.0, spread=0.02, rounds=16, **changes):
    rivals = {"cython": {"ms": ms, "spread": spread, "rounds": rounds}, "jax": {"missing": "not installed"}}
    records = [{"case": "500k-f32", "shape": "500,000 × 50, 3", "rivals": rivals}]
    return {"kind": "passes", "records": records, "machine": {"processor": "A"}, "roof": copy.deepcopy(ROOF), **changes}


def verdict(first, second):
    (record,) = compare(first, second).records
    return record["verdict"]


def test_differences_beyond_two_standard_errors_are_believed():
    # 1.253 / 0.674 x 0.02 / sqrt(16) = 0.93 % each, 1.31 % together, so that 2.63 % is the limit.
    assert verdict(result(), result(10.2)) == verdict(result(10.2), result()) == "noise"
    assert verdict(result(), result(10.3)) == "slower"
    assert verdict(result(10.3), result()) == "faster"


def test_more_rounds_make_it_sure_and_one_percent_is_the_least():
    assert verdict(result(rounds=400), result(10.15, rounds=400)) == "slower"
    assert verdict(result(spread=0.0), result(10.09, spread=0.0)) == "noise"


def test_a_machine_that_was_slower_explains_as_much():
    slower = copy.deepcopy(ROOF) | {"gbytes": 30.0}
    table = compare(result(), result(13.0, roof=slower))
    assert table.records[0]["verdict"] == "noise" and "differ by 28.8%" in table.title
    assert verdict(result(), result(14.0, roof=slower)) == "slower"


def test_another_processor_is_noted():
    assert compare(result(), result(machine={"processor": "B"})).notes == ["processor: A in the first, B in the second"]


def test_the_command_reads_files_and_says_what_is_wrong_with_them(run, tmp_path):
    paths = []
    for name, content in {"a": result(), "b": result(20.0), "solvers": result(kind="solvers"), "no": [1]}.items():
        paths.append(tmp_path / f"{name}.json")
        paths[-1].write_text(json.dumps(content))
    a, b, solvers, no = paths
    code, out, err = run("bench", "compare", a, b)
    assert code == 0 and "2.000" in out and "slower" in out
    assert json.loads(run("bench", "compare", a, b, "--json")[1])["records"][0]["ratio"] == 2.0
    assert_one_line(run("bench", "compare", a, solvers), "the first has timed passes and the second solvers")
    assert_one_line(run("bench", "compare", a, no), "no.json is not what 'fastsoftmax bench --json' prints")
    assert_one_line(run("bench", "compare", a, tmp_path / "none.json"), "No such file")


def test_nothing_in_common_is_an_error():
    other = result()
    other["records"][0]["case"] = "60k"
    with pytest.raises(ValueError, match="nothing in common"):
        compare(result(), other)
