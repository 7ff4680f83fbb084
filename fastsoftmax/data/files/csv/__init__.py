"""Text tables: CSV and its kin.

`buffer` makes one UTF-8 text of a file, `layout` finds out how it is laid out (`header` whether it has names, from
`cells`), `quotes` checks what pyarrow does not, and `table` has pyarrow read the columns, which `numbers` converts
where pyarrow cannot.
"""

from .table import CsvTable

__all__ = ["CsvTable"]
