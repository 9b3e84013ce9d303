"""Tables for people, on standard output; wide enough in a pipe that nothing is cut."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from starter.printing import PIPED_WIDTH, safe

TIME = "%Y-%m-%d %H:%M:%S"


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, right: Sequence[str] = ()) -> None:
    """One row each; the columns named in `right` hold numbers."""
    table = Table(*columns)
    for column in table.columns:
        column.overflow = "fold"
        if column.header in right:
            column.justify = "right"
    for row in rows:
        table.add_row(*map(safe, row))
    Console(width=None if sys.stdout.isatty() else PIPED_WIDTH, highlight=False).print(table)
