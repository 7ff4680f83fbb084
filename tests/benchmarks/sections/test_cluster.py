"""The forecast for many nodes, and the page that is made of it."""

import importlib

import pytest

from fastsoftmax.cli import bench

pytest.importorskip("distributed", reason="Dask is not installed")
forecast, page = (
    importlib.import_module(f"{bench._harness()}.{name}") for name in ("sections.scale.forecast", "report.cluster")
)
COSTS = forecast.Costs(gflops_of_core=100.0, join_ms=0.1, task_ms=1.0, hop_ms=10.0)


def simulate(nodes, **options):
    return forecast.simulate(forecast.Problem(), forecast.Cluster(nodes, **options), COSTS)


def test_one_node_computes_and_sends_next_to_nothing():
    alone = simulate(1, spread=0.0)
    assert alone.compute == pytest.approx(4e14 / 1.6e12)
    assert alone.sums == 0 and alone.theta == pytest.approx(8e5 / 1.25e9)


def test_a_group_is_received_one_after_the_other():
    assert forecast._joined([1.0, 1.0, 5.0], 0.5, 0.25, 0.1) == pytest.approx(5.0 + 0.75 + 0.1)
    assert forecast._joined([1.0, 1.0, 1.0], 0.5, 0.25, 0.1) == pytest.approx(1.0 + 3 * 0.75 + 0.1)


def test_more_nodes_compute_less_and_send_more():
    few, many = simulate(8), simulate(512)
    assert many.compute < few.compute and many.tasks > few.tasks and many.sums > few.sums and many.bytes > few.bytes
    assert simulate(512, gigabits=100.0).sums < many.sums


def test_where_it_ends_no_other_number_of_nodes_is_faster():
    nodes, what = page.end(COSTS, 10.0)
    assert simulate(nodes).total <= min(simulate(nodes // 2).total, simulate(2 * nodes).total)
    assert what == "the scheduler"


def test_the_page_is_made_of_what_was_measured():
    saved = {
        "costs": vars(COSTS),
        "machine": {"processor": "a processor", "threads": 2},
        "date": "today",
        "shape": [100, 10, 8],
        "pass": [{"rows": 1000, "ms": {"one process": 100.0, "2 workers": 120.0}, "bytes": {"2 workers": 4000}}],
        "fit": {
            "rows": 10,
            "least": 1.0,
            "ours": 2.0,
            "rivals": {
                "slow": {"seconds": 50.0, "loss": 1.0, "arrived": True},
                "lost": {"seconds": 45.0, "loss": 9.0, "arrived": False},
            },
        },
    }
    text = page.page(saved)
    assert "| 1,000 | 100 | 120 | 20 | 33 | 4 |" in text
    assert "| slow | 50 | 1.0000 | 25× |" in text and "| lost | 45 | 9.0000 | more than 22× |" in text
    assert text.count("\n| ") >= 2 + 4 + 8 and "computing dominates" in text
