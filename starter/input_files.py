"""Reads batch files as a stream: CSV with a header, or JSON Lines. Memory doesn't grow with the file.

Only what makes the file unreadable as a batch is refused here. What is wrong with one recipient or ticket (a wrong
checksum, somebody else's ticket, a duplicate) fails that item later and nothing else.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Any, BinaryIO

from ledger.fingerprint import StagedItem
from starter.counting import counted
from starter.input_faults import FaultList, InputFault
from starter.input_lines import LINE, Lines, UnreadableError
from workflows.interface.batch import MAX_ITEMS
from workflows.interface.requests import canonical_ticket_id, plain_recipient

TICKET, TO = "ticket_id", "to"
TICKET_CAMEL = "ticketId"
_HEADER = "header"
_JSON_REMEDY = 'write {"ticketId": "17", "to": "a user id or 0x address"} on each line'
_SHOWN = 60


class InputFormat(StrEnum):
    """How the lines of a batch file are written."""

    CSV = "csv"
    JSON_LINES = "jsonl"


_BY_SUFFIX = {
    ".csv": InputFormat.CSV,
    ".jsonl": InputFormat.JSON_LINES,
    ".ndjson": InputFormat.JSON_LINES,
}


def format_by_name(path: Path) -> InputFormat | None:
    """The format a file name tells; None where the content has to."""
    return _BY_SUFFIX.get(path.suffix.lower())


def read_items(stream: BinaryIO, file_format: InputFormat | None) -> Iterator[StagedItem]:
    """The items of a file, in order, ticket ids canonical. After the first fault none comes any more.

    Raises:
        InputFaultsError: at the end of the stream, with everything that is wrong with it.
    """
    faults = FaultList()
    lines = Lines(stream, faults)
    with suppress(UnreadableError):
        yield from _counted(_items(lines, file_format, faults), lines, faults)
    faults.raise_if_any()


def _items(lines: Lines, file_format: InputFormat | None, faults: FaultList) -> Iterator[StagedItem]:
    first = lines.peek()
    if not first:
        lines.refuse("file", "empty", f"write the header {TICKET},{TO} and one item per line")
    if first.lstrip().startswith(b"["):
        lines.refuse("file", "a JSON array, which can't be read as a stream", "write one object per line (JSON Lines)")
    chosen = file_format or (InputFormat.JSON_LINES if first.lstrip().startswith(b"{") else InputFormat.CSV)
    return _csv_items(lines, faults) if chosen is InputFormat.CSV else _json_items(lines, faults)


def _counted(items: Iterator[StagedItem], lines: Lines, faults: FaultList) -> Iterator[StagedItem]:
    """Lets items through while nothing is wrong; sees that there are some, and not too many."""
    count = 0
    for item in items:
        count += 1
        if count > MAX_ITEMS:
            lines.refuse("file", f"more than {MAX_ITEMS:,} items", "split it into several batches")
        if not faults:
            yield item
    if count == 0 and not faults:
        lines.refuse("file", "no items", "write at least one item under the header")


# CSV ----------------------------------------------------------------------------------------------------------------


def _csv_items(lines: Lines, faults: FaultList) -> Iterator[StagedItem]:
    rows = csv.reader(iter(lines), strict=True)
    _, header = next(_csv_rows(rows, lines, faults), (1, []))
    if faults:
        raise UnreadableError
    width, ticket_at, to_at = _columns(lines, header)
    check = _Checker(faults)
    for line_no, row in _csv_rows(rows, lines, faults):
        if len(row) != width:
            what = f"{counted(len(row), 'field')} where the header has {width}"
            faults.add(InputFault(line_no, LINE, what, "quote a field that holds a comma"))
        elif (item := check.item(line_no, row[ticket_at], row[to_at])) is not None:
            yield item


def _csv_rows(rows: Iterator[list[str]], lines: Lines, faults: FaultList) -> Iterator[tuple[int, list[str]]]:
    """Rows with the line they begin on; blank lines are passed over."""
    while True:
        begins_at = lines.line_no + 1
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            faults.add(
                InputFault(begins_at, LINE, f"not CSV ({error})", "close every quote; double a quote inside one")
            )
            continue
        if lines.line_no > begins_at:
            # A quoted field went over several lines, or a line that couldn't be decoded was left out before.
            begins_at = lines.line_no - sum(field.count("\n") for field in row)
        if row and (len(row) > 1 or row[0].strip()):
            yield begins_at, row


def _columns(lines: Lines, header: list[str]) -> tuple[int, int, int]:
    """How many columns there are, and where the two are."""
    names = [name.strip() for name in header]
    known = {TICKET: TICKET, TICKET_CAMEL: TICKET, TO: TO}
    remedy = f"the first line must be {TICKET},{TO}"
    if len(names) == 1 and any(separator in names[0] for separator in ";\t|"):
        lines.refuse(_HEADER, "columns aren't separated by commas", remedy)
    if any(name.lower() in known and name not in known for name in names):
        lines.refuse(_HEADER, f"{_shown(','.join(names))}: column names are in lower case", remedy)
    if not any(name in known for name in names):
        lines.refuse(_HEADER, f"there is no header, but {_shown(','.join(names))}", remedy)
    unknown = [name for name in names if name not in known]
    if unknown:
        lines.refuse(_HEADER, f"unknown column {_shown(unknown[0])}", remedy)
    found = [known[name] for name in names]
    for column in (TICKET, TO):
        if found.count(column) != 1:
            what = f"column {column} is missing" if column not in found else f"column {column} stands twice"
            lines.refuse(_HEADER, what, remedy)
    return len(names), found.index(TICKET), found.index(TO)


# JSON Lines ---------------------------------------------------------------------------------------------------------


def _json_items(lines: Lines, faults: FaultList) -> Iterator[StagedItem]:
    check = _Checker(faults)
    for text in lines:
        if text.strip() and (found := _json_object(lines.line_no, text, faults)) is not None:
            ticket, to = found.get(TICKET, found.get(TICKET_CAMEL)), found.get(TO)
            item = check.item(lines.line_no, str(ticket) if type(ticket) is int else ticket, to)
            if item is not None and not check.stranger(lines.line_no, found):
                yield item


class _TwiceError(Exception):
    """A JSON object has a field twice."""


def _json_object(line_no: int, text: str, faults: FaultList) -> dict[str, Any] | None:
    try:
        value = json.loads(text, object_pairs_hook=_without_twins)
    except _TwiceError as error:
        faults.add(InputFault(line_no, str(error), "stands twice in the object", "leave one out"))
        return None
    except (ValueError, RecursionError) as error:
        faults.add(InputFault(line_no, LINE, f"not JSON ({error})", _JSON_REMEDY))
        return None
    if not isinstance(value, dict):
        faults.add(InputFault(line_no, LINE, "not a JSON object", _JSON_REMEDY))
        return None
    return value


def _without_twins(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object; of two fields of one name JSON readers keep either, so neither is taken."""
    found = dict(fields)
    if len(found) < len(fields):
        names = [name for name, _ in fields]
        raise _TwiceError(next(name for name in names if names.count(name) > 1))
    if TICKET in found and TICKET_CAMEL in found:
        raise _TwiceError(TICKET)
    return found


# Both ---------------------------------------------------------------------------------------------------------------


class _Checker:
    """The rules for one line's fields; the same as for inline items (`workflows.interface.batch.BatchItem`)."""

    def __init__(self, faults: FaultList) -> None:
        self._faults = faults

    def item(self, line_no: int, ticket: Any, to: Any) -> StagedItem | None:
        """The item, or None where something is wrong with a field."""
        ticket_id, recipient = self._ticket(line_no, ticket), self._recipient(line_no, to)
        return None if ticket_id is None or recipient is None else StagedItem(ticket_id, recipient)

    def stranger(self, line_no: int, found: dict[str, Any]) -> bool:
        """Whether an object has a field of another name: a mistyped option must not be overlooked."""
        strangers = sorted(found.keys() - {TICKET, TICKET_CAMEL, TO})
        if strangers:
            self._add(line_no, strangers[0], "unknown field", "leave it out")
        return bool(strangers)

    def _ticket(self, line_no: int, text: Any) -> str | None:
        if not isinstance(text, str) or not (text := text.strip()):
            self._add(line_no, TICKET, "missing" if text is None else "empty or no text", "write the ticket's number")
            return None
        try:
            return canonical_ticket_id(text)
        except ValueError as error:
            self._add(line_no, TICKET, str(error), "write the ticket's number")
            return None

    def _recipient(self, line_no: int, text: Any) -> str | None:
        if not isinstance(text, str):
            self._add(line_no, TO, "missing" if text is None else "no text", "write a user id or a 0x address")
            return None
        try:
            return plain_recipient(text)
        except ValueError as error:
            self._add(line_no, TO, str(error), "write a user id or a 0x address")
            return None

    def _add(self, line_no: int, field: str, what: str, remedy: str) -> None:
        self._faults.add(InputFault(line_no, field, what, remedy))


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else text[:_SHOWN] + "…")
