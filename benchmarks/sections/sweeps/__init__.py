"""Sweeps: DINOv2's 45 penalties on features in a memory map, bootstrap fits, and what ImageNet would take.

python -m benchmarks --section sweeps                  all of it
python -m benchmarks.sections.sweeps "60k cold" models some of it again; the rest is kept
"""

from __future__ import annotations

from collections.abc import Sequence

from ...harness.records import Effort, Json, Say
from . import bootstrap, imagenet, models, probe

PARTS = (*probe.PARTS, "models", "bootstrap", "imagenet")


def run(effort: Effort, say: Say, parts: Sequence[str] = PARTS, kept: Json | None = None) -> Json:
    """The section of the report; parts that are not named are those of ``kept``."""
    found: Json = {"probes": [], **(kept or {})}
    records = {record["case"]: record for record in found["probes"]}
    for name in probe.CASES:
        if any(part.startswith(name) for part in parts):
            records[name] = probe.run(name, parts, records.get(name, {}), effort, say)
    found["probes"] = [records[name] for name in probe.CASES if name in records]
    if "models" in parts:
        found["models"] = models.run(effort, say)
    if "bootstrap" in parts:
        found["bootstrap"] = bootstrap.run(effort, say)
    if "imagenet" in parts:
        found["imagenet"] = imagenet.run(found["probes"], effort, say)
    return found
