"""Random problems solved by us and by others: ``python -m tests.differential --problems 2000 --seed 0``.

`problems` draws them, `peers` are the others, `compare` says by how much answers may differ and why.
"""
