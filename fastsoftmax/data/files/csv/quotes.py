"""Where quotes open and close, and with that where rows begin: what pyarrow does not check.

pyarrow takes everything behind a quote that is never closed, or closed by the next quote it meets, for one cell, and
so reads fewer rows than there are. Here a quote that opens a cell must be closed, and a separator or a line end must
follow. A quote in the midst of a cell that none opened (``5" pipe``) is a character like others.

Quotes are found and checked with NumPy, in chunks: where they open and close in turn, as in files that programs
write, the first, third, ... of them open and the others close, ``""`` being a close and an open. Only a chunk where
that is not so (a quote within a cell) is gone through quote by quote.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

QUOTE, LF, CR, SPACE, TAB = b'"\n\r \t'
# Bytes searched at a time, so that the masks stay in cache.
CHUNK = 1 << 20


class UnclosedQuote(Exception):
    """A quote that opens at this offset, and is not closed or is followed by more text (``followed``)."""

    def __init__(self, opened: int, followed: int | None) -> None:
        super().__init__(opened)
        self.opened, self.followed = opened, followed


@dataclass(frozen=True)
class Chunk:
    """A part of a text, and the offsets of the quotes in it that open and close cells."""

    begin: int
    end: int
    opens: np.ndarray
    closes: np.ndarray
    inside: bool
    blanks: list[int] = field(default_factory=list)

    def outside(self, offsets: np.ndarray) -> np.ndarray:
        """Those of the offsets that are in no quoted cell."""
        if not self.inside and not len(self.opens):
            return offsets
        depth = np.searchsorted(self.opens, offsets) - np.searchsorted(self.closes, offsets) + int(self.inside)
        found: np.ndarray = offsets[depth == 0]
        return found


@dataclass(frozen=True)
class Found:
    """What `Quotes.check` found: line breaks within quotes, the offset of the first of them, and the offsets of spaces
    between a separator and an opening quote, which pyarrow would take for the beginning of text without quotes."""

    breaks: int
    first: int
    blanks: list[int]


class Quotes:
    """The quotes of a text. UnclosedQuote is raised when a fault is met."""

    def __init__(self, text: np.ndarray, sep: str) -> None:
        self.text, self.sep = text, ord(sep)
        self.around = np.zeros(256, bool)  # what may stand before an opening quote and behind a closing one
        self.around[[self.sep, LF, CR, QUOTE]] = True

    def check(self, n: int, is_row: Callable[[bytes], bool]) -> Found:
        """Go through all quotes.

        Two quotes that are never closed look like one quoted cell, from the first to the second, that holds whole rows.
        So a line break within quotes between two lines of n cells is an error if ``is_row`` is true of both.
        """
        breaks, first, blanks = 0, -1, list[int]()
        for chunk in self.chunks():
            blanks.extend(chunk.blanks)
            if not chunk.inside and not len(chunk.opens):
                continue
            ends = self._line_ends(chunk)
            broken = ~np.isin(ends, chunk.outside(ends), assume_unique=True)
            if broken.any():
                self._refuse_swallowed_rows(chunk, ends, broken, n, is_row)
                first = first if breaks else int(ends[broken.argmax()])
                breaks += int(broken.sum())
        return Found(breaks, first, blanks)

    def _refuse_swallowed_rows(
        self, chunk: Chunk, ends: np.ndarray, broken: np.ndarray, n: int, is_row: Callable[[bytes], bool]
    ) -> None:
        separators = np.flatnonzero(self.text[chunk.begin : chunk.end] == self.sep) + chunk.begin
        # The first and the last line may go on in other chunks: whatever has been counted of them will do.
        wide = np.concatenate([[True], np.diff(np.searchsorted(separators, ends)) == n - 1, [True]])
        for end in ends[broken & wide[:-1] & wide[1:]].tolist():
            if is_row(self._line(end, -1)) and is_row(self._line(end + 1, 1)):
                chunks = (chunk for chunk in self.chunks(in_turn=False) if chunk.begin <= end)
                opened = max(int(found.opens[found.opens < end][-1]) for found in chunks if (found.opens < end).any())
                raise UnclosedQuote(opened, end)

    def _line(self, offset: int, step: int) -> bytes:
        """The line that ends before (step -1) or begins at (step 1) an offset."""
        size = 1 << 10
        while True:
            piece = bytes(self.text[offset : offset + size] if step > 0 else self.text[max(offset - size, 0) : offset])
            lines = re.split(rb"[\r\n]", piece.removesuffix(b"\r") if step < 0 else piece)
            if len(lines) > 1 or size >= (len(self.text) - offset if step > 0 else offset):
                return lines[-1] if step < 0 else lines[0]
            size *= 4

    def row_starts(self, blank_rows: bool = False) -> Iterator[np.ndarray]:
        """Offsets at which rows begin; blank lines are none unless ``blank_rows``."""
        text, ends = self.text, np.array([-1])
        for chunk in self.chunks():
            starts = np.concatenate([ends, chunk.outside(self._line_ends(chunk))]) + 1
            starts, ends = starts[starts < len(text)], ends[:0]
            yield starts if blank_rows else starts[(text[starts] != LF) & (text[starts] != CR)]

    def first_row_of_other_width(self, n: int) -> tuple[int, int] | None:
        """The offset of the first row that has not n cells, and how many it has; None if all have n."""
        before, separators = -1, 0  # start of the last row that was met, and the number of separators before it
        seen = 0
        for chunk, starts in zip(self.chunks(), self.row_starts(n == 1), strict=True):
            found = chunk.outside(np.flatnonzero(self.text[chunk.begin : chunk.end] == self.sep) + chunk.begin)
            counts = np.concatenate([[separators], seen + np.searchsorted(found, starts)])
            rows = np.concatenate([[before], starts])
            wrong = np.flatnonzero((np.diff(counts) != n - 1) & (rows[:-1] >= 0))
            if len(wrong):
                return int(rows[wrong[0]]), int(counts[wrong[0] + 1] - counts[wrong[0]]) + 1
            before, separators, seen = int(rows[-1]), int(counts[-1]), seen + len(found)
        return (before, seen - separators + 1) if before >= 0 and seen - separators != n - 1 else None

    def chunks(self, in_turn: bool = True) -> Iterator[Chunk]:
        """The text in chunks. With ``in_turn`` false each quote is looked at, so that a fault is told where it is."""
        text, size, opened, end = self.text, len(self.text), None, 0
        while end < size:
            begin, end = end, min(end + CHUNK, size)
            while end < size and text[end] == QUOTE:  # no "" across the end of a chunk
                end += 1
            at = np.flatnonzero(text[begin:end] == QUOTE) + begin
            chunk = self._in_turn(begin, end, at, opened is not None) if in_turn else None
            try:
                chunk = chunk or self._one_by_one(begin, end, at, opened)
                if len(chunk.opens) and not (len(chunk.closes) and chunk.closes[-1] > chunk.opens[-1]):
                    opened = int(chunk.opens[-1])
                elif len(chunk.closes):
                    opened = None
                if end == size and opened is not None:
                    raise UnclosedQuote(opened, None)
            except UnclosedQuote:
                if not in_turn:
                    raise
                list(self.chunks(in_turn=False))  # raises the same with the quote that opens the cell
                raise
            yield chunk

    def _in_turn(self, begin: int, end: int, at: np.ndarray, inside: bool) -> Chunk | None:
        """The chunk if quotes open and close in turn, else None."""
        text, opens, closes = self.text, at[int(inside) :: 2], at[1 - int(inside) :: 2]
        before = self.around[text[np.maximum(opens - 1, 0)]] | (opens == 0)
        after = self.around[text[np.minimum(closes + 1, len(text) - 1)]] | (closes == len(text) - 1)
        return Chunk(begin, end, opens, closes, inside) if before.all() and after.all() else None

    def _one_by_one(self, begin: int, end: int, at: np.ndarray, opened: int | None) -> Chunk:
        """The chunk, each quote looked at in its place."""
        opens, closes, blanks = list[int](), list[int](), list[int]()
        inside, escaped, ends, size = opened is not None, -1, {self.sep, LF, CR, -1}, len(self.text)
        before = np.where(at > 0, self.text[at - 1].astype(int), -1).tolist()
        after = np.where(at + 1 < size, self.text[np.minimum(at + 1, size - 1)].astype(int), -1).tolist()
        for p, left, right in zip(at.tolist(), before, after, strict=True):
            if opened is None:
                k = self._skip(p - 1, -1) if left in (SPACE, TAB) else p - 1
                if left in ends or k < 0 or self.text[k] in ends:
                    opened = p
                    opens.append(p)
                    blanks.extend(range(k + 1, p))
            elif p == escaped:
                continue
            elif right == QUOTE:
                escaped = p + 1
            else:
                k = self._skip(p + 1, 1) if right in (SPACE, TAB) else p + 1
                if right not in ends and k < size and self.text[k] not in ends:
                    raise UnclosedQuote(opened, p)
                opened = None
                closes.append(p)
        return Chunk(begin, end, np.array(opens, int), np.array(closes, int), inside, blanks)

    def _skip(self, k: int, step: int) -> int:
        """The first offset from k on, up or down, that is no space (unless spaces separate the cells)."""
        while 0 <= k < len(self.text) and self.text[k] in (SPACE, TAB) and self.text[k] != self.sep:
            k += step
        return k

    def _line_ends(self, chunk: Chunk) -> np.ndarray:
        """Offsets of the last byte of each line end: LF, CR LF or, as on old Macs, CR."""
        return line_ends(self.text, chunk.begin, chunk.end)


def line_ends(text: np.ndarray, begin: int, end: int) -> np.ndarray:
    """Offsets of the last byte of each line end, LF, CR LF or CR, from begin to end."""
    piece = text[begin:end]
    ends = piece == LF
    returns = np.flatnonzero(piece == CR)
    if len(returns):
        follows = returns + begin + 1
        alone = text[np.minimum(follows, len(text) - 1)] != LF
        ends[returns[alone | (follows == len(text))]] = True
    return np.flatnonzero(ends) + begin


def line_of(text: np.ndarray, offset: int) -> int:
    """The number of the line, from 1, that an offset is in."""
    return 1 + sum(len(line_ends(text, k, min(k + CHUNK, offset))) for k in range(0, offset, CHUNK))
