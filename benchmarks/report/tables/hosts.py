"""The tables of layers within PyTorch and JAX."""

from __future__ import annotations

from collections.abc import Callable

from ...harness.records import Json
from ...peers import LAYERS, PEERS
from ..targets import best_peer, layer_gain, ms
from ..text import absent, number, table, times

Rows = tuple[list[str], list[list[str]]]


def case_rows(records: list[Json], host: str) -> Rows:
    """Milliseconds of each way, the fastest of the host's in bold, and its time over ours."""
    return _timed(records, host, ["case (m × n, k)"], lambda r: [f"{r['case']} ({r['shape']})"])


def step_rows(records: list[Json]) -> Rows:
    """The same of training steps."""
    return _timed(records, "torch", ["network", "dtype"], lambda r: [f"{r['network']} ({r['shape']})", r["dtype"]])


def _timed(records: list[Json], host: str, head: list[str], first: Callable[[Json], list[str]]) -> Rows:
    names = LAYERS[host]
    lines = []
    for r in records:
        best = best_peer(r)
        cells = [f"**{number(ms(r, name))}**" if best and name == best[0] else number(ms(r, name)) for name in names]
        lines.append([*first(r), *cells, times(layer_gain(r))])
    return [*head, *(PEERS[name].label for name in names), "gain"], lines


def memory_rows(records: list[Json]) -> Rows:
    """MB of each way, the gradients among them."""
    names = LAYERS["torch"]
    lines = []
    for r in records:
        extras = [r["rivals"].get(name, {}).get("extra_mb") for name in names]
        lines.append([f"{r['case']} ({r['shape']})", number(r["gradients_mb"]), *map(number, extras)])
    return ["case", "gradients", *(PEERS[name].label for name in names)], lines


def pytorch_text(section: Json) -> str:
    """Times of layers."""
    return table(*case_rows(section["cases"], "torch")) + absent(section["cases"])


def memory_text(section: Json) -> str:
    """Their memory."""
    return table(*memory_rows(section["memory"])) + absent(section["memory"])


def steps_text(section: Json) -> str:
    """Training steps; a way whose losses are not those of the plain way has no time."""
    return table(*step_rows(section["steps"])) + absent(
        [{**record, "case": f"{record['network']}, {record['dtype']}"} for record in section["steps"]]
    )


def jax_text(section: Json) -> str:
    """Compiled value and gradient."""
    return table(*case_rows(section["cases"], "jax")) + absent(section["cases"])
