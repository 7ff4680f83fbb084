"""Seeded problems of any shape: rows, features and classes."""

from benchopt import BaseDataset

from fastsoftmax.datasets import make_problem


class Dataset(BaseDataset):
    name = "simulated"
    requirements = ["pip::fastsoftmax"]
    parameters = {"rows, features, classes": [(20_000, 50, 5), (5_000, 300, 20)], "signal": [2.0]}

    def get_data(self):
        X, y, _ = make_problem(self.rows, self.features, self.classes, signal=self.signal, seed=3)
        return {"X": X, "y": y}
