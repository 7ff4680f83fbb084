"""The change of the value along a step, precise even where the two values are equal but for rounding."""

from __future__ import annotations

# A relative change of the value below this may be rounding, with float32 data.
SMALL_CHANGE = 1e-6


def change(before: float, value: float, low: float, high: float) -> float:
    """value - before, the values of a convex function at the two ends of a step.

    ``low`` and ``high`` are the step times the gradient at its beginning and at its end; the change lies between them.
    Where that interval is small, its middle (the trapezoid rule) is nearer to the truth than the difference of two
    rounded values, in which the progress near an optimum drowns (as in Hager and Zhang, 2005, section 4).
    """
    if 0 <= high - low <= SMALL_CHANGE * abs(value):
        return 0.5 * (low + high)
    return value - before
