"""What passes are made of, as tables, and what their gap over the roof is made of; all from the saved records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..sections.phases import PHASES
from .text import number, times

Json = dict[str, Any]
# What is wanted everywhere, × roof: who is above it has the gap explained.
AIM = 1.25
_NAMES = dict(zip(PHASES, ("first product", "softmax", "second product", "waiting for memory"), strict=True))


def roof_of(record: Json) -> float:
    """Nanoseconds a row that no program can do without."""
    return float(max(record["arithmetic"], record["reading"]))


def over_roof(record: Json) -> float:
    return float(record["all"] / roof_of(record))


def phase_rows(records: Sequence[Json]) -> tuple[list[str], list[list[str]]]:
    """Nanoseconds a row by phase."""
    head = ["case (m × n, k)", "", "arithmetic", "reading X", *_NAMES.values(), "all", "× roof", "median of all"]
    rows = []
    for r in records:
        row = [f"{r['case']} ({r['shape']})", r["backend"]]
        row += [number(r[name]) for name in ("arithmetic", "reading", *PHASES, "all")]
        rows.append([*row, times(over_roof(r)), number(r["median"])])
    return head, rows


def gap(record: Json) -> dict[str, float] | None:
    """What the gap over the roof is made of: the sum of the parts, less the room. None where nothing is known."""
    if record["first"] is None:
        return None
    each = record["arithmetic"] / 2  # of the two products
    return {
        "first": record["first"] - each,
        "softmax": record["softmax"],
        "second": record["second"] - each,
        "memory": record["memory"],
        "room": roof_of(record) - record["arithmetic"],
    }


def hidden(record: Json) -> float:
    """The pass over the roof if it read X while it computes and never waited."""
    return float(max(record["all"] - record["memory"], record["reading"]) / roof_of(record))


def explained(records: Sequence[Json]) -> list[Json]:
    """Those above the aim whose phases are known."""
    return [r for r in records if over_roof(r) > AIM and gap(r) is not None]


def gap_rows(records: Sequence[Json]) -> tuple[list[str], list[list[str]]]:
    """What the gaps are made of, the largest part in bold."""
    head = ["case", "", "× roof", "over the roof by", "packing, first product beyond its arithmetic", "softmax"]
    head += ["residual, second product beyond its arithmetic", "waiting for memory", "less room under the roof"]
    head += ["× roof if nothing waited"]
    rows = []
    for r in explained(records):
        parts = gap(r)
        assert parts is not None
        top = largest(r)
        shown = [f"**{number(parts[name])}**" if name == top else number(parts[name]) for name in PHASES]
        row = [r["case"], r["backend"], times(over_roof(r)), number(r["all"] - roof_of(r)), *shown]
        rows.append([*row, number(parts["room"]), times(hidden(r))])
    return head, rows


def largest(record: Json) -> str:
    """The phase that contributes most to the gap."""
    parts = gap(record)
    assert parts is not None
    return max(PHASES, key=parts.__getitem__)


def gap_text(records: Sequence[Json]) -> str:
    """In sentences, what most gaps are made of."""
    above = explained(records)
    counts = {name: sum(largest(r) == name for r in above) for name in PHASES}
    most = ", ".join(f"{_NAMES[name]} in {count}" for name, count in counts.items() if count)
    would = sum(hidden(r) <= AIM for r in above)
    return (
        f"{len(above)} of {len(records)} passes take more than {AIM:g}× the roof."
        f" The largest part of the gap is: {most}."
        f" If nothing waited for memory, {would} of them would be within {AIM:g}×; what remains of the others is"
        " computing beyond the multiply-adds of the two products."
    )


def profile(records: Sequence[Json], sides: Sequence[tuple[str, str]]) -> str:
    """The phases of a case and a backend, or of two against each other, in a line; empty where they are not known."""
    known = {(r["case"], r["backend"]): r for r in records if r["first"] is not None}
    found = [known.get(side) for side in sides]
    if not found or None in found:
        return ""
    shown = {**_NAMES, "all": "all"}
    phases = ", ".join(f"{name} {' against '.join(number(r[key]) for r in found if r)}" for key, name in shown.items())
    return f"{' against '.join(' in '.join(side) for side in sides)}: {phases} ns a row"
