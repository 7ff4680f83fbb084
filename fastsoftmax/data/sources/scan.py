"""`scan`: data that need not fit into memory, for whatever takes X."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ..files.data import DEFAULTS, ReadOptions
from .first_pass import Facts, Targets, first_pass
from .kept import keep, place_of
from .kept import kept as kept_facts
from .memory import MappedSource
from .readers.arrays import NpyReader
from .readers.cache import Cache
from .readers.generator import GeneratorReader
from .readers.opening import open_reader
from .readers.reader import Reader
from .streamed import StreamedSource

# Gets the rows that have been read, and all.
Watch = Callable[[int, int | None], None]
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40}


def scan(
    data: str | PathLike[str] | Callable[[], Any] | Any,
    target: Any = None,
    *,
    columns: Sequence[str | int] | None = None,
    weight: Any = None,
    memory: str | int = "512MB",
    filters: Any = None,
    dtype: DTypeLike | None = None,
    cache: str | PathLike[str] | None = None,
    kept: str | PathLike[str] | None = None,
    options: ReadOptions = DEFAULTS,
    **settings: Any,
) -> Scan:
    """Data that is read anew in every pass, and need not fit into memory.

    What this returns is taken in the place of X, and of y and weights, by `Objective`, `SoftmaxRegression` (``fit``,
    ``partial_fit``, ``predict`` and others), `SoftmaxRegressionCV` and `Model`. Nothing is read before something asks
    for it, beside what says which columns there are. Then a first pass finds the classes, and each pass of a solver
    reads all rows, while one thread decodes ahead of the kernels.

    Parameters
    ----------
    data : path, callable, or object with Arrow data
        A .npy file (mapped into memory; nothing is copied), a Parquet file or a folder of them, an Arrow IPC file
        (.arrow, .feather), a text table (.csv, .tsv, ...), a svmlight file, a zarr array (.zarr), a folder of .npz
        files that ``scipy.sparse.save_npz`` wrote, and whatever has ``__arrow_c_stream__``. A callable without
        arguments returns an iterable of (X, y) or (X, y, weights) of some rows at a time, from the first row on each
        time that it is called, and new arrays each time.
    target : str, int, path or array, optional
        The column of the labels, by name; of an array by number, or the .npy file or array that holds them. Not for
        callables and svmlight, which have labels of their own. Needed for a fit, not for predictions.
    columns : sequence of str or int, optional
        The features, in this order; all columns but target and weight unless given.
    weight : str, int, path or array, optional
        The weights of the rows, as the target.
    memory : str or int
        The private memory that passes may take, beside what the process has and pages of mapped files: "512MB",
        "2GiB" or bytes.
    filters : list of (column, operator, value), optional
        Of Parquet: only rows that pass, as in ``pyarrow.parquet.read_table``.
    dtype : {float32, float64}, optional
        Of X from tables; float32 if all columns are, else float64.
    cache : path, optional
        A folder for a decoded copy of X, from which all passes after the first read. It is deleted when the data is no
        longer used.
    kept : path, optional
        Where `Scan.keep` wrote what the first pass has found; beside the data unless given.
    options : ReadOptions, optional
    **settings
        How to read files that do not say so themselves: ``format``, ``header``, ``sep``, ``fill`` and so on.

    Returns
    -------
    Scan

    Raises
    ------
    TypeError, ValueError
        For data of an unknown kind, columns that are not there, and, before any work, a budget that is too small. In a
        pass: for damaged files (named, with the part), empty cells, NaN, and data that is not what it was in the pass
        before.

    Examples
    --------
    >>> import numpy as np
    >>> import fastsoftmax
    >>> def chunks():
    ...     rng = np.random.default_rng(0)
    ...     for _ in range(10):
    ...         X = rng.normal(size=(100, 3))
    ...         yield X, X[:, 0] > 0
    >>> data = fastsoftmax.scan(chunks)
    >>> obj = fastsoftmax.Objective(data, l2=1e-3)
    >>> data.shape, data.classes.tolist()
    ((1000, 3), [False, True])
    """
    options = replace(options, **settings)
    budget = memory_bytes(memory)
    kind = None if dtype is None else np.dtype(dtype)
    if kind is not None and kind.char not in "fd":
        raise ValueError(f"dtype must be float32 or float64; got {kind}")
    given: dict[str, Any] = {"columns": columns, "weight": weight, "filters": filters, "dtype": kind}
    reader = open_reader(data, target, budget, options, given)
    if cache is not None and not (isinstance(cache, str | PathLike) and str(cache)):
        raise TypeError(f"cache must be the path of a folder; got {cache!r}")
    if cache is not None and isinstance(reader, NpyReader):
        raise ValueError(f"cache has no meaning for {reader.name}, which is mapped into memory as it is; leave it out")
    return Scan(reader, budget, None if cache is None else Cache(Path(cache)), None if kept is None else Path(kept))


class Scan:
    """What `scan` returns.

    Attributes
    ----------
    shape : tuple of int
        (m, n). The first pass is made if the number of rows is not known without it.
    feature_names : list of str (n,)
    target : str
        The name of the column of labels, "" without labels.
    classes : ndarray (k,)
        The labels, sorted. Needs the first pass.
    counts : int64 ndarray (k,)
        Rows of each class.
    memory : int
        The budget in bytes.
    notes : tuple of str
        What was found out or left out in reading, a line each.
    watch : callable or None
        Called in every walk over the rows, with the number of those that have been read, and of all (None in the first
        pass, where it may be unknown).
    """

    def __init__(self, reader: Reader, memory: int, cache: Cache | None = None, kept: Path | None = None) -> None:
        self._reader, self.memory, self._cache = reader, memory, cache
        self._targets: Targets | None = None
        self._kept = kept
        self.watch: Watch | None = None

    def __repr__(self) -> str:
        rows = "?" if self._reader.rows is None and "facts" not in vars(self) else f"{self.shape[0]:,}"
        return f"<Scan of {self._reader.name}: {rows} rows, {len(self.feature_names)} features>"

    @property
    def shape(self) -> tuple[int, int]:
        rows = self._reader.rows
        return self.facts.rows if rows is None else rows, len(self._reader.names)

    @property
    def is_named(self) -> bool:
        """Whether features have names of their own, and not only numbers."""
        return self.feature_names != [str(j) for j in range(len(self.feature_names))]

    @property
    def name(self) -> str:
        return self._reader.name

    @property
    def feature_names(self) -> list[str]:
        return list(self._reader.names)

    @property
    def target(self) -> str:
        return self._reader.target

    @property
    def dtype(self) -> np.dtype:
        """That of the computation."""
        return self._reader.compute_dtype

    @property
    def row_bytes(self) -> float:
        """Bytes of a row of X, decoded; of sparse X on average."""
        m, n = self.shape
        return 12 * self.facts.entries / m if self._reader.sparse else n * self._reader.dtype.itemsize

    @property
    def notes(self) -> tuple[str, ...]:
        return (*self._reader.notes, *(self._cache.notes if self._cache else ()))

    @property
    def classes(self) -> np.ndarray:
        return self.targets.classes

    @property
    def counts(self) -> np.ndarray:
        return self.targets.counts

    @cached_property
    def facts(self) -> Facts:
        """What the first pass finds; it is made when this is first asked for, unless it has been kept."""
        path = place_of(self._reader) if self._kept is None else self._kept
        if self._kept is None and not path.is_file():
            return first_pass(self._reader, watch=self._watched)
        try:
            found = kept_facts(path, self._reader)
        except ValueError as error:
            if self._kept is not None:
                raise
            self._reader.notes.append(f"not used: {error}")
            return first_pass(self._reader, watch=self._watched)
        self._reader.notes.append(f"the first pass is that of {path.name}")
        return found

    def keep(self, path: str | PathLike[str] | None = None) -> Path:
        """Make the first pass, and write what it finds to files: JSON, and the classes and weights of the rows.

        Parameters
        ----------
        path : path, optional
            Beside the data, its name with ".scan.json" at the end, unless given. A later scan of the same files, by
            size and time of change, and of the same columns, takes what is kept there, or where ``kept`` says.

        Returns
        -------
        Path
        """
        place = place_of(self._reader) if path is None else Path(path)
        keep(place, self._reader, self.facts)
        return place

    @property
    def targets(self) -> Targets:
        """Labels and weights of all rows; ValueError where the data has none."""
        found = self.facts.targets if self._targets is None else self._targets
        if found is None:
            wanted = "scan(..., target=...) names the labels"
            if isinstance(self._reader, GeneratorReader):
                wanted = "what it yields is X alone, and (X, y) is wanted"
            raise ValueError(f"{self.name} was scanned without a target: {wanted}")
        return found

    def with_targets(self, targets: Targets) -> Scan:
        """The same rows with other labels or weights."""
        out = Scan(self._reader, self.memory, self._cache)
        out.watch = self.watch
        out.__dict__["facts"], out._targets = self.facts, targets
        return out

    def source(
        self, *, smoothing: float = 0.0, reads: str = "fd", labels: bool = True
    ) -> StreamedSource | MappedSource:
        """The rows for passes, with labels or, for predictions, without."""
        facts, reader = self.facts, self._reader
        targets = self.targets if labels else None
        if isinstance(reader, NpyReader):
            y, w = (None, None) if targets is None else (targets.y, targets.w)
            mapped = MappedSource(reader, facts.files, reader.X, y, w, smoothing=smoothing, reads=reads)
            mapped.watch = self._watched
            return mapped
        options: Any = {"smoothing": smoothing, "reads": reads, "memory": self.memory, "cache": self._cache}
        streamed = StreamedSource(reader, facts, targets, **options)
        streamed.watch = self._watched
        return streamed

    def _watched(self, rows: int, of: int | None) -> None:
        if self.watch is not None:
            self.watch(rows, of)


def require_scan_alone(y: Any, sample_weight: Any) -> None:
    """Raise TypeError for labels or weights beside a scan, which has its own."""
    for name, value, own in (("y", y, "target"), ("sample_weight", sample_weight, "weight")):
        if value is not None:
            raise TypeError(f"{name} is given beside a scan, which has its own: leave it out, scan(..., {own}=...)")


def memory_bytes(memory: str | int) -> int:
    """A budget in bytes, from a number of bytes or text such as "512MB"."""
    if isinstance(memory, Integral) and not isinstance(memory, bool):
        count = float(memory)
    else:
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", memory) if isinstance(memory, str) else None
        if found is None or found[2].upper() not in _UNITS:
            raise ValueError(f"memory must be a number of bytes, or text such as '512MB' or '2GiB'; got {memory!r}")
        count = float(found[1]) * _UNITS[found[2].upper()]
    if count < 1:
        raise ValueError(f"memory must be above 0; got {memory!r}")
    return int(count)
