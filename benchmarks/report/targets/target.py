"""A target: what is wanted, what was measured, and the verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass

Profile = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Target:
    """What is wanted, and what was measured.

    Attributes
    ----------
    text, wanted : str
        What it is about, and the limit.
    measured : str or None
        The measured value; None where these results do not have it.
    met : bool or None
        Whether it is within the limit.
    profile : tuple of (case, backend)
        One whose phases say why it is not met, or two against each other.
    """

    text: str
    wanted: str
    measured: str | None
    met: bool | None
    profile: Profile = ()

    @property
    def verdict(self) -> str:
        return "not measured" if self.met is None else "met" if self.met else "**not met**"


def at_most(
    text: str, limit: float, value: float | None, unit: str = "×", note: str = "", profile: Profile = ()
) -> Target:
    return _judge(text, "≤", limit, value, unit, note, profile)


def at_least(
    text: str, limit: float, value: float | None, unit: str = "×", note: str = "", profile: Profile = ()
) -> Target:
    return _judge(text, "≥", limit, value, unit, note, profile)


def _judge(text: str, sign: str, limit: float, value: float | None, unit: str, note: str, profile: Profile) -> Target:
    wanted = f"{sign} {limit:g} {unit}".strip() if unit != "×" else f"{sign} {limit:g}×"
    if value is None or not math.isfinite(value):
        return Target(text, wanted, None, None)
    shown = f"{value:.3g} {unit}".strip() if unit != "×" else f"{value:.2f}×"
    met = value <= limit if sign == "≤" else value >= limit
    return Target(text, wanted, shown + (f" ({note})" if note else ""), met, profile)
