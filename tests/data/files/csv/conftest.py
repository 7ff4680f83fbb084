"""Text tables on disk, and what their errors say."""

import numpy as np
import pytest

from fastsoftmax.data.files import read, read_features

RNG = np.random.default_rng(0)


class Files:
    """Writes a text as a file and reads it."""

    def __init__(self, folder):
        self.folder = folder

    def path(self, content, name="d.csv"):
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def read(self, content, target=None, name="d.csv", **settings):
        return read(self.path(content, name), target, **settings)

    def features(self, content, names, n=None, name="d.csv", **settings):
        return read_features(self.path(content, name), names, n or len(names), **settings)

    def error(self, content, *words, target=None, name="d.csv", features=None, **settings):
        """Reading is an error of one sentence, which names the file and has the words."""
        with pytest.raises(ValueError) as caught:
            if features is None:
                self.read(content, target, name, **settings)
            else:
                self.features(content, features, name=name, **settings)
        message = str(caught.value)
        assert not [word for word in (name, *words) if word not in message], message
        assert "\n" not in message


@pytest.fixture
def files(tmp_path):
    return Files(tmp_path)


class Iris:
    """Rows of four numbers and a label, and the same as text."""

    X = RNG.normal(size=(40, 4)).round(2)
    y = np.array(["setosa", "versicolor", "virginica"])[RNG.integers(3, size=40)]
    names = ["a", "b", "c", "d"]

    def lines(self, sep=",", decimal=".", labels=None):
        labels = self.y if labels is None else labels
        cells = [[str(x).replace(".", decimal) for x in row] for row in self.X.tolist()]
        return [sep.join([*row, str(label)]) for row, label in zip(cells, labels, strict=True)]

    def text(self, header="a,b,c,d,species", **options):
        return "\n".join([*([header] if header else []), *self.lines(**options)]) + "\n"

    def same(self, data, names=names, target="species"):
        np.testing.assert_array_equal(data.X, self.X)
        np.testing.assert_array_equal(data.y, self.y)
        assert (data.feature_names, data.target) == (list(names), target)
        return data


@pytest.fixture
def iris():
    return Iris()
