"""A table for people: columns, rows of text, and a plain rendering."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """A heading; ``numeric`` columns stand right."""

    name: str
    numeric: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of text under headings."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    title: str = ""

    def plain(self) -> str:
        """Aligned text, two spaces between columns, no trailing blanks."""
        grid = [tuple(column.name for column in self.columns), *self.rows]
        widths = [max(len(row[index]) for row in grid) for index in range(len(self.columns))]
        lines = [self._line(row, widths) for row in grid]
        return "\n".join([self.title, *lines] if self.title else lines)

    def _line(self, row: Sequence[str], widths: Sequence[int]) -> str:
        cells = (
            cell.rjust(width) if column.numeric else cell.ljust(width)
            for cell, width, column in zip(row, widths, self.columns, strict=True)
        )
        return "  ".join(cells).rstrip()
