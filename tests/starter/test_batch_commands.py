"""`transfers batch show|list|cancel|pause|resume|retry-failed|wait|watch` as processes."""

from __future__ import annotations

import json
from uuid import UUID, uuid4

import pytest

from ledger.fingerprint import StagedItem
from ledger.staging import BatchHeader, BatchWriter
from tests.starter.commands import Transfers
from tests.starter.conftest import SENDER, Service
from tests.starter.test_batch_writer import items
from workflows.interface.codes import Settlement
from workflows.interface.names import batch_workflow_id
from workflows.interface.options import BatchOptions


@pytest.fixture
async def batch_id(service: Service) -> UUID:
    """A staged batch of 1,500 items, three of them duplicates."""
    header = BatchHeader(uuid4(), SENDER)
    await BatchWriter(service.pool).write(header, items(*range(1, 1_498), 1, 2, 3))
    return header.batch_id


async def test_show_tells_counts_and_failures(transfers: Transfers, batch_id: UUID) -> None:
    """Both forms tell the counts and the failed items with code and reason."""
    ended = await transfers("batch", "show", str(batch_id), "--json")
    shown = ended.json
    assert (shown["batchId"], shown["fromUserId"], shown["status"]) == (str(batch_id), SENDER, "QUEUED")
    assert (shown["itemCount"], shown["queued"], shown["failed"], shown["itemsPerSecond"]) == (1_500, 1_497, 3, None)
    assert shown["failuresByCode"] == {"DUPLICATE_IN_BATCH": 3}
    assert shown["failures"][0]["itemNo"] == 1_498
    assert shown["failures"][0]["reason"].endswith("item 1")
    text = await transfers("batch", "show", str(batch_id))
    assert "1,500: 0 completed, 3 failed" in text.out
    assert "DUPLICATE_IN_BATCH" in text.out


async def test_items_are_paged_through(transfers: Transfers, batch_id: UUID) -> None:
    """All items come, over the pages of the database, as one JSON document or a line each."""
    whole = (await transfers("batch", "show", str(batch_id), "--items", "--json")).json
    assert [item["itemNo"] for item in whole["items"]] == list(range(1, 1_501))
    assert whole["items"][16]["ticketId"] == "17"
    lines = (await transfers("batch", "show", str(batch_id), "--items", "--after", "7", "--limit", "3")).out
    assert [line.split()[0] for line in lines.splitlines()] == ["8", "9", "10"]
    failed = (await transfers("batch", "show", str(batch_id), "--status", "failed", "--json")).json
    assert [item["itemNo"] for item in failed["items"]] == [1_498, 1_499, 1_500]
    none = (await transfers("batch", "show", str(batch_id), "--items", "--status", "COMPLETED", "--json")).json
    assert none["items"] == []


async def test_a_reader_that_leaves_early_is_no_error(transfers: Transfers, batch_id: UUID) -> None:
    """`show --items | head` ends without a traceback."""
    process = await transfers.begin("batch", "show", str(batch_id), "--items", "--json")
    assert process.stdout is not None
    assert process.stderr is not None
    await process.stdout.readline()
    process.stdout._transport.close()  # type: ignore[attr-defined]
    err = await process.stderr.read()
    await process.wait()
    assert b"Traceback" not in err
    assert b"Postgres" not in err


async def test_list_filters_by_status_and_sender(transfers: Transfers, service: Service, batch_id: UUID) -> None:
    """The newest come first; a filter leaves out the others."""
    header = BatchHeader(uuid4(), SENDER, BatchOptions(Settlement.SINGLE))
    await BatchWriter(service.pool).write(header, items(1))
    listed = (await transfers("batch", "list", "--json")).json
    assert [batch["batchId"] for batch in listed] == [str(header.batch_id), str(batch_id)]
    assert [b["settlement"] for b in (await transfers("batch", "list", "--limit", "1", "--json")).json] == ["single"]
    assert (await transfers("batch", "list", "--status", "completed", "--json")).json == []
    assert (await transfers("batch", "list", "--from", "eve", "--json")).json == []
    assert str(batch_id) in (await transfers("batch", "list", "--status", "QUEUED", "--from", SENDER)).out


@pytest.mark.parametrize("command", ["show", "cancel", "pause", "resume", "retry-failed", "wait", "watch"])
async def test_an_unknown_batch_is_not_found(transfers: Transfers, service: Service, command: str) -> None:
    """Every command about a batch ends with 3 where there is none, and starts nothing."""
    unknown = uuid4()
    ended = await transfers("batch", command, str(unknown))
    assert (ended.code, ended.out) == (3, "")
    assert f"there is no batch {unknown}" in ended.err
    query = f'WorkflowId = "{batch_workflow_id(unknown)}"'
    assert [found async for found in service.temporal.list_workflows(query)] == []


async def test_a_batch_is_paused_resumed_awaited_and_retried(
    transfers: Transfers, service: Service, batch_id: UUID
) -> None:
    """The commands reach the workflow; what they did is told by `wait`, whose exit code tells of failures."""
    await service.client.start_staged(batch_id)
    asked = await transfers("batch", "pause", str(batch_id), "--json")
    assert (asked.code, asked.json) == (0, {"batchId": str(batch_id), "requested": "pause"})
    assert (await transfers("batch", "resume", str(batch_id))).code == 0
    early = await transfers("batch", "retry-failed", str(batch_id))
    assert early.code == 3
    assert "still runs" in early.err
    async with service.working():
        ended = await transfers("batch", "wait", str(batch_id), "--json")
        assert ended.code == 5, ended.err
        assert (ended.json["status"], ended.json["failed"]) == ("COMPLETED_WITH_FAILURES", 1_500)
        assert (await transfers("batch", "retry-failed", str(batch_id))).code == 0
        again = await transfers("batch", "watch", str(batch_id), "--json")
        assert (again.code, again.json["runNo"]) == (5, 2)
    refused = await transfers("batch", "cancel", str(batch_id))
    assert refused.code == 3
    assert "has ended already" in refused.err


async def test_a_staged_batch_is_cancelled_with_its_reason(
    transfers: Transfers, service: Service, batch_id: UUID
) -> None:
    """Cancel works on a batch that never started; the reason is shown."""
    assert (await transfers("batch", "cancel", str(batch_id), "--reason", "sold out")).code == 0
    async with service.working():
        ended = await transfers("batch", "wait", str(batch_id))
    assert ended.code == 5
    assert "CANCELLED (sold out)" in ended.out
    shown = json.loads((await transfers("batch", "show", str(batch_id), "--json")).out)
    assert (shown["cancelled"], shown["cancelRequested"]) == (1_497, True)


async def test_a_retry_that_can_help_nothing_is_refused(transfers: Transfers, service: Service) -> None:
    """Where only duplicates failed, or nothing, no new run begins and one sentence says so."""
    header = BatchHeader(uuid4(), SENDER)
    await BatchWriter(service.pool).write(header, items(1, 1))
    set_status = (
        "UPDATE batch_transfers SET status = $2, run_no = 1, started_at = now(), ended_at = now() WHERE batch_id = $1"
    )
    await service.pool.execute(set_status, header.batch_id, "COMPLETED_WITH_FAILURES")
    ended = await transfers("batch", "retry-failed", str(header.batch_id))
    assert (ended.code, ended.out) == (3, "")
    assert ended.err.startswith(f"error: NOT_ALLOWED: only duplicates failed in batch {header.batch_id}")
    query = f'WorkflowId = "{batch_workflow_id(header.batch_id)}"'
    assert [found async for found in service.temporal.list_workflows(query)] == []


async def test_texts_of_strangers_cannot_steer_the_terminal(transfers: Transfers, service: Service) -> None:
    """Escape sequences in a recipient are printed as text, in lines and in tables; JSON has them as they are."""
    header = BatchHeader(uuid4(), SENDER)
    await BatchWriter(service.pool).write(header, [StagedItem("1", "bo\x1b[2Jb"), StagedItem("1", "e\x07ve")])
    lines = (await transfers("batch", "show", str(header.batch_id), "--items")).out
    table = (await transfers("batch", "show", str(header.batch_id))).out
    assert ("bo\\x1b[2Jb" in lines, "e\\x07ve" in table) == (True, True)
    assert "\x1b" not in lines + table
    assert "\x07" not in lines + table
    shown = (await transfers("batch", "show", str(header.batch_id), "--items", "--json")).json
    assert shown["items"][0]["to"] == "bo\x1b[2Jb"


async def test_an_undecodable_reason_is_refused(transfers: Transfers, batch_id: UUID) -> None:
    """Bytes that aren't UTF-8 in --reason are one clear line and exit code 2."""
    ended = await transfers("batch", "cancel", str(batch_id), "--reason", "sold \udcff out")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.splitlines() == [
        "error: INVALID_INPUT: a reason can't hold control characters or bytes that aren't UTF-8"
    ]


async def test_nothing_to_list_is_said(transfers: Transfers, service: Service) -> None:
    """An empty list is told in words, apart from the results."""
    ended = await transfers("batch", "list")
    assert (ended.code, ended.out, ended.err) == (0, "", "no batches\n")


async def test_waiting_for_what_never_started_is_refused(transfers: Transfers, batch_id: UUID) -> None:
    """A batch that is written and not started would be waited for in vain: the command says so."""
    ended = await transfers("batch", "wait", str(batch_id))
    assert ended.code == 3
    assert "written and not started" in ended.err
