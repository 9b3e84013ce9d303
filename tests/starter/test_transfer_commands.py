"""`transfers transfer …` and `transfers gift …` as processes: what they take, print and refuse."""

from __future__ import annotations

import asyncio
import signal
from uuid import uuid4

import pytest

from tests.books import Books
from tests.starter.commands import Transfers
from tests.starter.conftest import SENDER, Service
from workflows.interface.names import transfer_id_for_key

GIFT = ("gift", "create", "--from", SENDER, "--to", "bob")


@pytest.fixture(autouse=True)
async def world(service: Service) -> None:
    """Bob and carol have wallets, and alice has the tickets 1 to 9."""
    books = Books(service.pool)
    await books.people("bob", "carol")
    await service.pool.execute(
        "INSERT INTO tickets SELECT n::text, decode(repeat('70', 20), 'hex'), decode(repeat('a1', 20), 'hex'), $1"
        " FROM generate_series(1, 9) n",
        SENDER,
    )


async def test_a_start_prints_its_id(transfers: Transfers, service: Service) -> None:
    """One JSON line with the id, by a key the same twice; other content under the key ends with 4."""
    start = ("transfer", "start", "--from", SENDER, "--to", "bob", "--idempotency-key", "order-17")
    first = await transfers(*start, "--ticket", "1")
    assert (first.code, first.err) == (0, "")
    assert first.json == {"transferId": str(transfer_id_for_key(SENDER, "order-17")), "repeated": False}
    assert (await transfers(*start, "--ticket", "001")).json["repeated"] is True
    other = await transfers(*start, "--ticket", "2")
    assert (other.code, "TRANSFER_CONTENT_DIFFERS" in other.err) == (4, True)


async def test_a_failed_transfer_is_waited_for_shown_and_not_retried(transfers: Transfers, service: Service) -> None:
    """--wait shows code and reason and ends with 5; a retry that can't help is refused, --force asks for it."""
    async with service.working():
        start = ("transfer", "start", "--from", SENDER, "--to", "nobody", "--ticket", "1", "--wait", "--json")
        ended = await transfers(*start)
        assert ended.code == 5, ended.err
        shown = (await transfers("transfer", "list", "--json")).json[0]
        assert (shown["status"], shown["code"], shown["ticketId"]) == ("FAILED", "UNKNOWN_USER", "1")
        refused = await transfers("transfer", "retry", shown["transferId"])
        assert (refused.code, "add --force" in refused.err) == (3, True)
        await Books(service.pool).people("nobody")
        retried = await transfers("transfer", "retry", shown["transferId"], "--force")
        assert (retried.code, "retry requested" in retried.err) == (0, True)
        async with asyncio.timeout(20):
            while not await service.pool.fetchval("SELECT bool_and(status = 'ACCEPTED') FROM ticket_transfers"):
                await asyncio.sleep(0.05)
        again = await transfers("transfer", "retry", shown["transferId"], "--force")
        assert (again.code, "only a failed one is retried" in again.err) == (3, True)


async def test_a_gift_from_offer_to_answer(transfers: Transfers, service: Service) -> None:
    """Each command prints the gift as it left it; a stranger and a second word end with 3 and the reason."""
    async with service.working():
        made = (await transfers(*GIFT, "--ticket", "2", "--expires-in", "36h", "--json")).json
        assert (made["status"], made["toUserId"]) == ("PENDING", "bob")
        gift = made["transferId"]
        stranger = await transfers("gift", "accept", gift, "--user", "carol")
        assert (stranger.code, "only its recipient may accept" in stranger.err) == (3, True)
        taken = await transfers("gift", "accept", gift, "--user", "bob")
        assert (taken.code, f"gift {gift}: ACCEPTED, ticket 2 of alice to bob" in taken.out) == (0, True)
        twice = await transfers("gift", "accept", gift, "--user", "bob")
        assert (twice.code, "doesn't wait any more: it is ACCEPTED" in twice.err) == (3, True)
        second = (await transfers(*GIFT, "--ticket", "3", "--json")).json["transferId"]
        declined = await transfers("gift", "decline", second, "--user", "bob", "--reason", "no time", "--json")
        assert (declined.json["status"], declined.json["reason"]) == ("DECLINED", "no time")
        third = await transfers(*GIFT, "--ticket", "3")
        assert "PENDING until" in third.out
        gift_id = third.out.split()[1].rstrip(":")
        assert f"transfers gift accept {gift_id} --user bob" in third.err
        assert "CANCELLED" in (await transfers("gift", "cancel", gift_id, "--user", SENDER)).out


async def test_a_gift_that_cannot_be_made_ends_with_5(transfers: Transfers, service: Service) -> None:
    """The reason stands in the answer."""
    async with service.working():
        ended = await transfers("gift", "create", "--from", SENDER, "--to", "0x" + "11" * 20, "--ticket", "1")
    assert (ended.code, "GIFT_NEEDS_USER" in ended.out) == (5, True)


async def test_show_tells_the_events(transfers: Transfers, service: Service) -> None:
    """A gift that was offered and declined shows its times and both events, as JSON and for people."""
    async with service.working():
        gift = (await transfers(*GIFT, "--ticket", "4", "--json")).json["transferId"]
        await transfers("gift", "decline", gift, "--user", "bob")
    shown = (await transfers("transfer", "show", gift, "--json")).json
    assert [event["type"] for event in shown["events"]] == ["transfer.created", "transfer.declined"]
    assert (shown["kind"], shown["status"], shown["chainTransactions"]) == ("gift", "DECLINED", [])
    text = (await transfers("transfer", "show", gift)).out
    assert "4 of alice to bob (0x" in text
    assert "transfer.declined" in text


async def test_lists_are_filtered_and_paged(transfers: Transfers, service: Service) -> None:
    """The newest come first; the page after one begins behind it, and each filter leaves out the others."""
    async with service.working():
        gifts = [(await transfers(*GIFT, "--ticket", str(n), "--json")).json["transferId"] for n in (5, 6, 7)]
        await transfers("gift", "decline", gifts[0], "--user", "bob")
        direct = await transfers("transfer", "start", "--from", SENDER, "--to", "nobody", "--ticket", "8", "--wait")
        assert direct.code == 5

    async def listed(*arguments: str) -> list[str]:
        return [one["transferId"] for one in (await transfers(*arguments, "--json")).json]

    assert await listed("gift", "list") == gifts[::-1]
    assert len(await listed("transfer", "list", "--from", SENDER)) == 4
    assert await listed("transfer", "list", "--kind", "gift", "--limit", "2") == [gifts[2], gifts[1]]
    assert await listed("gift", "list", "--limit", "2", "--before", gifts[1]) == [gifts[0]]
    assert await listed("gift", "list", "--to", "bob", "--status", "pending") == [gifts[2], gifts[1]]
    assert await listed("gift", "list", "--from", "carol") == []
    page = await transfers("gift", "list", "--limit", "2")
    assert f"--before {gifts[1]}" in page.err


async def test_ctrl_c_leaves_the_transfer_running(transfers: Transfers, service: Service) -> None:
    """Interrupted while waiting, the command says that the transfer goes on, and ends with 130."""
    start = ("transfer", "start", "--from", SENDER, "--to", "bob", "--ticket", "9", "--wait")
    process = await transfers.begin(*start)
    assert process.stdout is not None
    started = (await process.stdout.readline()).decode().split('"')[3]
    process.send_signal(signal.SIGINT)
    _, err = await process.communicate()
    assert process.returncode == 130
    assert f"the transfer goes on: transfers transfer show {started}".encode() in err
    assert b"Traceback" not in err


@pytest.mark.parametrize("words", [("transfer", "show"), ("transfer", "retry"), ("transfer", "wait")])
async def test_an_unknown_transfer_is_not_found(transfers: Transfers, words: tuple[str, str]) -> None:
    """An id that nobody used ends with 3."""
    ended = await transfers(*words, str(uuid4()))
    assert ended.code == 3
    assert "NOT_FOUND" in ended.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("transfer", "start", "--from", SENDER, "--to", "bob"), "Missing option '--ticket'"),
        (("transfer", "start", "--from", SENDER, "--to", "bob", "--ticket", "x"), "ticket_id: must be a whole number"),
        (("transfer", "start", "--from", "", "--to", "bob", "--ticket", "1"), "a user id must not be empty"),
        ((*GIFT, "--ticket", "1", "--expires-in", "soon"), "write it like 90s, 15m, 36h or 7d"),
        ((*GIFT, "--ticket", "1", "--expires-in", "0s"), "must be more than nothing"),
        ((*GIFT, "--ticket", "1", "--expires-at", "2030-01-01"), "end it with Z for UTC"),
        ((*GIFT, "--ticket", "1", "--expires-at", "2030-01-01T00:00Z", "--expires-in", "1d"), "exclude each other"),
        ((*GIFT, "--ticket", "1", "--id", str(uuid4()), "--idempotency-key", "k"), "exclude each other"),
        (("gift", "accept", str(uuid4())), "Missing option '--user'"),
        (("gift", "accept", "17", "--user", "bob"), "should be a valid UUID"),
        (("gift", "list", "--status", "waiting"), "'waiting' is not one of"),
    ],
)
async def test_bad_usage_is_refused(
    transfers: Transfers, service: Service, arguments: tuple[str, ...], told: str
) -> None:
    """Each wrong argument is named with its remedy, the exit code is 2, and nothing is written."""
    ended = await transfers(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert told in " ".join(ended.err.replace("│", " ").split())
    assert "Traceback" not in ended.err
    assert await service.pool.fetchval("SELECT count(*) FROM ticket_transfers") == 0
