"""Reading batch files: what is taken, what is refused with which line, and how much memory it takes."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from ledger.fingerprint import StagedItem
from starter.input_faults import MOST_LISTED, InputFaultsError
from starter.input_files import InputFormat, read_items
from workflows.interface.batch import MAX_ITEMS, BatchItem

HEADER = b"ticket_id,to\n"


def items_of(content: bytes, file_format: InputFormat | None = None) -> list[StagedItem]:
    return list(read_items(io.BytesIO(content), file_format))


def faults_of(content: bytes, file_format: InputFormat | None = None) -> list[str]:
    with pytest.raises(InputFaultsError) as caught:
        items_of(content, file_format)
    return [str(fault) for fault in caught.value.faults]


@pytest.mark.parametrize(
    "content",
    [
        HEADER + b"17,bob\n",
        HEADER + b"017,bob",
        b"to,ticket_id\r\nbob,17\r\n",
        b"\xef\xbb\xbfticket_id, to\n 17 , bob \n",
        b'"ticket_id","to"\n"17","bob"\n\n',
        b"\n\nticket_id,to\n\n17,bob\n",
        b'{"ticketId": "17", "to": "bob"}\n',
        b'{"ticket_id": 17, "to": " bob "}',
        b'\n{"to": "bob", "ticketId": "0017"}\r\n\n',
    ],
)
def test_one_item_is_read_whatever_way_it_is_written(content: bytes) -> None:
    """Column order, quotes, blank lines, CRLF, a byte order mark and the format itself don't matter."""
    assert items_of(content) == [StagedItem("17", "bob")]


def test_quoted_fields_keep_commas_and_lines() -> None:
    """A quoted field may hold a comma and a line end, and lines are still counted right after it."""
    content = HEADER + b'1,"smith, j"\n2,"a\nb"\nx,bob\n'
    assert items_of(content[: content.index(b"x,")]) == [StagedItem("1", "smith, j"), StagedItem("2", "a\nb")]
    [fault] = faults_of(content)
    assert fault.startswith("line 5, ticket_id: ")


def test_what_is_wrong_with_one_recipient_is_taken() -> None:
    """A malformed address, a wrong checksum and a duplicate fail their items later, not the file."""
    rows = [b"1,0x12", b"2,0xAB5801a7d398351b8be11c439e05c5b3259aec9b", b"1,bob", b"3,0x" + b"0" * 40]
    assert len(items_of(HEADER + b"\n".join(rows))) == len(rows)


@pytest.mark.parametrize(
    "to", [" bob ", "a\tb", "a\nb", "\x1b[31m", "\u202e", "0x12", "", " ", "é" * 33, "a\0", "\ud800"]
)
def test_a_file_takes_the_recipients_that_an_inline_request_takes(to: str) -> None:
    """Both have one rule: the same texts come in, in the same form, and the same are refused for the same reason."""
    line = json.dumps({"ticketId": "1", "to": to}).encode()
    try:
        item = BatchItem(ticket_id="1", to=to)
    except ValidationError as error:
        [fault] = faults_of(line)
        said = error.errors()[0]["msg"].removeprefix("Value error, ")
        assert said in fault or to == "\ud800"
    else:
        assert items_of(line) == [StagedItem("1", item.to)]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "line 1, file: empty"),
        (b"\n \n", "line 2, file: empty"),
        (HEADER, "line 1, file: no items"),
        (b"1,bob\n2,eve\n", "line 1, header: there is no header"),
        (b"ticket_id,to,price\n1,bob,3\n", "line 1, header: unknown column 'price'"),
        (b"ticket_id,user\n1,bob\n", "line 1, header: unknown column 'user'"),
        (b"ticket_id\n1\n", "line 1, header: column to is missing"),
        (b"ticket_id,to,to\n1,a,b\n", "line 1, header: column to stands twice"),
        (b"ticket_id;to\n1;bob\n", "line 1, header: columns aren't separated by commas"),
        (b"\xff\xfet\0i\0", "line 1, line: the file is UTF-16"),
        (HEADER + b"1,b\xfcrger\n", "line 2, line: not UTF-8 (byte 0xfc at position 4)"),
        (HEADER + b"1,bo\0b\n", "line 2, line: holds a NUL byte"),
        (HEADER + b",bob\n", "line 2, ticket_id: empty"),
        (HEADER + b"1,\n", "line 2, to: must not be empty"),
        (HEADER + b"1,  \n", "line 2, to: must not be empty"),
        (HEADER + b"-1,bob\n", "line 2, ticket_id: must be a whole number"),
        (HEADER + b"1e3,bob\n", "line 2, ticket_id: must be a whole number"),
        (HEADER + "١,bob\n".encode(), "line 2, ticket_id: must be a whole number"),
        (HEADER + str(2**256).encode() + b",bob\n", "line 2, ticket_id: must be below 2**256"),
        (HEADER + b"1," + b"b" * 65 + b"\n", "line 2, to: must be at most 64 bytes of UTF-8, this has 65"),
        (HEADER + b"1,bob,x\n", "line 2, line: 3 fields where the header has 2"),
        (HEADER + b"1\n", "line 2, line: 1 field where the header has 2"),
        (HEADER + b'1,"bob\n', "line 2, line: not CSV"),
        (HEADER + b"1," + b"x" * 70_000, "line 2, line: longer than 65,536 bytes"),
        (b'[{"ticketId": "1"}]', "line 1, file: a JSON array"),
        (b'{"ticketId": "1"}', "line 1, to: missing"),
        (b'{"ticketId": "1", "to": 5}', "line 1, to: no text"),
        (b'{"to": "bob"}', "line 1, ticket_id: missing"),
        (b'{"ticketId": "1", "to": "bob", "memo": 1}', "line 1, memo: unknown field"),
        (b'{"ticketId": "1", "to": "bob", "to": "eve"}', "line 1, to: stands twice in the object"),
        (b'{"ticketId": "1", "ticket_id": "2", "to": "bob"}', "line 1, ticket_id: stands twice in the object"),
        (b"Ticket_ID,To\n1,bob\n", "line 1, header: 'Ticket_ID,To': column names are in lower case"),
        (b'{"ticketId": 1.5, "to": "bob"}', "line 1, ticket_id: empty or no text"),
        (b'{"ticketId": true, "to": "bob"}', "line 1, ticket_id: empty or no text"),
        (b'{"ticketId": -1, "to": "bob"}', "line 1, ticket_id: must be a whole number"),
        (b'{"ticketId": "1", "to": "\\ud800"}', "line 1, to: must be text that UTF-8 can hold"),
        (b'{"ticketId": "1", "to": "a\\u0000"}', "line 1, to: must not hold a NUL character"),
        (b'{"ticketId": "1", "to"\n', "line 1, line: not JSON"),
        (b'{"a": ' + b"[" * 30_000, "line 1, line: not JSON"),
    ],
)
def test_a_fault_is_told_with_its_line_and_field(content: bytes, fault: str) -> None:
    """Each kind of fault is refused with its place, and a remedy stands behind it."""
    [found] = faults_of(content)
    assert found.startswith(fault)
    assert "; " in found


def test_all_faults_of_a_file_are_listed() -> None:
    """The reader goes on after a fault; a line may have two."""
    found = faults_of(HEADER + b"x,\n1,bob\n,bob\n2,a,b\n")
    assert [fault.split(":")[0] for fault in found] == [
        "line 2, ticket_id",
        "line 2, to",
        "line 4, ticket_id",
        "line 5, line",
    ]


def test_the_list_of_faults_has_a_limit() -> None:
    """The first faults are listed and the others counted."""
    with pytest.raises(InputFaultsError, match=r"\nand 80 more$") as caught:
        items_of(HEADER + b"x,bob\n" * 100)
    assert (len(caught.value.faults), caught.value.count) == (MOST_LISTED, 100)


def test_nothing_comes_after_a_fault() -> None:
    """Once a line is wrong no item is handed on any more, so none is written for nothing."""
    items = read_items(io.BytesIO(HEADER + b"1,bob\nx,bob\n2,bob\n"), None)
    assert next(items) == StagedItem("1", "bob")
    with pytest.raises(InputFaultsError):
        next(items)


def test_the_name_of_the_file_decides_before_its_content() -> None:
    """A file called .csv is read as CSV, whatever it looks like."""
    [fault] = faults_of(b'{"ticketId": "1", "to": "bob"}\n', InputFormat.CSV)
    assert "header" in fault


class Rows(io.RawIOBase):
    """A file of many lines that is nowhere whole."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._lines = self._written(count)
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        self._rest = self._rest or next(self._lines, b"")
        taken, self._rest = self._rest[: len(view)], self._rest[len(view) :]
        view[: len(taken)] = taken
        return len(taken)

    @staticmethod
    def _written(count: int) -> Iterator[bytes]:
        yield HEADER
        for first in range(0, count, 1_000):
            yield b"".join(b"%d,user\n" % number for number in range(first, min(first + 1_000, count)))


def test_more_items_than_the_maximum_are_refused() -> None:
    """A million items are read, one more is refused at its line."""
    with pytest.raises(InputFaultsError, match="line 1000002, file: more than 1,000,000 items"):
        sum(1 for _ in read_items(io.BufferedReader(Rows(MAX_ITEMS + 1)), None))


def test_memory_does_not_grow_with_the_file() -> None:
    """Fifty times the lines take the same memory."""

    def peak_of(count: int) -> int:
        tracemalloc.start()
        assert sum(1 for _ in read_items(io.BufferedReader(Rows(count)), None)) == count
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak_of(1_000)
    assert peak_of(50_000) < 2 * peak_of(1_000)
