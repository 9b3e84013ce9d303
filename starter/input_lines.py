"""The lines of an input stream: decoded, numbered, and bounded in length."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, NoReturn

from starter.input_faults import FaultList, InputFault

MAX_LINE_BYTES = 64 * 1024
"""No valid line comes near; a file without line ends must not be read whole."""
LINE = "line"
"""Field name of faults that concern a line as a whole."""
_UTF8_BOM = b"\xef\xbb\xbf"
_UTF16_BOMS = (b"\xff\xfe", b"\xfe\xff")


class UnreadableError(Exception):
    """What follows in this file can't be made sense of; the fault is noted."""


class Lines:
    """The decoded lines of a stream, with the number of the last one."""

    def __init__(self, stream: BinaryIO, faults: FaultList) -> None:
        self._stream = stream
        self._faults = faults
        self._first: bytes | None = None
        self.line_no = 0

    def peek(self) -> bytes:
        """The first line with something in it, without the byte order mark; it will still be read."""
        line = self._read()
        if line.startswith(_UTF16_BOMS):
            self.refuse(LINE, "the file is UTF-16", "save it as UTF-8")
        line = line.removeprefix(_UTF8_BOM)
        while line and not line.strip():
            line = self._read()
        self._first = line
        self.line_no -= bool(line)
        return line

    def __iter__(self) -> Iterator[str]:
        line = self._first or b""
        self.line_no += bool(line)
        while line := line or self._read():
            text = self._decoded(line)
            line = b""
            if text is not None:
                yield text

    def refuse(self, field: str, what: str, remedy: str) -> NoReturn:
        """Notes a fault after which reading on makes no sense."""
        self._faults.add(InputFault(max(self.line_no, 1), field, what, remedy))
        raise UnreadableError

    def _read(self) -> bytes:
        try:
            line = self._stream.readline(MAX_LINE_BYTES + 1)
        except OSError as error:
            self.refuse("file", f"can't be read on ({error.strerror or error})", "name a file that can be read")
        self.line_no += bool(line)
        if len(line) > MAX_LINE_BYTES:
            self.refuse(LINE, f"longer than {MAX_LINE_BYTES:,} bytes", "write one item per line")
        return line

    def _decoded(self, line: bytes) -> str | None:
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            what = f"not UTF-8 (byte 0x{line[error.start]:02x} at position {error.start + 1})"
            self._faults.add(InputFault(self.line_no, LINE, what, "save the file as UTF-8"))
            return None
        if "\0" in text:
            self._faults.add(InputFault(self.line_no, LINE, "holds a NUL byte", "remove it"))
            return None
        return text
