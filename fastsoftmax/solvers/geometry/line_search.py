"""How much lower one point of a line lies than another, told where the values themselves are rounded alike."""

from __future__ import annotations

# Relative change of the value below which float32 data could not tell it from rounding.
SMALL_CHANGE = 1e-6


def change(before: float, value: float, low: float, high: float) -> float:
    """value - before, of two points of a convex function: low and high are the step between them times the gradients
    at its beginning and at its end.

    The change lies between them. Where that interval is small, its middle (the trapezoid rule) is nearer to the truth
    than the difference of two rounded values, in which the progress near an optimum drowns (as in Hager and Zhang,
    2005, section 4).
    """
    if 0 <= high - low <= SMALL_CHANGE * abs(value):
        return 0.5 * (low + high)
    return value - before
