"""What becomes a dead letter, what doesn't, and what closes one: on real Postgres."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from chain.keccak import keccak256
from ledger.dead_letters import DeadLetters, Signature, bury_transfers
from ledger.maintenance import JobFailures
from ledger.pool import Pool, transaction
from ledger.single_retries import SingleRetries
from ledger.webhooks import WebhookLedger
from tests.books import ROUTER, SENDER, Books, failed, moved, slice_of
from tests.dead_letters.conftest import Office
from tests.webhooks.conftest import QUICK, Subscriptions
from workflows.interface.codes import DeliveryStatus, FailureCode
from workflows.interface.dead_letters import LetterFilter
from workflows.interface.deliveries import Attempt, AttemptError
from workflows.interface.names import ScheduleId
from workflows.interface.transfer import ReopenedBy, Reopening
from workflows.interface.validation import judge

WHEN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


async def letters(pool: Pool) -> list[Any]:
    return await pool.fetch("SELECT *, kind::text AS kind, status::text AS status FROM dead_letters ORDER BY 1")


async def fail_on_chain(books: Books, batch_id: UUID, code: FailureCode, tries: int) -> None:
    """Binds and settles the batch's items, each time with this code."""
    for _ in range(tries):
        await books.make_due()
        await books.run(batch_id, failed(code))


async def test_an_item_that_fails_before_the_chain_is_buried(books: Books, pool: Pool) -> None:
    """An item that validation refuses has a letter with batch, item, code, reason, attempts and where it stands."""
    await books.people(SENDER, "bob")
    batch_id = await books.batch([(404, "bob")])
    await books.creation.create(slice_of(batch_id, 1, 1))
    [letter] = await letters(pool)
    assert (letter["kind"], letter["status"], letter["batch_id"], letter["item_no"]) == ("item", "OPEN", batch_id, 1)
    assert (letter["code"], letter["attempts"]) == ("UNKNOWN_TICKET", 1)
    assert letter["reason"].startswith("there is no such ticket")
    assert letter["payload_ref"] == f"ticket_transfers/{letter['transfer_id']}"
    assert letter["first_failed_at"] == letter["last_failed_at"]


async def test_the_same_step_again_buries_nothing_more(books: Books, pool: Pool) -> None:
    """Creating a slice twice leaves one letter per failed item, with the attempts of one go."""
    await books.people(SENDER, "bob")
    batch_id = await books.batch([(404, "bob"), (405, "bob")])
    for _ in range(2):
        await books.creation.create(slice_of(batch_id, 1, 2))
    assert sorted((row["item_no"], row["attempts"]) for row in await letters(pool)) == [(1, 1), (2, 1)]


async def test_duplicates_are_never_buried(books: Books, pool: Pool) -> None:
    """A ticket named twice fails an item that no replay could mend: it has no letter."""
    await books.people(SENDER, "bob")
    await books.tickets([1])
    batch_id = await books.batch([(1, "bob"), (1, "bob")])
    await books.creation.create(slice_of(batch_id, 1, 2))
    [duplicate] = await pool.fetch("SELECT transfer_id FROM ticket_transfers WHERE failure_code = 'DUPLICATE_IN_BATCH'")
    async with transaction(pool) as connection:
        await bury_transfers(connection, [duplicate[0]])
    assert await letters(pool) == []


async def test_a_defect_is_buried(books: Books, pool: Pool) -> None:
    """An item that a defect failed has a letter with the code INTERNAL."""
    batch_id = await books.plain_batch(1)
    await books.runs.fail_item(batch_id, None, 1, FailureCode.INTERNAL, "ValueError: boom")
    [letter] = await letters(pool)
    assert (letter["kind"], letter["code"], letter["reason"]) == ("item", "INTERNAL", "ValueError: boom")


async def test_what_the_schedule_retries_is_no_dead_letter_yet(books: Books, pool: Pool) -> None:
    """A retryable failure on the chain is buried with the fifth scheduled retry, and not before."""
    batch_id = await books.plain_batch(1)
    await fail_on_chain(books, batch_id, FailureCode.REVERTED, 3)
    assert await books.items(batch_id) == {1: ("FAILED", "REVERTED")}
    assert await letters(pool) == []
    await pool.execute("UPDATE failed_blockchain_transfers SET retry_count = 4")
    retries = SingleRetries(pool, partial(judge, keccak256=keccak256), frozenset({ROUTER}))
    transfer_id = await pool.fetchval("SELECT transfer_id FROM ticket_transfers")
    await books.runs.close(batch_id, 1)
    await retries.reopen(transfer_id, Reopening(by=ReopenedBy.SCHEDULE))
    await fail_on_chain(books, batch_id, FailureCode.REVERTED, 1)
    [letter] = await letters(pool)
    assert (letter["kind"], letter["code"], letter["attempts"], letter["item_no"]) == ("transfer", "REVERTED", 4, 1)
    assert letter["first_failed_at"] < letter["last_failed_at"]


async def test_a_permanent_failure_on_the_chain_is_buried_at_once(books: Books, pool: Pool) -> None:
    """What the chain refuses for good has a letter of kind transfer after one try."""
    batch_id = await books.plain_batch(2)
    await fail_on_chain(books, batch_id, FailureCode.RECIPIENT_REFUSED, 1)
    assert [(row["kind"], row["attempts"]) for row in await letters(pool)] == [("transfer", 1)] * 2


async def test_a_transfer_that_completes_after_all_closes_its_letter(books: Books, pool: Pool) -> None:
    """In its batch's next run, a failed transfer that moves resolves its letter; one that fails again counts on it."""
    batch_id = await books.plain_batch(2)
    await fail_on_chain(books, batch_id, FailureCode.RECIPIENT_REFUSED, 1)
    await books.runs.close(batch_id, 1)
    await books.runs.open(batch_id, "run-2", retry_failed=True)
    await books.retries.reopen_page(batch_id, 2, 0, 100)
    await books.make_due()
    work = slice_of(batch_id, 1, 2)
    [bound] = await books.bind(work)
    first = bound.transfers[0].transfer_id
    say = failed(FailureCode.RECIPIENT_REFUSED)
    await books.settle([bound], lambda t: say(t) if t.transfer_id == first else moved(t))
    found = {row["transfer_id"]: row for row in await letters(pool)}
    assert len(found) == 2
    assert (found[first]["status"], found[first]["attempts"]) == ("OPEN", 2)
    [other] = [row for transfer_id, row in found.items() if transfer_id != first]
    assert (other["status"], other["closed_by"]) == ("RESOLVED", "service")


async def test_a_replay_that_cannot_reopen_leaves_a_new_letter(books: Books, pool: Pool) -> None:
    """A transfer that a replay couldn't reopen isn't lost: beside the replayed letter there is an open one."""
    await books.people(SENDER, "bob")
    batch_id = await books.batch([(404, "bob")])
    await books.creation.create(slice_of(batch_id, 1, 1))
    [letter] = await letters(pool)

    async def carry_out(held: Any, _: Any) -> list[UUID]:
        return [one.letter.dead_letter_id for one in held]

    await DeadLetters(pool).replay([letter["dead_letter_id"]], Signature("olga", None, uuid4()), carry_out)
    retries = SingleRetries(pool, partial(judge, keccak256=keccak256), frozenset({ROUTER}))
    await retries.reopen(letter["transfer_id"], Reopening(by=ReopenedBy.OPERATOR, force=True))
    assert [row["status"] for row in await letters(pool)] == ["REPLAYED", "OPEN"]


async def test_a_slice_of_failures_is_buried_by_one_statement(books: Books, pool: Pool) -> None:
    """A thousand failed items are buried within a second, whatever is buried already."""
    await books.people(SENDER, "bob")
    batch_id = await books.batch([(number, "bob") for number in range(1, 3001)])
    began = time.monotonic()
    for first in (1, 1001, 2001):
        await books.creation.create(slice_of(batch_id, first, first + 999))
    took_s = time.monotonic() - began
    assert len(await letters(pool)) == 3000
    ids = [row[0] for row in await pool.fetch("SELECT transfer_id FROM ticket_transfers ORDER BY item_no LIMIT 1000")]
    async with transaction(pool) as connection:
        began = time.monotonic()
        await bury_transfers(connection, ids)
        assert time.monotonic() - began < 1.0
    assert took_s < 15


def attempt(event_id: UUID, number: int, status: DeliveryStatus) -> Attempt:
    error = None if status is DeliveryStatus.DELIVERED else AttemptError.HTTP_STATUS
    when = WHEN + timedelta(seconds=number)
    return Attempt(event_id, number, status, 0.0, when, 5, 204 if error is None else 503, error, "")


async def used_up(webhooks: WebhookLedger, subscriptions: Subscriptions) -> tuple[UUID, UUID]:
    """A delivery whose five attempts failed."""
    endpoint = await subscriptions.create("http://127.0.0.1:9/", due=1, retry=QUICK)
    [due] = await webhooks.due_page(endpoint.subscription_id, None, 10)
    for number in range(1, 6):
        status = DeliveryStatus.FAILED if number == 5 else DeliveryStatus.PENDING
        await webhooks.record_attempts(endpoint.subscription_id, [attempt(due.event_id, number, status)])
    return endpoint.subscription_id, due.event_id


async def test_a_delivery_whose_attempts_are_used_up_is_buried(
    webhooks: WebhookLedger, subscriptions: Subscriptions, pool: Pool
) -> None:
    """Its letter names endpoint and event, the last answer, all attempts, and when the first of them failed."""
    subscription_id, event_id = await used_up(webhooks, subscriptions)
    [letter] = await letters(pool)
    assert (letter["kind"], letter["subscription_id"], letter["event_id"]) == ("delivery", subscription_id, event_id)
    assert (letter["code"], letter["reason"], letter["attempts"]) == ("HTTP_STATUS", "HTTP 503", 5)
    assert letter["first_failed_at"] == WHEN + timedelta(seconds=1)
    assert letter["payload_ref"] == f"events/{event_id}"


async def test_a_late_success_closes_the_letter_of_a_delivery(
    webhooks: WebhookLedger, subscriptions: Subscriptions, pool: Pool
) -> None:
    """A second copy of the drain that was told 2xx after all resolves it."""
    subscription_id, event_id = await used_up(webhooks, subscriptions)
    await webhooks.record_attempts(subscription_id, [attempt(event_id, 5, DeliveryStatus.DELIVERED)])
    assert [row["status"] for row in await letters(pool)] == ["RESOLVED"]


async def test_a_disabled_endpoints_failures_are_not_dead(
    webhooks: WebhookLedger, subscriptions: Subscriptions, pool: Pool
) -> None:
    """What fails at an endpoint that was disabled meanwhile has no letter."""
    endpoint = await subscriptions.create("http://127.0.0.1:9/", due=1, retry=QUICK._replace(max_attempts=1))
    [due] = await webhooks.due_page(endpoint.subscription_id, None, 10)
    await webhooks.disable_subscription(endpoint.subscription_id, "moved house")
    await webhooks.record_attempts(endpoint.subscription_id, [attempt(due.event_id, 1, DeliveryStatus.FAILED)])
    assert await letters(pool) == []
    assert await pool.fetchval("SELECT status::text FROM webhook_deliveries") == "FAILED"


async def test_a_jobs_failures_count_on_one_letter_until_it_goes_through(office: Office, pool: Pool) -> None:
    """Each failed run counts once on the job's letter; one that goes through closes it; the next opens another."""
    for run in ("a", "a", "b"):
        await office.ledger.bury_job("expire-transfers", "DEFECT", f"boom {run}", f"workflow/expire-transfers/{run}")
    [letter] = await letters(pool)
    assert (letter["kind"], letter["job"], letter["attempts"], letter["reason"]) == (
        "job",
        "expire-transfers",
        2,
        "boom b",
    )
    await JobFailures(pool).settle(ScheduleId.CHECK_ALERTS)
    assert await office.statuses() == {"OPEN": 1}
    await JobFailures(pool).settle(ScheduleId.EXPIRE_TRANSFERS)
    await office.ledger.bury_job("expire-transfers", "DEFECT", "boom", "workflow/expire-transfers/c")
    assert [row["status"] for row in await letters(pool)] == ["RESOLVED", "OPEN"]


@pytest.mark.parametrize(
    ("columns", "constraint"),
    [
        ("kind, transfer_id) VALUES ('item', gen_random_uuid()", "item_has_batch"),
        ("kind) VALUES ('transfer'", "transfer_has_id"),
        ("kind, subscription_id) VALUES ('delivery', gen_random_uuid()", "delivery_has_endpoint"),
        ("kind) VALUES ('job'", "job_has_schedule"),
        ("kind, job, transfer_id) VALUES ('job', 'x', gen_random_uuid()", "only_transfers_have_ids"),
        ("kind, job, status) VALUES ('job', 'x', 'DISCARDED'", "closed_by_somebody"),
    ],
)
async def test_a_letter_must_carry_what_its_kind_needs(pool: Pool, columns: str, constraint: str) -> None:
    """The schema refuses a letter without its subject, with another's, or closed by nobody."""
    rest = "code, reason, attempts, first_failed_at, payload_ref, "
    values = columns.replace("VALUES (", "VALUES ('C', 'why', 1, now(), 'x', ")
    with pytest.raises(asyncpg.CheckViolationError, match=constraint):
        await pool.execute(f"INSERT INTO dead_letters ({rest}{values})")


async def test_there_is_one_open_letter_per_subject(office: Office, pool: Pool) -> None:
    """A second open letter of a transfer is refused; a closed one is beside the point."""
    await office.transfers(1)
    again = (
        "INSERT INTO dead_letters (kind, transfer_id, code, reason, attempts, first_failed_at, payload_ref)"
        " SELECT 'transfer', transfer_id, 'C', 'why', 1, now(), 'x' FROM ticket_transfers"
    )
    with pytest.raises(asyncpg.UniqueViolationError, match="one_open_dead_letter"):
        await pool.execute(again)
    selection = await office.ledger.select(LetterFilter())
    assert await office.ledger.discard(selection, Signature("olga", "no use")) == 1
    await pool.execute(again)


async def test_the_record_is_for_ever(office: Office, pool: Pool) -> None:
    """A closed letter can't be changed, and the record of actions neither changed nor shortened."""
    await office.transfers(1)
    await office.ledger.discard(await office.ledger.select(LetterFilter()), Signature("olga", None))
    for statement in (
        "UPDATE dead_letters SET status = 'OPEN', closed_at = NULL, closed_by = NULL",
        "UPDATE dead_letter_actions SET by = 'nobody'",
        "DELETE FROM dead_letter_actions",
    ):
        with pytest.raises(asyncpg.RestrictViolationError, match="insert-only"):
            await pool.execute(statement)
