"""Text tables: CSV and its kin."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ... import _extras
from ..validation import nonfinite_row
from . import text
from .columns import TABLES_NEED, filled, first_line
from .data import Data
from .labels import encoded, labels


class CsvTable:
    """A CSV file. Its first line is read at once, so that a wrong target is an error before a long read."""

    def __init__(self, path: Path, header: bool) -> None:
        self.path, self.layout = path, text.layout(path, header)
        self.names, self.left_out = self.layout.names, frozenset[int]()

    def data(self, features: Iterable[int], target: int | None = None) -> Data:
        """Read the columns with these numbers, and the labels in column ``target``."""
        pyarrow, module = (_extras.load("pyarrow", TABLES_NEED), _extras.load("pyarrow.csv", TABLES_NEED))
        features = list(features)
        wanted = [self.names[j] for j in features]
        types = dict.fromkeys(wanted, pyarrow.float64())
        if target is not None:
            types[self.names[target]] = pyarrow.string()
        try:
            table = module.read_csv(
                str(self.path),
                module.ReadOptions(column_names=self.names, skip_rows=int(self.layout.header)),
                module.ParseOptions(delimiter=self.layout.delimiter),
                module.ConvertOptions(column_types=types, include_columns=list(types), strings_can_be_null=False),
            )
        except (pyarrow.ArrowInvalid, pyarrow.ArrowKeyError) as error:
            text.explain(self.path, self.layout, features, target)
            raise ValueError(f"{self.path.name}: {first_line(error)}") from None
        X = filled([table.column(name) for name in wanted], table.num_rows, np.dtype(np.float64))
        if nonfinite_row(X):
            text.explain(self.path, self.layout, features, target)
        if target is None:
            return Data(X, None, wanted)
        classes, codes = encoded(table.column(self.names[target]))
        classes = np.char.strip(classes.astype(str))
        if "" in classes:
            text.explain(self.path, self.layout, features, target)
        return Data(X, labels(classes, self.path, self.names[target], len(codes))[codes], wanted, self.names[target])
