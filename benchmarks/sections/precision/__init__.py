"""Precisions of a pass: how far off each is, and what it gains on matrix units (`fastsoftmax.kernels.units`)."""

from __future__ import annotations

from fastsoftmax.kernels import backends

from ...harness.records import Effort, Json, Say


def run(effort: Effort, say: Say) -> Json:
    """The records of both, and the matrix units of this machine."""
    # Not at the top: one of them is a command as well, which Python would load twice.
    from . import accuracy, speed

    found: Json = {"units": backends.select("cython")[1].UNITS}
    return found | {"accuracy": accuracy.run(effort.quick, say), "speed": speed.run(effort, say)}
