"""The section on precisions: errors by a process with the twin of AMX, and its tables."""

import importlib

from fastsoftmax.cli import bench

section, accuracy, tables, records = (
    importlib.import_module(f"{bench._harness()}.{name}")
    for name in ("sections.precision", "sections.precision.accuracy", "report.tables.precision", "harness.records")
)


def test_errors_and_times_become_tables():
    said = []
    found = section.run(records.Effort(2, 1.0, True, 1), said.append)
    assert len(said) == len(found["accuracy"]) + len(found["speed"]) == 4
    assert [r["kind"] for r in found["accuracy"]] == list(accuracy.KINDS)
    for record in found["accuracy"]:
        errors = {name: e["grad"] for name, e in record["errors"].items()}
        assert errors["exact"] < 3 * errors["float32"] + 1e-7
        assert errors["exact"] < errors["bfloat16x3"] < errors["bfloat16"] < 0.1
    text = tables.text(found)
    assert "mean 5 (600 × 40, 16)" in text and "2,000 × 64, 64" in text
    assert (tables.NO_AMX in text) == (found["units"] != "amx")
