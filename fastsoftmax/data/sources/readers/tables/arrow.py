"""Arrow's own files, and whatever hands out a stream of Arrow data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ....archive import first_line
from ....files.data import ReadOptions
from ..reader import Block, state_of
from .table import TableReader, pyarrow


class ArrowReader(TableReader):
    """Batches of rows of an IPC file or of an object with ``__arrow_c_stream__``.

    Parameters
    ----------
    path : Path
        Of the file, or a name for the object.
    stream : callable or None
        Gives a new stream each time; None for the file.
    """

    def __init__(
        self,
        path: Path,
        target: str | int | None,
        *,
        stream: Callable[[], Any] | None = None,
        weight: str | int | None = None,
        columns: Sequence[str] | None = None,
        options: ReadOptions,
        dtype: np.dtype | None = None,
        memory: int,
    ) -> None:
        super().__init__(path, options.fill)
        self._stream = stream
        with self._opened() as batches:
            schema = batches.schema
        usable = [j for j, name in enumerate(schema.names) if name not in options.ignore]
        types = dict(zip(schema.names, schema.types, strict=True))
        self.choose(schema.names, usable, target, weight, columns, lambda name: [types.get(name)], dtype, memory)
        self.require_columns(schema.names, schema.types)
        self.identity = f"weight {self.weight}"

    def blocks(self, *, X: bool = True, labels: bool = True) -> Iterator[Block]:
        number = first = 0
        try:
            with self._opened() as batches:
                for number, batch in enumerate(batches):
                    yield from self._of_batch(batch, f"{self.name}, batch {number}", first, X=X, labels=labels)
                    first += batch.num_rows
        except (pyarrow().ArrowException, OSError) as error:
            raise ValueError(f"{self.name} is damaged behind batch {number}: {first_line(error)}") from None

    def state(self) -> dict[str, tuple[int, int]]:
        return state_of([self.path], self.path) if self._stream is None else {}

    def _of_batch(self, batch: Any, where: str, first: int, *, X: bool, labels: bool) -> Iterator[Block]:
        names = [*self.names * X, *self.beside * labels]
        whole = pyarrow().Table.from_batches([batch]).select(names)
        for start in range(0, batch.num_rows, self.batch):
            yield self.block(whole.slice(start, self.batch), where, first + start, X=X, labels=labels)

    def _opened(self) -> Any:
        """A reader of batches from the first on."""
        if self._stream is not None:
            return pyarrow().RecordBatchReader.from_stream(self._stream())
        try:
            source = pyarrow().memory_map(str(self.path))
            try:
                return _Batches(pyarrow().ipc.open_file(source))
            except pyarrow().ArrowInvalid:
                source.seek(0)
                return pyarrow().ipc.open_stream(source)
        except (pyarrow().ArrowException, OSError) as error:
            raise ValueError(f"{self.name} is not a sound Arrow file: {first_line(error)}") from None


class _Batches:
    """The batches of an IPC file one after the other, as a stream has them."""

    def __init__(self, file: Any) -> None:
        self._file, self.schema = file, file.schema

    def __enter__(self) -> _Batches:
        return self

    def __exit__(self, *_: object) -> None:
        """The map is closed with the last batch that is in use."""

    def __iter__(self) -> Iterator[Any]:
        return (self._file.get_batch(number) for number in range(self._file.num_record_batches))


def stream_of(data: Any) -> Callable[[], Any]:
    """A function that gives a new stream of an object each time.

    Raises
    ------
    TypeError
        If the object can be read only once, as a RecordBatchReader.
    """
    if isinstance(data, pyarrow().RecordBatchReader) or hasattr(data, "__next__"):
        raise TypeError(
            f"data is a {type(data).__name__}, which can be read once, and each pass reads all rows: give the function"
            " that makes it, or write it to a file (pyarrow.dataset.write_dataset)"
        )
    return lambda: data
