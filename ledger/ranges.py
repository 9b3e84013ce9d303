"""Statements over a piece of work: all items of a slice, those of them that had a try before, or one transfer alone.

Each comes as `<name>`, `<name>_retried` and, where one transfer alone may come to it, `<name>_single`. Not as one
statement with a flag: plans are kept for any arguments, and then a flag keeps the planner from the index of the items
that had a try, so that few of them in a wide range would cost a read of the whole range.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from workflows.interface.batch import Slice
from workflows.interface.transfer import TransferWork

Work: TypeAlias = Slice | TransferWork


def is_single(work: Work) -> bool:
    """Whether it's a transfer of nobody's batch: those come first. An item that is retried alone doesn't."""
    return work.batch_id is None


def over_range(statements: Mapping[str, str], name: str, work: Work) -> tuple[Any, ...]:
    """The statement that does this work, and its arguments."""
    if isinstance(work, TransferWork):
        return statements[f"{name}_single"], work.transfer_id
    chosen = f"{name}_retried" if work.retries_only else name
    return statements[chosen], work.batch_id, work.range.first, work.range.last
