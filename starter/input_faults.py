"""What is wrong with an input file, line by line, collected up to a limit."""

from __future__ import annotations

from typing import NamedTuple

from starter.escaping import printable
from workflows.interface.codes import ErrorCode
from workflows.interface.errors import RequestError

MOST_LISTED = 20


class InputFault(NamedTuple):
    """One fault: where, what, and how to mend it."""

    line_no: int
    field: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return printable(f"line {self.line_no}, {self.field}: {self.what}; {self.remedy}")


class InputFaultsError(RequestError):
    """The file can't be taken; nothing was written. `faults` holds the first ones, `count` all."""

    def __init__(self, faults: list[InputFault], count: int) -> None:
        lines = [str(fault) for fault in faults]
        if count > len(faults):
            lines.append(f"and {count - len(faults):,} more")
        super().__init__(ErrorCode.INVALID_INPUT, "\n".join(lines))
        self.faults = tuple(faults)
        self.count = count


class FaultList:
    """Collects faults; keeps the first ones and counts the rest, so that a broken gigabyte needs no memory."""

    def __init__(self) -> None:
        self._faults: list[InputFault] = []
        self._count = 0

    def __bool__(self) -> bool:
        return self._count > 0

    def add(self, fault: InputFault) -> None:
        """Notes one more."""
        self._count += 1
        if len(self._faults) < MOST_LISTED:
            self._faults.append(fault)

    def raise_if_any(self) -> None:
        """Raises InputFaultsError if anything was noted."""
        if self._count:
            raise InputFaultsError(self._faults, self._count)
