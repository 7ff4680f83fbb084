"""Errors and times by precision, as tables of the saved records."""

from __future__ import annotations

from ...harness.records import Json
from ..text import number, table, times

_NAMES = {
    "float32": "float32",
    "exact": "exact: six products",
    "bfloat16x3": "three products",
    "bfloat16": "bfloat16: one product",
}
NO_AMX = (
    "There is no AMX here: errors are those of its twin in C++, which rounds as AMX does, and times have none of it."
)


def error_rows(section: Json) -> tuple[list[str], list[list[str]]]:
    """Relative errors of value and gradient."""
    head = ["X (m × n, k)", *_NAMES.values()]
    rows = []
    for r in section["accuracy"]:
        each = [r["errors"][name] for name in _NAMES]
        rows.append([f"{r['kind']} ({r['shape']})", *(f"{e['value']:.1e}, {e['grad']:.1e}" for e in each)])
    return head, rows


def speed_rows(section: Json) -> tuple[list[str], list[list[str]]]:
    """Milliseconds, and how many times as fast as float32 without matrix units."""
    head = ["m × n, k", "float32, ms", "exact, ms", "×", "bfloat16, ms", "×"]
    rows = []
    for r in section["speed"]:
        ms = r["ms"]
        gains = {name: times(ms["float32"] / ms[name]) for name in ("exact", "bfloat16")}
        row = [r["shape"], number(ms["float32"]), number(ms["exact"]), gains["exact"]]
        rows.append([*row, number(ms["bfloat16"]), gains["bfloat16"]])
    return head, rows


def text(section: Json) -> str:
    """Both tables, and which units there are."""
    units = section["units"]
    parts = [table(*error_rows(section)), "### Times", table(*speed_rows(section))]
    if units != "amx":
        parts.insert(0, f"{NO_AMX} Matrix units: {units or 'none'}.")
    return "\n\n".join(parts)
