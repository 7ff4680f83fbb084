"""The benchmarks' own arithmetic: phases, gaps, targets, who disturbs. No test looks at how long anything takes."""

import gc
import importlib
import sys
from functools import partial

import numpy as np
import pytest

from fastsoftmax import Objective
from fastsoftmax.cli import bench

PARTS = ("harness.cases", "harness.machine", "sections.phases", "report.tables.phases", "harness.repeated")
PARTS += ("harness.records", "report.report", "report.parts", "harness.roofline", "report.targets", "harness.timing")
cases, machine, phases, phases_report, repeated, records, report, parts, roofline, targets, timing = (
    importlib.import_module(f"{bench._harness()}.{name}") for name in PARTS
)
CASE = cases.Case("tiny", 5_003, 50, 3, "float32")
ROOF = roofline.Roof({"float64": 100.0, "float32": 200.0}, 30.0, 1, "BLAS")
MS = {"reading": 2.0, "labels": 3.0, "labels and loss": 4.0, "loss": 3.5, "gradient": 6.0, "all": 7.0}


def record(name="500k-f64", backend="cython", **changes):
    """A record of the section; in nanoseconds a row."""
    parts = {"first": 6.0, "softmax": 2.0, "second": 4.0, "memory": 4.5, "all": 16.5, "median": 17.0}
    return {"case": name, "shape": "", "backend": backend, "arithmetic": 5.0, "reading": 12.0, **parts, **changes}


# ------------------------------------------------------------------------------------- X in cache


def small_period(X):
    cached = repeated.repeated(X, 1 << 16)
    if cached is None:
        assert sys.platform != "linux"
        pytest.skip("maps of one file at many addresses need Linux")
    return cached


@pytest.mark.parametrize("order", "CF")
def test_repeated_looks_like_the_array_and_is_its_beginning_again_and_again(order):
    X = np.asarray(np.random.default_rng(0).standard_normal((5_003, 50)), order=order)
    cached = small_period(X)
    assert (cached.shape, cached.dtype, cached.strides) == (X.shape, X.dtype, X.strides)
    flat, count = cached.ravel(order="K"), (1 << 16) // X.itemsize
    np.testing.assert_array_equal(flat, np.resize(X.ravel(order="K")[:count], X.size))
    flat[0] = 7.0  # the same memory, not copies of it
    assert flat[count] == flat[2 * count] == 7.0


def test_repeated_of_less_than_a_period_is_a_copy():
    X = np.arange(12.0).reshape(3, 4)
    np.testing.assert_array_equal(small_period(X), X)


@pytest.mark.parametrize("order", "CF")
def test_kernels_see_every_row_of_it(order, backend):
    problem = cases.make_problem(cases.Case("tiny", 5_003, 50, 3, "float64", order=order))
    cached = small_period(problem.X)
    value, grad = Objective(cached, problem.y, 3, backend=backend).value_and_grad(problem.theta)
    plain = Objective(cached.copy("K"), problem.y, 3, backend=backend).value_and_grad(problem.theta)
    assert value == plain[0]
    np.testing.assert_array_equal(grad, plain[1])


# ----------------------------------------------------------------------------------------- phases


def test_phases_are_differences_of_shortest_times():
    case = CASE.rows(1_000_000)  # of which a millisecond is a nanosecond a row
    found = phases.record(case, "cython", ROOF, {name: [1.5 * ms, ms, 2 * ms] for name, ms in MS.items()})
    wanted = {"reading": 2.0, "first": 2.5, "softmax": 1.0, "second": 2.5, "memory": 1.0, "all": 7.0, "median": 10.5}
    assert {name: found[name] for name in wanted} == wanted
    assert found["arithmetic"] == 600 / 200  # nobody timed it beside the passes
    assert found["rounds"] == 3


def test_phases_of_a_case_add_up_to_the_pass(backend):
    for r in phases.phases_of(CASE, [backend], ROOF, 2, 1.0):
        assert (r["case"], r["backend"], r["rounds"]) == ("tiny-f32", backend, 2)
        if r["first"] is not None:
            parts = [r[name] for name in phases.PHASES]
            assert abs(sum(parts) - r["all"]) <= 8 * np.finfo(float).eps * sum(map(abs, parts))


def test_phases_are_unknown_where_no_X_stays_in_cache(monkeypatch):
    monkeypatch.setattr(phases, "repeated", lambda like, period: None)
    (r,) = phases.phases_of(CASE, ["numpy"], ROOF, 1, 1.0)
    assert r["all"] > 0 and all(r[name] is None for name in phases.PHASES)
    assert phases_report.gap(r) is None and phases_report.explained([r]) == []
    text = parts.phases_text({"phases": [r]})
    assert "not measured" in text and "gap over the roof" not in text


# -------------------------------------------------------------------------------------- the report


@pytest.mark.parametrize("reading", [3.0, 12.0])
def test_parts_of_the_gap_add_up(reading):
    r = record(reading=reading)
    parts = phases_report.gap(r)
    assert parts["room"] == max(0.0, reading - 5.0)
    assert sum(parts[name] for name in phases.PHASES) - parts["room"] == 16.5 - max(5.0, reading)


def test_memory_hidden_leaves_what_computes_or_reads_longer():
    assert phases_report.hidden(record()) == 1.0  # 12 ns of computing beside 12 of reading
    assert phases_report.hidden(record(reading=6.0)) == 2.0


def test_the_largest_part_is_counted_and_in_bold():
    above, within = record(), record("500k-f32", all=13.0, memory=1.0)
    head, rows = phases_report.gap_rows([above, within])
    assert [row[0] for row in rows] == ["500k-f64"]
    assert rows[0][head.index("waiting for memory")] == "**4.5**"
    assert sum("**" in cell for cell in rows[0]) == 1
    text = phases_report.gap_text([above, within])
    assert text.startswith("1 of 2 passes") and "waiting for memory in 1." in text and "memory, 1 of them" in text


def missed(f_ms):
    """Results in which F order takes so long where C order takes 10 ms."""
    rivals = {"cython": {"ms": 10.0, "rounds": 7}}
    order = [{"case": "500k-f64", "rivals": rivals}, {"case": "500k-f64-F", "rivals": {"cython": {"ms": f_ms}}}]
    return {"sections": {"F-order": {"cases": order}, "phases": {"phases": [record(), record("500k-f64-F", all=19.0)]}}}


def test_a_missed_target_says_where_the_time_goes():
    text = report.targets_table(missed(12.0))
    assert "F-order over C-order, cython, worst case, 1.20× (500k-f64-F). 500k-f64-F in cython against 500k-f64" in text
    assert "waiting for memory 4.5 against 4.5, all 19 against 16.5 ns a row." in text
    assert "Where the time goes" not in report.targets_table(missed(10.5))


def test_a_missed_target_without_phases_says_so():
    results = missed(12.0)
    del results["sections"]["phases"]
    assert "Its phases are not measured." in report.targets_table(results)


def test_every_plot_is_shown_once():
    rivals = {"cython": {"ms": 10.0, "rounds": 7, "relative_error": 1e-16}}
    main = {"case": "500k-f64", "shape": "", "roof_ms": 5.0, "rivals": rivals}
    stamp = {"date": "2026-01-01", "busy": "", "seconds": 90.0, "roof": ROOF.as_dict()}
    section = {**stamp, "cases": [main]}
    about = {**machine.describe(1), "memory": None}
    text = report.render({"quick": False, "machine": about, "sections": {"main": section}}, ["roofline.png"])
    assert text.count("plots/roofline.png") == 1 and "## Accuracy" in text
    assert "2026-01-01, in 1.5 minutes; 7 rounds; measured" in text and "1.5 minutes for all sections" in text


def test_the_front_page_has_a_row_for_each_cpu():
    case = {"case": "500k-f64", "shape": "", "roof_ms": 5.0}
    case["rivals"] = {"cython": {"ms": 10.0}, "numba": {"ms": 20.0}, "torch_eager": {"ms": 40.0}}
    about = {"processor": "a CPU"}
    main = {"date": "2026-01-01", "cases": [case], "roof": ROOF.as_dict()}
    saved = {name: {"quick": False, "machine": about, "sections": {"main": main}} for name in ("one", "two")}
    text = report.front_page(saved)
    for name in saved:
        assert f"| [{name}](results/{name}/README.md) | a CPU | 2026-01-01 | 2.00× | 4.00× | 4.00× |" in text


def test_the_pages_of_all_cpus_are_those_of_the_saved_results():
    saved = records.all_results()
    if not saved:
        pytest.skip("an installation without saved results")
    for name, results in saved.items():
        assert (records.RESULTS / name / "README.md").read_text().startswith("# Benchmarks on ")
        assert not results["quick"]
    assert (records.RESULTS.parent / "README.md").read_text() == report.front_page(saved)


def test_every_plot_of_the_saved_results_can_be_drawn(tmp_path):
    plots = importlib.import_module(f"{bench._harness()}.report.plots")
    saved = records.all_results()
    if "zen4" not in saved:
        pytest.skip("an installation without saved results")
    drawn = plots.draw(saved["zen4"], tmp_path)
    assert sorted(drawn) == sorted(name for names in parts.PICTURES.values() for name in names)
    assert all((tmp_path / name).stat().st_size for name in drawn)


# --------------------------------------------------------------------------- how timings are taken


def test_others_at_work_are_waited_for(monkeypatch):
    """Of two cores one works, half of one, then none."""
    now = {"worked": 0.0, "all": 0.0, "seconds": 0.0, "shares": [0.5, 0.25, 0.0]}

    def sleep(seconds):
        now["seconds"] += seconds
        now["all"] += 100 * seconds
        if seconds == 2.0:  # one look; between them nothing counts
            now["worked"] += 100 * seconds * now["shares"].pop(0)

    monkeypatch.setattr(machine, "core_times", lambda: (now["worked"], now["all"]))
    monkeypatch.setattr(machine.time, "sleep", sleep)
    monkeypatch.setattr(machine.time, "monotonic", lambda: now["seconds"])
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 2)
    assert machine.busy() == "other programs kept 1.0 of 2 cores busy just before: these timings mean little"
    assert machine.busy(patience=60.0) == "" and not now["shares"]


def test_the_load_average_stands_in_where_the_cores_tell_nothing(monkeypatch):
    monkeypatch.setattr(machine, "core_times", lambda: None)
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 4)
    monkeypatch.setattr(machine.os, "getloadavg", lambda: (3.0, 0.0, 0.0), raising=False)
    assert machine.busy().startswith("other programs kept 3.0 of 4 cores")


def test_no_garbage_is_collected_during_a_call():
    counts = {"a": 0, "b": 0}

    def call(name):
        counts[name] += 1
        assert not gc.isenabled() and gc.get_freeze_count()

    times = timing.interleave({name: partial(call, name) for name in counts}, 3, pause=0.0)
    assert {name: len(each) for name, each in times.items()} == {"a": 3, "b": 3}
    assert min(counts.values()) >= 4 and gc.isenabled() and not gc.get_freeze_count()


def test_who_took_long_is_not_called_to_wake_the_cores(monkeypatch):
    made = []
    monkeypatch.setattr(timing, "wake", lambda call: made.append("wake"))
    timing.interleave({"a": lambda: made.append("call")}, 2, pause=0.0, wake_ms=0.0)
    assert made == ["call"] * 3
    timing.interleave({"a": lambda: made.append("call")}, 2, pause=0.0, wake_ms=1e6)
    assert made == ["call"] * 3 + ["wake", "call"] * 3


@pytest.mark.parametrize("dtype", ["uint8", "float64"])
def test_both_floors_can_be_timed(dtype):
    X = np.ones((1_001, 7), dtype)
    with roofline.floors(X, 1e6, "float32", 2) as calls:
        times = timing.interleave(calls, 1, pause=0.0)
    assert "reading" in times and all(each[0] > 0 for each in times.values())
