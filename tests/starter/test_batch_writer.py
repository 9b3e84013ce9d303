"""Writing a batch with all its items: in one transaction, once, and nothing where it's wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from uuid import UUID, uuid4

import pytest

from ledger.batch_reports import BatchReports
from ledger.fingerprint import StagedItem, request_sha256
from ledger.pool import Pool
from ledger.staging import DUPLICATES_PAGE, BatchHeader, BatchWriter
from ledger.webhooks import NewSubscription, WebhookLedger
from tests.starter.conftest import SENDER
from workflows.interface.batch import BatchCounts
from workflows.interface.codes import BatchStatus, ErrorCode, ItemOrder, ItemStatus, Settlement, TransferKind
from workflows.interface.deliveries import RetryPolicy
from workflows.interface.errors import RequestError
from workflows.interface.names import transfer_id_for
from workflows.interface.options import DEFAULT_OPTIONS, BatchOptions

SINGLE = BatchOptions(Settlement.SINGLE)
ADDRESS = "0xAb5801a7D398351b8bE11C439e05C5B3259aeC9B"


def header(batch_id: UUID | None = None, options: BatchOptions = DEFAULT_OPTIONS) -> BatchHeader:
    return BatchHeader(batch_id or uuid4(), SENDER, options)


def items(*tickets: object, to: str = "bob") -> list[StagedItem]:
    return [StagedItem(str(ticket), to) for ticket in tickets]


async def rows_in(pool: Pool) -> dict[str, int]:
    batch_tables = ("batch_transfers", "batch_transfer_items", "batch_controls", "batch_counters")
    tables = (*batch_tables, "ticket_transfers", "events")
    return {table: await pool.fetchval(f"SELECT count(*) FROM {table}") for table in tables}


@pytest.fixture
def writer(pool: Pool, sender: str) -> BatchWriter:
    assert sender == SENDER
    return BatchWriter(pool)


async def test_everything_of_a_batch_is_written(writer: BatchWriter, pool: Pool) -> None:
    """The batch, its items with their transfer ids, its controls, its counters and its fingerprint are there."""
    head = header(options=SINGLE)
    rows = [StagedItem("17", "bob"), StagedItem("18", ADDRESS), StagedItem("2" * 78, "ü, \\ \t'")]
    stored = await writer.write(head, rows)
    assert stored == (
        *(head.batch_id, SENDER, BatchStatus.QUEUED, 3, request_sha256(SENDER, rows, SINGLE)),
        *(True, ()),
    )
    written = await pool.fetch("SELECT * FROM batch_transfer_items WHERE batch_id = $1 ORDER BY item_no", head.batch_id)
    assert [(r["item_no"], r["ticket_id"], r["recipient"], r["status"], r["transfer_id"]) for r in written] == [
        (number, row.ticket_id, row.to, "QUEUED", transfer_id_for(head.batch_id, number))
        for number, row in enumerate(rows, 1)
    ]
    report = await BatchReports(pool).batch(head.batch_id)
    assert report is not None
    assert (report.settlement, report.counts) == (Settlement.SINGLE, BatchCounts(item_count=3, queued=3))
    assert (report.paused, report.cancel_requested, report.run_no) == (False, False, 0)


async def test_the_lowest_number_of_a_ticket_stands(writer: BatchWriter, pool: Pool) -> None:
    """Later items of the same ticket fail at once, with their transfer and its event; the counters agree."""
    head = header()
    stored = await writer.write(head, [*items(5, 6, 5), *items(5, to=ADDRESS), *items(6, 7)])
    assert stored.item_count == 6
    pages = BatchReports(pool).items(head.batch_id, status=ItemStatus.FAILED)
    failed = [item async for page in pages for item in page]
    assert [(item.item_no, item.failure_code) for item in failed] == [
        *((3, "DUPLICATE_IN_BATCH"), (4, "DUPLICATE_IN_BATCH"), (5, "DUPLICATE_IN_BATCH")),
    ]
    assert failed[0].failure_reason == "the ticket is named by an earlier item of this batch: item 1"
    assert (failed[2].failure_reason or "").endswith("item 2")
    report = await BatchReports(pool).batch(head.batch_id)
    assert report is not None
    assert report.counts == BatchCounts(item_count=6, queued=3, failed=3)
    transfers = await pool.fetch("SELECT * FROM ticket_transfers ORDER BY item_no")
    assert [(t["item_no"], t["to_user_id"], t["recipient"] and t["recipient"].hex()) for t in transfers] == [
        *((3, "bob", None), (4, None, ADDRESS[2:].lower()), (5, "bob", None)),
    ]
    assert {(t["status"], t["live"], t["transfer_id"]) for t in transfers} == {
        ("FAILED", False, transfer_id_for(head.batch_id, number)) for number in (3, 4, 5)
    }
    assert await pool.fetchval("SELECT count(*) FROM events WHERE type = 'transfer.failed'") == 3
    runs = await pool.fetch("SELECT DISTINCT failed_run FROM batch_transfer_items WHERE status = 'FAILED'")
    assert [row["failed_run"] for row in runs] == [1]


async def test_many_duplicates_are_failed_page_by_page(writer: BatchWriter, pool: Pool) -> None:
    """More duplicates than a page holds all fail, and whoever wants their events is to be woken."""
    retry = RetryPolicy(max_attempts=5, first_delay_s=1, delay_coefficient=2, max_delay_s=60)
    subscription = await WebhookLedger(pool).create_subscription(
        NewSubscription("http://127.0.0.1:9/hooks", bytes(32), None, ("transfer.failed",), retry)
    )
    count = DUPLICATES_PAGE + 10
    stored = await writer.write(header(), items(*[7] * (count + 1)))
    assert stored.wake == (subscription.subscription_id,)
    assert await pool.fetchval("SELECT failed FROM batch_counters") == count
    assert await pool.fetchval("SELECT count(*) FROM webhook_deliveries") == count


async def test_the_same_request_again_gives_what_is_stored(writer: BatchWriter, pool: Pool) -> None:
    """Writing twice changes nothing, however tickets and addresses are spelled the second time."""
    head = header()
    first = await writer.write(head, items(1, 2, 2, to=ADDRESS))
    before = await rows_in(pool)
    again = await writer.write(head, items(1, 2, 2, to=ADDRESS.lower()))
    assert again == first._replace(written=False)
    assert await rows_in(pool) == before


@pytest.mark.parametrize(
    ("options", "rows"),
    [
        (BatchOptions(), items(1, 2, 3)),
        (BatchOptions(), items(1)),
        (BatchOptions(), items(2, 1)),
        (BatchOptions(), items(1, 2, to="eve")),
        (SINGLE, items(1, 2)),
        (BatchOptions(kind=TransferKind.GIFT), items(1, 2)),
        (BatchOptions(order=ItemOrder.SEQUENTIAL), items(1, 2)),
    ],
)
async def test_another_request_under_the_same_id_is_refused(
    writer: BatchWriter, pool: Pool, options: BatchOptions, rows: list[StagedItem]
) -> None:
    """More, fewer, reordered or other items, or other options, touch nothing of the stored batch."""
    head = header()
    await writer.write(head, items(1, 2))
    before = await rows_in(pool)
    with pytest.raises(RequestError) as caught:
        await writer.write(head._replace(options=options), rows)
    assert caught.value.code is ErrorCode.BATCH_CONTENT_DIFFERS
    assert await rows_in(pool) == before


async def test_another_sender_under_the_same_id_is_refused(writer: BatchWriter, pool: Pool) -> None:
    """The sender belongs to the request."""
    head = header()
    await writer.write(head, items(1, 2))
    await pool.execute("INSERT INTO wallets VALUES ('eve', decode(repeat('ee', 20), 'hex'))")
    with pytest.raises(RequestError) as caught:
        await writer.write(head._replace(from_user_id="eve"), items(1, 2))
    assert caught.value.code is ErrorCode.BATCH_CONTENT_DIFFERS


def broken_after(count: int) -> Iterator[StagedItem]:
    """A stream that fails late, after whole chunks were sent."""
    yield from items(*range(count))
    raise RequestError(ErrorCode.INVALID_INPUT, "the last line is broken")


@pytest.mark.parametrize(
    ("sender_id", "rows"),
    [("nobody", items(1)), (SENDER, []), (SENDER, broken_after(1)), (SENDER, broken_after(20_000))],
)
async def test_a_refused_request_leaves_nothing(
    writer: BatchWriter, pool: Pool, sender_id: str, rows: Iterable[StagedItem]
) -> None:
    """An unknown sender, no items and a fault in the last line are INVALID_INPUT, and no table has a row."""
    with pytest.raises(RequestError) as caught:
        await writer.write(header()._replace(from_user_id=sender_id), rows)
    assert caught.value.code is ErrorCode.INVALID_INPUT
    assert set((await rows_in(pool)).values()) == {0}
    assert (await writer.write(header(), items(1))).written


class GatedItems:
    """A stream that says when it's being read and goes on when it may."""

    def __init__(self, rows: list[StagedItem]) -> None:
        self._rows = rows
        self.begun, self.gate = asyncio.Event(), asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[StagedItem]:
        self.begun.set()
        await self.gate.wait()
        for row in self._rows:
            yield row


async def _is_waiting(pool: Pool) -> None:
    """Until a statement waits for another transaction's end."""
    async with asyncio.timeout(10):
        while not await pool.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
        ):
            await asyncio.sleep(0)


@pytest.mark.parametrize("same", [True, False])
async def test_two_at_once_end_as_one_after_the_other(writer: BatchWriter, pool: Pool, *, same: bool) -> None:
    """The second waits for the first's commit, and then is given the stored batch or refused."""
    head, slow = header(), GatedItems(items(1, 2, 3))
    async with asyncio.TaskGroup() as group:
        first = group.create_task(writer.write(head, slow))
        await slow.begun.wait()
        second = group.create_task(_outcome(writer, head, items(1, 2, 3) if same else items(4)))
        await _is_waiting(pool)
        assert not second.done()
        slow.gate.set()
    assert first.result().written
    assert second.result() == ("stored" if same else ErrorCode.BATCH_CONTENT_DIFFERS)
    assert (await rows_in(pool))["batch_transfer_items"] == 3


async def test_the_second_writes_when_the_first_gives_up(writer: BatchWriter, pool: Pool) -> None:
    """A first writer whose stream breaks leaves the id free for the one that waits."""
    head, slow = header(), GatedItems([])
    first = asyncio.create_task(_outcome(writer, head, slow))
    await slow.begun.wait()
    second = asyncio.create_task(writer.write(head, items(4)))
    await _is_waiting(pool)
    slow.gate.set()
    assert await first is ErrorCode.INVALID_INPUT
    assert (await second).written
    assert (await rows_in(pool))["batch_transfer_items"] == 1


async def _outcome(writer: BatchWriter, head: BatchHeader, rows: list[StagedItem] | GatedItems) -> str | ErrorCode:
    try:
        stored = await writer.write(head, rows)
    except RequestError as error:
        return error.code
    return "written" if stored.written else "stored"


async def test_ten_at_once_write_it_once(writer: BatchWriter, pool: Pool) -> None:
    """However many bring the same request at the same time, one writes and all get the batch."""
    head = header()
    rows = items(*range(500))
    outcomes = await asyncio.gather(*(_outcome(writer, head, rows) for _ in range(10)))
    assert sorted(outcomes) == ["stored"] * 9 + ["written"]
    assert (await rows_in(pool))["batch_transfer_items"] == 500


async def test_a_write_can_be_called_off(writer: BatchWriter, pool: Pool) -> None:
    """Cancelled in the middle of a long plain stream, the write stops there and leaves nothing."""
    taken = 0

    def endless() -> Iterator[StagedItem]:
        nonlocal taken
        for row in items(*range(100_000)):
            taken += 1
            if taken == 5_000:
                task.cancel()
            yield row

    task = asyncio.create_task(writer.write(header(), endless()))
    with pytest.raises(asyncio.CancelledError):
        await task
    assert taken < 10_000
    assert set((await rows_in(pool)).values()) == {0}
