"""Statements over a slice: all its items, or those of them that had a try before.

Each is a pair, `<name>` and `<name>_retried`, and not one statement with a flag: plans are kept for any arguments, and
then a flag keeps the planner from the index of the items that had a try, so that few of them in a wide range would cost
a read of the whole range.
"""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from workflows.interface.batch import Slice


def over_range(statements: Mapping[str, str], name: str, work: Slice) -> tuple[str, UUID, int, int]:
    """The statement of the pair that does this slice's work, and its arguments."""
    chosen = f"{name}_retried" if work.retries_only else name
    return statements[chosen], work.batch_id, work.range.first, work.range.last
