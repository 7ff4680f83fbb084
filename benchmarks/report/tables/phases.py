"""What passes spend their time on, and what their distance to the roof is made of, as tables of the saved records."""

from __future__ import annotations

from collections.abc import Sequence

from ...harness.records import Json
from ...sections.phases import PHASES
from ..text import number, times

# Wanted everywhere, × roof. Passes that take longer have their gap over the roof explained.
AIM = 1.25
_NAMES = dict(zip(PHASES, ("first product", "softmax", "second product", "waiting for memory"), strict=True))


def roof_of(record: Json) -> float:
    """Nanoseconds a row that every program needs: arithmetic or reading X, whichever takes longer."""
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
    """The parts of the gap over the roof, which is their sum less "room"; None where phases were not measured.

    The room is by how much reading X takes longer than the arithmetic: so much computing has room under the roof.
    """
    if record["first"] is None:
        return None
    each = record["arithmetic"] / 2  # each of the two products has half of it
    return {
        "first": record["first"] - each,
        "softmax": record["softmax"],
        "second": record["second"] - each,
        "memory": record["memory"],
        "room": roof_of(record) - record["arithmetic"],
    }


def hidden(record: Json) -> float:
    """Time over the roof, were X read while the pass computes, so that it never waits."""
    return float(max(record["all"] - record["memory"], record["reading"]) / roof_of(record))


def explained(records: Sequence[Json]) -> list[Json]:
    """The records above `AIM` whose phases are known."""
    return [r for r in records if over_roof(r) > AIM and gap(r) is not None]


def gap_rows(records: Sequence[Json]) -> tuple[list[str], list[list[str]]]:
    """The parts of each gap, the largest in bold."""
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
    """Some sentences on what most gaps are made of."""
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
    """A line with the phases of a (case, backend), or of two against each other; empty where they are not known."""
    known = {(r["case"], r["backend"]): r for r in records if r["first"] is not None}
    found = [known.get(side) for side in sides]
    if not found or None in found:
        return ""
    shown = {**_NAMES, "all": "all"}
    phases = ", ".join(f"{name} {' against '.join(number(r[key]) for r in found if r)}" for key, name in shown.items())
    return f"{' against '.join(' in '.join(side) for side in sides)}: {phases} ns a row"
