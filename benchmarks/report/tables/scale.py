"""The table of the section on data larger than memory."""

from __future__ import annotations

from ...harness.records import Json
from ..targets import pass_share
from ..text import number, times

NAMES = {"memmap": "mapped .npy", "parquet": "Parquet", "cache": "Parquet, with a cache"}


def rows(section: Json) -> tuple[list[str], list[list[str]]]:
    """Seconds of a pass beside reading and computing alone."""
    head = ["data", "rows", "pass", "reading alone", "computing alone", "pass over the larger", "private memory, MB"]
    lines = []
    for r in section["kinds"]:
        seconds = [f"{r[what]:.3g} s" for what in ("pass", "read", "compute")]
        lines.append([NAMES[r["kind"]], f"{r['rows']:,}", *seconds, times(pass_share(r)), number(r["private_mb"])])
    return head, lines
