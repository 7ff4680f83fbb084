"""The sections on PyTorch and JAX: their cases, targets and tables; where these are installed, that all ways agree."""

import importlib

import numpy as np
import pytest

from fastsoftmax.cli import bench

hosts, training, dense, cases, peers, tables, targets, records = (
    importlib.import_module(f"{bench._harness()}.{name}")
    for name in ("sections.hosts", "sections.hosts.training", "sections.dense", "harness.cases", "peers")
    + ("report.tables.hosts", "report.targets", "harness.records")
)
HEAD = "16k-classes-f32-dX"


def record(case=HEAD, host="torch", **ms):
    rivals = {name: {"ms": time} for name, time in zip(peers.LAYERS[host], ms.values(), strict=False)}
    return {"case": case, "shape": "1 × 2, 3", "rivals": rivals}


def results(share):
    """A head that is twice as fast, in that share of the memory of PyTorch's fastest way, beside gradients of 50 MB."""
    memory = {"torch_layer_ours": 50.0 + share, "torch_layer_eager": 51.0, "torch_layer_fused": 150.0}
    rivals = {name: {"extra_mb": mb} for name, mb in memory.items()}
    sections = {
        "PyTorch": {"cases": [record(ours=5.0, eager=20.0, fused=10.0)]},
        "PyTorch memory": {"memory": [{"case": HEAD, "gradients_mb": 50.0, "rivals": rivals}]},
        "JAX": {"cases": [record("500k-f32", "jax", ours=2.0, xla=5.0)]},
    }
    return {"sections": sections}


def test_layers_are_not_among_the_losses():
    names = {*peers.LOSSES, *peers.LAYERS["torch"], *peers.LAYERS["jax"]}
    assert names == set(peers.PEERS)
    assert len(names) == len(peers.LOSSES) + sum(map(len, peers.LAYERS.values()))
    assert set(dense.OURS) == {"cython", "numba"}


def test_every_case_of_a_section_is_known():
    assert len(hosts.jax(False)) == 10  # of few classes, in both dtypes
    for quick in (False, True):
        assert {*hosts.jax(quick), *hosts.pytorch(quick)} <= set(cases.CASES)
    assert set(targets.LAYER_GAINS) <= set(hosts.pytorch(False))


@pytest.mark.parametrize("share", [10.0, 30.0])
def test_targets_are_against_the_fastest_way(share):
    found = list(targets.layers(results(share)))
    judged = {target.text: (target.measured, target.met) for target in found}
    assert judged[f"PyTorch's fastest layer and loss over ours, {HEAD}"] == ("2.00×", True)
    memory = next(value for text, value in judged.items() if text.startswith("Extra memory"))
    assert memory == (f"{share / 100:.2f}× ({HEAD})", share <= 20)
    assert judged["XLA's own layer and loss over ours, worst case"] == ("2.50× (500k-f32)", True)
    assert judged["PyTorch's fastest layer and loss over ours, 60k-f32"] == (None, None)


def test_tables_have_a_column_for_each_way():
    section = results(10.0)["sections"]["PyTorch"]
    head, rows = tables.case_rows(section["cases"], "torch")
    assert rows == [[f"{HEAD} (1 × 2, 3)", "5", "20", "**10**", "–", "–", "2.00×"]] and len(head) == len(rows[0])
    step = {"network": "MLP", "dtype": "float32", **record(ours=1.0, eager=2.0)}
    head, rows = tables.step_rows([step])
    assert rows == [["MLP (1 × 2, 3)", "float32", "1", "**2**", "–", "–", "–", "2.00×"]] and len(head) == len(rows[0])


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # by what PyTorch's optimizers import
def test_all_ways_of_pytorch_agree():
    pytest.importorskip("torch")
    problem = cases.make_problem(cases.Case("tiny", 203, 30, 7, "float32", dx=True))
    names = [name for name in peers.LAYERS["torch"] if name != "torch_layer_compiled"]
    calls, found = dense.prepare(problem, names, 2)
    assert set(calls) == set(names), found
    r = training.together(training.QUICK[0], "float32", records.Effort(1, 1.0, True, 2), names)
    assert all("ms" in row for row in r["rivals"].values()), r


def test_all_ways_of_jax_agree():
    jax = pytest.importorskip("jax")
    problem = cases.make_problem(cases.Case("tiny", 203, 30, 7, "float32"))
    with jax.enable_x64(True):
        calls, found = dense.prepare(problem, peers.LAYERS["jax"], 2)
    assert set(calls) == set(peers.LAYERS["jax"]), found
    assert np.isfinite(calls["jax_layer"]()[0])
