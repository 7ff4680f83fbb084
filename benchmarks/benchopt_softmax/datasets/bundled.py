"""Samples that come with scikit-learn, as they are: columns of any scale."""

import numpy as np
from benchopt import BaseDataset

from fastsoftmax.datasets import load_sample


class Dataset(BaseDataset):
    name = "bundled"
    requirements = ["pip::fastsoftmax", "scikit-learn"]
    parameters = {"sample": ["digits", "wine"]}

    def get_data(self):
        X, labels, _ = load_sample(self.sample)
        return {"X": X, "y": np.unique(labels, return_inverse=True)[1]}
