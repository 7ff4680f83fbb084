"""The section on data larger than memory: its arithmetic, and that it measures and leaves nothing behind."""

import importlib

import numpy as np

from fastsoftmax.cli import bench

section, table, targets, records = (
    importlib.import_module(f"{bench._harness()}.{name}")
    for name in ("sections.scale.larger_than_memory", "report.tables.scale", "report.targets", "harness.records")
)

RECORDS = [
    {"kind": kind, "rows": rows, "pass": 2.0, "read": 1.6, "compute": 1.0, "private_mb": 300.0}
    for kind, rows in (("memmap", 1000), ("parquet", 100), ("cache", 950))
]


def test_a_small_run_measures_all_kinds_and_leaves_no_file(tmp_path):
    said = []
    found = section.run(records.Effort(quick=True), said.append, 0.004, str(tmp_path))
    assert [record["kind"] for record in found["kinds"]] == list(section.KINDS) and len(said) == 3
    for record in found["kinds"]:
        assert record["rows"] == 10_000 and min(record["pass"], record["read"], record["compute"]) > 0
    assert not list(tmp_path.iterdir())


def test_a_disk_without_room_is_told(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(section.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 10**9}))
    found = section.run(records.Effort(), said.append, where=str(tmp_path))
    assert found["kinds"] == [] and found["skipped"] == said[0]
    assert said[0].endswith("has 1.0 GB of room, and 10.2 GB are needed: not measured")
    assert not list(tmp_path.iterdir())


def test_targets_and_table():
    results = {"sections": {"larger than memory": {"kinds": RECORDS}}}
    judged = list(targets.larger_than_memory(results))
    assert [target.met for target in judged] == [True, True, False, True]
    assert [target.met for target in targets.larger_than_memory({"sections": {}})] == [None] * 4
    head, rows = table.rows({"kinds": RECORDS})
    assert rows[0] == ["mapped .npy", "1,000", "2 s", "1.6 s", "1 s", "1.25×", "300"] and len(head) == len(rows[0])


def test_memory_that_is_watched_is_that_of_arrays():
    with section.watched_memory() as before:
        pass
    with section.watched_memory() as most:
        held = np.ones(20_000_000)
        while most() is not None and most() < (before() or 0) + 100:
            held += 1
    assert most() is None or most() > 100
