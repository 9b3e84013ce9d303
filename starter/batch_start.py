"""`transfers batch start`: a file becomes a staged batch, and its workflow is started."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ledger.batch_reports import BatchReports
from ledger.staging import BatchHeader, BatchWriter
from starter.client import TransferClient
from starter.connections import connect_temporal, open_postgres
from starter.counting import counted
from starter.exit_codes import ExitCode
from starter.input_files import format_by_name, read_items
from starter.printing import say
from starter.reporting import report_end
from starter.requests import BatchStarted
from starter.staging import StagedStarter
from starter.watching import BatchWatch
from workflows.interface.codes import ErrorCode
from workflows.interface.errors import RequestError

STDIN = "-"
READ_AHEAD_ITEMS = 2_000
"""So many lines are checked before any server is asked: most files' faults are told at once."""


class StartRequest(NamedTuple):
    """What the command line asked for."""

    file: str
    header: BatchHeader
    watch: bool
    as_json: bool


async def start_batch(request: StartRequest) -> ExitCode:
    """Stages and starts; prints the start's answer, and with `watch` the end's too.

    Raises:
        RequestError, SettingsError, UnavailableError: as the line for people says.
    """
    began = time.perf_counter()
    with opened(request.file) as stream:
        path = None if request.file == STDIN else Path(request.file)
        items = read_items(stream, None if path is None else format_by_name(path))
        first = list(islice(items, READ_AHEAD_ITEMS))
        async with open_postgres() as pool:
            client = TransferClient(await connect_temporal())
            starter = StagedStarter(BatchWriter(pool), client)
            started = await _told_if_interrupted(starter, request.header, chain(first, items))
            print(started.model_dump_json(), flush=True)
            if not request.as_json:
                say(f"{counted(started.item_count, 'item')} in {1000 * (time.perf_counter() - began):,.0f} ms")
            if not request.watch:
                return ExitCode.OK
            reports = BatchReports(pool)
            report = await BatchWatch(reports, client).until_end(started.batch_id)
            return await report_end(reports, report, as_json=request.as_json)


@contextmanager
def opened(file: str) -> Iterator[BinaryIO]:
    """The file, or standard input for `-`.

    Raises:
        RequestError: INVALID_INPUT, there is no such file or it can't be read.
    """
    if file == STDIN:
        if sys.stdin is None:
            raise RequestError(ErrorCode.INVALID_INPUT, "standard input is closed: pipe the items in, or name a file")
        yield sys.stdin.buffer
        return
    path = Path(file)
    if path.is_dir():
        raise RequestError(
            ErrorCode.INVALID_INPUT, f"{file} is a folder: name a CSV or JSON Lines file, or - for stdin"
        )
    try:
        stream = path.open("rb")
    except FileNotFoundError as error:
        raise RequestError(ErrorCode.INVALID_INPUT, f"there is no file {file}") from error
    except (OSError, ValueError) as error:
        raise RequestError(ErrorCode.INVALID_INPUT, f"{file} can't be read: {error}") from error
    with stream:
        yield stream


async def _told_if_interrupted(starter: StagedStarter, header: BatchHeader, items: Iterator[object]) -> BatchStarted:
    try:
        return await starter.start(header, items)  # type: ignore[arg-type]
    except asyncio.CancelledError:
        say(f"interrupted; to be sure whether batch {header.batch_id} stands: transfers batch show {header.batch_id}")
        raise
