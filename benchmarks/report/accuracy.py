"""Errors of exp and log, and of value and gradient, as tables of the saved records."""

from __future__ import annotations

from ..harness.records import Json
from ..sections.accuracy.passes import TAKING_PART
from .text import table

_TITLES = {"logits": "Over the size of the logits", "rows": "Over rows", "classes": "Over classes"}


def function_rows(section: Json) -> tuple[list[str], list[list[str]]]:
    """Worst errors in ulp, and the share of results that are not the nearest number."""
    names = list(section["functions"][0]["errors"])
    rows = []
    for r in section["functions"]:
        each = (r["errors"].get(name) for name in names)
        cells = ("–" if e is None else f"{e['ulp']:.3f}, {100 * e['not_nearest']:.2g} %" for e in each)
        rows.append([f"{r['function']}, {r['count']:,} {r['dtype']}", *cells])
    return ["function, numbers tried", *names], rows


def pass_rows(section: Json, series: str) -> tuple[list[str], list[list[str]]]:
    """Relative errors of value and gradient by peer."""
    records = [r for r in section["passes"] if r["series"] == series]
    names = [n for n in TAKING_PART if any("grad" in r["rivals"].get(n, {}) for r in records)]
    rows = []
    for dtype in ("float64", "float32"):
        for r in (r for r in records if r["dtype"] == dtype):
            each = (r["rivals"].get(name, {}) for name in names)
            cells = (f"{e['value']:.1e}, {e['grad']:.1e}" if "grad" in e else "–" for e in each)
            rows.append([f"{r['case']}, {dtype}", *cells])
    head = "m × n, k" if series != "logits" else f"{records[0]['shape']}:"
    return [head, *(TAKING_PART[name].label for name in names)], rows


def text(section: Json) -> str:
    """All tables."""
    if "skipped" in section:
        return str(section["skipped"])
    parts = [table(*function_rows(section))]
    for series, title in _TITLES.items():
        parts += [f"### {title}", table(*pass_rows(section, series))]
    return "\n\n".join(parts)
