"""`transfers batch start` as a process: what it takes, prints and refuses."""

from __future__ import annotations

import signal
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from ledger.pool import Pool
from tests.starter.commands import Transfers
from tests.starter.conftest import SENDER, Service
from workflows.interface.names import batch_id_for, batch_workflow_id

CSV = b"ticket_id,to\n17,bob\n018,eve\n"
GIFT = ("--kind", "gift")
JSON_LINES = b'{"ticketId": "17", "to": "bob"}\n{"ticketId": "18", "to": "eve"}\n'


async def test_a_file_becomes_a_started_batch(transfers: Transfers, service: Service) -> None:
    """One JSON line with the id, QUEUED and the count is printed; items and workflow are there."""
    ended = await transfers("batch", "start", transfers.file("a.csv", CSV), "--from", SENDER, "--json")
    assert (ended.code, ended.err) == (0, "")
    batch_id = UUID(ended.json["batchId"])
    assert ended.json == {"batchId": str(batch_id), "status": "QUEUED", "itemCount": 2}
    assert await service.pool.fetchval("SELECT count(*) FROM batch_transfer_items WHERE status = 'QUEUED'") == 2
    told = await service.temporal.get_workflow_handle(batch_workflow_id(batch_id)).describe()
    assert await told.static_summary() == "2 tickets of alice"
    assert await told.memo_value("requestSha256") == (await _sha256(service.pool)).hex()


async def _sha256(pool: Pool) -> bytes:
    value: bytes = await pool.fetchval("SELECT request_sha256 FROM batch_transfers")
    return value


async def test_the_same_key_gives_the_first_batch_back(transfers: Transfers, service: Service) -> None:
    """CSV by name and JSON Lines from stdin are the same request; other content under the key ends with 4."""
    start = ("batch", "start", "--from", SENDER, "--idempotency-key", "order-17")
    first = await transfers(*start, transfers.file("a.csv", CSV))
    assert first.json["batchId"] == str(batch_id_for(SENDER, "order-17"))
    again = await transfers(*start, "-", stdin=JSON_LINES)
    assert (again.code, again.json) == (0, first.json)
    other = await transfers(*start, "-", stdin=CSV + b"19,eve\n")
    assert (other.code, other.out) == (4, "")
    assert "BATCH_CONTENT_DIFFERS" in other.err
    single = await transfers(*start, "-", "--settlement", "single", stdin=CSV)
    assert single.code == 4
    assert await service.pool.fetchval("SELECT count(*) FROM batch_transfers") == 1


async def test_options_of_a_batch_are_written_and_shown(transfers: Transfers, service: Service) -> None:
    """Gifts in order until a time: `show` tells so in JSON and in words, and another time is another request."""
    start = ("batch", "start", "-", "--from", SENDER, "--idempotency-key", "gifts", "--kind", "gift")
    until = ("--expires-at", "2090-06-01T14:00:00+02:00")
    started = await transfers(*start, *until, "--order", "sequential", stdin=CSV)
    assert (started.code, started.err.count("Error")) == (0, 0)
    show = ("batch", "show", started.json["batchId"])
    shown = (await transfers(*show, "--json")).json
    assert (shown["kind"], shown["order"], shown["settlement"]) == ("gift", "sequential", "batched")
    assert shown["expiresAt"] == "2090-06-01T12:00:00Z"
    assert "batched, gifts until 2090-06-01 12:00:00, sequential" in (await transfers(*show)).out
    same = ("--expires-at", "2090-06-01T12:00:00Z", "--order", "sequential")
    assert (await transfers(*start, *same, stdin=CSV)).json == started.json
    assert (await transfers(*start, "--expires-in", "7d", "--order", "sequential", stdin=CSV)).code == 4


async def test_gifts_may_wait_for_a_span_of_time(transfers: Transfers, service: Service) -> None:
    """`--expires-in` counts from now."""
    ended = await transfers("batch", "start", "-", "--from", SENDER, "--kind", "gift", "--expires-in", "36h", stdin=CSV)
    assert ended.code == 0
    left = await service.pool.fetchval("SELECT expires_at - now() FROM batch_transfers")
    assert timedelta(hours=35, minutes=55) < left < timedelta(hours=36)


async def test_two_commands_at_once_start_one_batch(transfers: Transfers, service: Service) -> None:
    """The same request from two processes at the same time ends well in both, with one batch."""
    start = ("batch", "start", "-", "--from", SENDER, "--batch-id", str(uuid4()))
    processes = [await transfers.begin(*start) for _ in range(2)]
    outs = [(await process.communicate(CSV))[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert outs[0] == outs[1]
    assert await service.pool.fetchval("SELECT count(*) FROM batch_transfer_items") == 2


async def test_watching_ends_with_the_table_of_what_failed(transfers: Transfers, service: Service) -> None:
    """With --watch the command waits for the end, names each failed item's code and reason, and ends with 5."""
    async with service.working():
        ended = await transfers("batch", "start", transfers.file("a.csv", CSV), "--from", SENDER, "--watch")
    assert ended.code == 5, ended.err
    assert ended.out.startswith('{"batchId":')
    assert "COMPLETED_WITH_FAILURES" in ended.out
    assert "UNKNOWN_USER 2" in ended.out
    assert "no user of this name has a wallet" in ended.out


async def test_watching_as_json_prints_two_documents(transfers: Transfers, service: Service) -> None:
    """With --watch --json the second line is the batch as it ended."""
    async with service.working():
        ended = await transfers("batch", "start", "-", "--from", SENDER, "--watch", "--json", stdin=CSV)
    first, last = ended.out.splitlines()
    assert '"status":"QUEUED"' in first
    assert '"failuresByCode":{"UNKNOWN_USER":2}' in last


async def test_ctrl_c_leaves_the_batch_running(transfers: Transfers, service: Service) -> None:
    """Interrupted while watching, the command says that the batch goes on, and ends with 130."""
    process = await transfers.begin("batch", "start", transfers.file("a.csv", CSV), "--from", SENDER, "--watch")
    assert process.stdout is not None
    started = await process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert process.returncode == 130
    assert b"the batch goes on" in err
    assert b"Traceback" not in err
    batch_id = UUID(started.decode().split('"')[3])
    told = await service.temporal.get_workflow_handle(batch_workflow_id(batch_id)).describe()
    assert told.status is not None
    assert told.status.name == "RUNNING"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "line 1, file: empty"),
        (b"ticket_id,to\n", "line 1, file: no items"),
        (b"17,bob\n", "line 1, header: there is no header"),
        (b"ticket_id,to,x\n1,bob,y\n", "line 1, header: unknown column 'x'"),
        (b"ticket_id,to\n1,b\xfcb\n", "line 2, line: not UTF-8"),
        (b"ticket_id,to\n-1,bob\n1,\nx,bob\n", "line 4, ticket_id: must be a whole number"),
        (b"ticket_id,to\n" + b"x,bob\n" * 100, "and 80 more"),
        (b"ticket_id,to\n" + b"1,bob\n" * 30_000 + b"x,bob\n", "line 30002, ticket_id: must be a whole number"),
    ],
)
async def test_bad_input_is_refused_before_anything_is_written(
    transfers: Transfers, service: Service, content: bytes, told: str
) -> None:
    """Every fault is told with its line, the exit code is 2, and no table has a row."""
    ended = await transfers("batch", "start", "-", "--from", SENDER, stdin=content)
    assert (ended.code, ended.out) == (2, "")
    assert "nothing was written" in ended.err
    assert told in ended.err
    assert await service.pool.fetchval("SELECT count(*) FROM batch_transfers") == 0
    assert await service.pool.fetchval("SELECT count(*) FROM batch_transfer_items") == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("a.csv", "--from", "stranger"), "unknown sender 'stranger'"),
        (("a.csv", "--from", ""), "a user id must not be empty"),
        (("a.csv", "--from", "a" * 65), "this has 65"),
        (("none.csv", "--from", SENDER), "there is no file none.csv"),
        ((".", "--from", SENDER), "is a folder"),
        (("a.csv",), "Missing option '--from'"),
        (("a.csv", "--from", SENDER, "--batch-id", "17"), "should be a valid UUID"),
        (("a.csv", "--from", SENDER, "--batch-id", str(uuid4()), "--idempotency-key", "k"), "exclude each other"),
        (("a.csv", "--from", SENDER, "--idempotency-key", ""), "idempotency key must be 1 to 256"),
        (("a.csv", "--from", SENDER, "--settlement", "gift"), "'gift' is not one of 'batched', 'single'"),
        (("a.csv", "--from", SENDER, "--kind", "loan"), "'loan' is not one of 'direct', 'gift'"),
        (("a.csv", "--from", SENDER, "--order", "random"), "'random' is not one of 'parallel', 'sequential'"),
        (("a.csv", "--from", SENDER, "--expires-in", "36h"), "expiresAt is for gifts"),
        (("a.csv", "--from", SENDER, *GIFT, "--expires-in", "36"), "write it like 90s, 15m, 36h or 7d"),
        (("a.csv", "--from", SENDER, *GIFT, "--expires-in", "0s"), "must be more than nothing"),
        (("a.csv", "--from", SENDER, *GIFT, "--expires-at", "tomorrow"), "is no time"),
        (("a.csv", "--from", SENDER, *GIFT, "--expires-at", "2090-06-01T12:00"), "has no time zone"),
        (("a.csv", "--from", SENDER, *GIFT, "--expires-at", "2020-06-01T12:00Z"), "must lie in the future"),
    ],
)
async def test_bad_usage_is_refused(
    transfers: Transfers, service: Service, arguments: tuple[str, ...], told: str
) -> None:
    """Each wrong argument is named, the exit code is 2, and nothing is written."""
    transfers.file("a.csv", CSV)
    ended = await transfers("batch", "start", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert told in ended.err
    assert "Traceback" not in ended.err
    assert await service.pool.fetchval("SELECT count(*) FROM batch_transfers") == 0
