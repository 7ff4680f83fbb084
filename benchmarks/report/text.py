"""How the report writes numbers and tables."""

from __future__ import annotations

from collections.abc import Iterable

from ..harness.records import Json
from ..peers import PEERS


def table(head: list[str], rows: Iterable[list[str]]) -> str:
    """A Markdown table; the first column to the left, the others to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def number(value: float | None) -> str:
    """Three significant digits, or a dash."""
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def times(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}×"


def absent(records: list[Json]) -> str:
    """A line on which peers are not in the table, and why."""
    reasons: dict[str, list[str]] = {}
    for r in records:
        for name, row in r["rivals"].items():
            if "missing" in row:
                reasons.setdefault(f"{PEERS[name].label}: {row['missing']}", []).append(r["case"])
    if not reasons:
        return ""
    notes = [
        why if len(where) == len(records) else f"{why} ({', '.join(where)})" for why, where in sorted(reasons.items())
    ]
    return "\n\nNot in the table: " + "; ".join(notes) + "."
