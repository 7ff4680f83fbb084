"""The picture of a fit: the gap by passes and by seconds, and the loss of one sample."""

import numpy as np
import pytest
from command import FAST

from fastsoftmax.cli import plot
from fastsoftmax.solvers.result import Step


@pytest.mark.parametrize(("suffix", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_a_plot_is_drawn(run, iris, tmp_path, suffix, start):
    path = tmp_path / f"p.{suffix}"
    assert run("train", iris, "--plot", path, *FAST)[0] == 0
    assert path.read_bytes().startswith(start)


@pytest.mark.parametrize("bounds", [[4.0, 0.2, 0.1, 1e-3, 1e-7], [None] * 5])
def test_the_plot_holds_the_gap_by_passes_and_by_seconds_beside_the_loss_curve(tmp_path, monkeypatch, bounds):
    figures = []
    monkeypatch.setattr(plot.Figure, "savefig", lambda self, *args, **options: figures.append(self))
    history = [Step(i, 1.0 / (i + 1), 0.1**i, 1 + 2 * i, 0.1 * i, bounds[i]) for i in range(5)]
    plot.save_plot(tmp_path / "p.png", history, k=4)
    passes, seconds, curve = figures[0].axes
    gaps = [s.grad_norm if s.gap_bound is None else s.gap_bound for s in history]
    np.testing.assert_array_equal(passes.lines[0].get_xydata().T, [[s.n_passes for s in history], gaps])
    np.testing.assert_array_equal(seconds.lines[0].get_xydata().T, [[s.seconds for s in history], gaps])
    assert ("gap" in passes.get_ylabel()) == (bounds[0] is not None)
    p, minus_log_p = curve.lines[0].get_xydata().T
    np.testing.assert_array_equal(minus_log_p, -np.log(p))
    for axes in figures[0].axes:
        assert axes.get_ylabel() and axes.get_xlabel()
