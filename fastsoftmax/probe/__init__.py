"""Linear probes: how well a softmax regression on frozen features does, at every penalty of a grid.

`LinearProbe` is the estimator; ``fastsoftmax probe`` the command. `grid` has the grids and how scikit-learn's C becomes
l2, `features` what features may be, `validation` the metrics and the bound that ends hopeless fits, `sweep` the walk
along the grid, `checkpoint` what of it is kept on disk.
"""

from .estimator import LinearProbe
from .features import open_features, open_labels

__all__ = ["LinearProbe", "open_features", "open_labels"]
