"""Parquet files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ... import _extras
from . import text
from .columns import TABLES_NEED, filled, first_line
from .data import Data
from .labels import encoded, labels


class ParquetTable:
    """A Parquet file. Its schema is read at once."""

    def __init__(self, path: Path) -> None:
        pyarrow, module = (_extras.load("pyarrow", TABLES_NEED), _extras.load("pyarrow.parquet", TABLES_NEED))
        self.path, self.types = path, pyarrow.types
        try:
            self.file = module.ParquetFile(str(path))
        except (pyarrow.ArrowException, OSError) as error:
            raise ValueError(f"{path.name} is not a sound Parquet file: {first_line(error)}") from None
        self.names: list[str] = list(self.file.schema_arrow.names)
        text.require_names(self.names, path)

    def data(self, features: Iterable[int], target: int | None = None) -> Data:
        """Read the columns with these numbers, and the labels in column ``target``."""
        schema, features = self.file.schema_arrow, list(features)
        wanted = [self.names[j] for j in features]
        for name in wanted:
            kind = schema.field(name).type
            if not (self.types.is_integer(kind) or self.types.is_floating(kind) or self.types.is_boolean(kind)):
                raise ValueError(f"{self.path.name}, column {name!r} holds {kind}; numbers are wanted")
        label = [] if target is None else [self.names[target]]
        pyarrow = _extras.load("pyarrow", TABLES_NEED)
        try:
            table = self.file.read(columns=wanted + label)
        except (pyarrow.ArrowException, OSError) as error:
            raise ValueError(f"{self.path.name} is damaged: {first_line(error)}") from None
        single = all(self.types.is_float32(schema.field(name).type) for name in wanted)
        for name in wanted + label:
            if table.column(name).null_count:
                row = np.flatnonzero(table.column(name).is_null().to_numpy(zero_copy_only=False))[0]
                raise ValueError(f"{self.path.name}, row {row} (the first is 0), column {name!r} is empty")
        X = filled([table.column(name) for name in wanted], table.num_rows, np.dtype("f4" if single else "f8"))
        if not label:
            return Data(X, None, wanted)
        classes, codes = encoded(table.column(label[0]))
        return Data(X, labels(classes, self.path, label[0])[codes], wanted, label[0])
