"""`transfers dead-letters …` as a process, on a real database and server."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from tests.dead_letters.conftest import NAMESPACE, Office
from tests.servers import Temporal
from tests.starter.commands import Ended, Transfers


class Letters:
    """Runs the commands."""

    def __init__(self, transfers: Transfers) -> None:
        self._transfers = transfers

    async def __call__(self, *arguments: str, stdin: bytes = b"", **settings: str) -> Ended:
        return await self._transfers("dead-letters", *arguments, stdin=stdin, **settings)


@pytest.fixture
def letters(tmp_path: Path, database_url: str, temporal: Temporal, office: Office) -> Letters:
    assert office.client.namespace == NAMESPACE
    settings = {"DATABASE_URL": database_url, "TEMPORAL_ADDRESS": temporal.address, "TEMPORAL_NAMESPACE": NAMESPACE}
    return Letters(Transfers(tmp_path, settings))


async def test_list_filters_and_pages(letters: Letters, office: Office) -> None:
    """`list` shows open letters oldest first, chosen by kind, code, age and status, page by page."""
    ids = [str(one) for one in await office.transfers(3)]
    await office.transfers(1, code="RECIPIENT_REFUSED")
    await office.ledger.bury_job("expire-transfers", "DEFECT", "boom", "workflow/expire-transfers/1")
    everything = (await letters("list", "--json")).json
    assert len(everything) == 5
    by_code = (await letters("list", "--kind", "transfer", "--code", "REVERTED", "--json")).json
    assert sorted(one["transferId"] for one in by_code) == sorted(ids)
    assert (await letters("list", "--older-than", "1h", "--json")).json == []
    assert len((await letters("list", "--newer-than", "1h", "--json")).json) == 5
    assert (await letters("list", "--status", "discarded", "--json")).json == []
    first = await letters("list", "--limit", "2", "--json")
    rest = await letters("list", "--after", first.json[-1]["deadLetterId"], "--json")
    assert first.json + rest.json == everything
    table = await letters("list", "--limit", "2")
    assert f"maybe more: --after {first.json[-1]['deadLetterId']}" in table.err
    assert "REVERTED" in table.out
    assert (await letters("list", "--endpoint", str(uuid4()))).err == "no dead letters\n"


async def test_replay_counts_asks_and_records(letters: Letters, office: Office) -> None:
    """A dry run changes nothing, a replay asks first, then starts the workflow; `show` tells who did it and why."""
    [transfer_id] = await office.transfers(1)
    await office.transfers(2, code="RECIPIENT_REFUSED")
    dry = await letters("replay", "--all", "--dry-run", "--json")
    assert dry.json == {"status": "DRY_RUN", "selected": 3, "forcedOnly": 2}
    refused = await letters("replay", "--code", "REVERTED", stdin=b"n\n")
    assert (refused.code, await office.statuses()) == (2, {"OPEN": 3})
    assert "nothing was done; --yes answers for you" in refused.err
    replay_id = str(uuid4())
    command = ("replay", "--code", "REVERTED", "--replay-id", replay_id, "--by", "olga", "--note", "node mended")
    async with office.working():
        done = await letters(*command, "--wait", "--json", stdin=b"y\n")
        assert done.json == {"status": "COMPLETED", "replayId": replay_id, "replayed": 1, "skipped": 0}
        again = await letters(*command, "--json")
        assert again.json == done.json
        assert await office.notes.until(1) == {transfer_id: 1}
    [letter] = (await letters("list", "--status", "replayed", "--json")).json
    shown = (await letters("show", letter["deadLetterId"], "--json")).json
    [action] = shown["actions"]
    assert (action["action"], action["by"], action["note"], action["replayId"]) == (
        *("replay", "olga", "node mended"),
        replay_id,
    )
    assert (shown["closedBy"], shown["payloadRef"]) == ("olga", f"ticket_transfers/{transfer_id}")
    assert "replay" in (await letters("show", letter["deadLetterId"])).out


async def test_discard_closes_with_a_record(letters: Letters, office: Office) -> None:
    """Discarded letters are closed without another go, with who did it and why; named again they're refused."""
    await office.transfers(3)
    [first, *_] = (await letters("list", "--json")).json
    one = await letters("discard", first["deadLetterId"], "--by", "olga", "--note", "sold out", "--yes", "--json")
    assert one.json == {"status": "DISCARDED", "selected": 1, "discarded": 1}
    [action] = await office.actions()
    assert (action["action"], action["by"], action["note"]) == ("discard", "olga", "sold out")
    again = await letters("discard", first["deadLetterId"], "--yes")
    assert (again.code, f"{first['deadLetterId']} is DISCARDED" in again.err) == (3, True)
    assert (await letters("discard", "--all", "--dry-run")).out.startswith("2 open dead letters selected")
    assert (await letters("discard", "--kind", "transfer", "--yes")).out == "2 dead letters discarded\n"
    assert await office.statuses() == {"DISCARDED": 3}
    assert (await letters("discard", "--all", "--yes", "--json")).json == {
        "status": "NOTHING_SELECTED",
        "selected": 0,
        "forcedOnly": 0,
    }


async def test_clear_errors(letters: Letters, office: Office) -> None:
    """Bad input, unknown letters, useless replays and servers that don't answer have their own words and exit codes."""
    await office.transfers(1, code="RECIPIENT_REFUSED")
    unknown = str(uuid4())
    expected = [
        (("replay", "--yes"), 2, "name dead letters or a filter, or --all"),
        (("discard", "--all", "--kind", "job"), 2, "or --all for every open one (not both)"),
        (("list", "--older-than", "yesterday"), 2, "no span of time"),
        (("list", "--older-than", "2h", "--newer-than", "1h"), 2, "nothing is older than"),
        (("list", "--kind", "letter"), 2, "Invalid value for '--kind'"),
        (("replay", "--all", "--by", " ", "--yes"), 2, "by: must be 1 to 200 bytes of printable text"),
        (("show", unknown), 3, f"no such dead letter: {unknown}"),
        (("replay", unknown, "--yes"), 3, f"no such dead letter: {unknown}"),
        (("replay", "--all", "--yes"), 3, "mend the cause, then add --force"),
    ]
    for arguments, code, words in expected:
        ended = await letters(*arguments)
        assert (ended.code, words in " ".join(ended.err.split())) == (code, True), (arguments, ended)
    no_server = await letters("replay", "--all", "--force", "--yes", TEMPORAL_ADDRESS="127.0.0.1:1")
    assert (no_server.code, "Temporal at 127.0.0.1:1" in no_server.err) == (1, True)
    no_database = await letters("list", DATABASE_URL="postgresql://u:p@127.0.0.1:1/db")
    assert (no_database.code, "Postgres at 127.0.0.1:1" in no_database.err) == (1, True)
    assert await office.statuses() == {"OPEN": 1}


async def test_an_id_belongs_to_one_selection(letters: Letters, office: Office) -> None:
    """The same replay id with another selection is refused."""
    await office.transfers(1)
    replay_id = str(uuid4())
    async with office.working():
        assert (await letters("replay", "--all", "--replay-id", replay_id, "--yes", "--wait")).code == 0
    other = await letters("replay", "--kind", "job", "--replay-id", replay_id, "--yes")
    assert (other.code, "was asked for with another selection" in other.err) == (3, True)
